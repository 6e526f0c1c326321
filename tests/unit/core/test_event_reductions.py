"""What is due of a size, counted from what was held before the first step."""

from __future__ import annotations

import numpy as np
import pytest

from riskenv import Instrument, InstrumentTable, Portfolio
from riskenv.event_reductions import SizeBefore, SizesDue
from riskenv.event_trades import only_closes, share_still_due

DAY = 86_400 * 10**9
A, B = Instrument("A"), Instrument("B")
CALL, PUT, LATER = (
    Instrument("A", right, 100.0, days * DAY, 100.0)
    for right, days in (("C", 30), ("P", 30), ("P", 60))
)
TABLE = InstrumentTable.of([A, B, CALL, PUT, LATER])


def book(held, working=(), table=TABLE) -> Portfolio:
    return Portfolio.of(table, held, 0.0, working=working)


def due(held, share, sizes=None, working=()) -> dict[Instrument, float]:
    """Contracts to close of A's positions, of B's none."""
    given = None if sizes is None else tuple(SizeBefore(i, q) for i, q in sizes.items())
    _, least, _ = SizesDue()(given or (), np.array([share, 1.0]), book(held, working))
    return {TABLE.instruments[i]: float(least[i]) for i in np.flatnonzero(least)}


@pytest.mark.parametrize(
    ("held", "share", "sizes", "working", "least"),
    [
        ({A: 10.0, B: 10.0}, 0.5, None, (), {A: 5.0}),
        ({A: -10.0}, 0.25, None, (), {A: 8.0}),  # two and a half may stay: two do
        ({A: 1.0}, 0.99, None, (), {A: 1.0}),
        ({A: 10.5}, 0.0, None, (), {A: 10.5}),  # parts of a lot go with the whole
        ({A: 10.5}, 0.5, None, (), {A: 6.0}),
        ({A: 3.0}, 0.1, {A: 30.0}, (), {}),  # 0.1 * 30 is a hair above 3
        ({A: 6.0}, 0.5, {A: 8.0}, (), {A: 2.0}),
        ({A: 2.0}, 0.5, {A: 8.0}, (), {}),  # more was closed than is due
        ({A: 12.0}, 0.5, {A: 8.0}, (), {A: 8.0}),  # grown: what may stay did not
        ({A: 6.0, CALL: 3.0}, 0.5, {A: 8.0}, (), {A: 2.0, CALL: 2.0}),  # a hedge, new
        ({A: -6.0}, 0.5, {A: 8.0}, (), {A: 2.0}),  # turned round: its size counts
        ({A: 8.0}, 0.0, None, ({A: -5.0},), {A: 3.0}),  # an order may close five
        ({A: 8.0}, 0.0, None, ({A: 5.0},), {A: 8.0}),  # or open five
        ({A: -8.0}, 0.0, None, ({A: 9.0}, {A: 1.0}), {}),
        ({A: 8.0}, 1.0, {A: 16.0}, (), {}),
    ],
)
def test_contracts_due(held, share, sizes, working, least) -> None:
    assert due(held, share, sizes, working) == least


@pytest.mark.parametrize(
    ("held", "share", "working", "held_up"),
    [
        (8.0, 0.0, ({A: -5.0},), 5.0),  # eight are due, three are free
        (8.0, 0.5, ({A: -5.0},), 1.0),
        (8.0, 0.5, ({A: -4.0},), 0.0),  # four are due and four are free
        (8.0, 0.0, ({A: 5.0},), 0.0),
        (-8.0, 0.0, ({A: 9.0}, {A: 1.0}), 8.0),
        (8.0, 1.0, ({A: -5.0},), 0.0),
    ],
)
def test_contracts_that_working_orders_hold_up(held, share, working, held_up) -> None:
    _, _, behind = SizesDue()((), np.array([share, 1.0]), book({A: held}, working))
    assert behind.tolist() == [held_up, 0.0, 0.0, 0.0, 0.0]


def test_sizes_are_forgotten_by_ticker_and_survive_what_leaves_the_table() -> None:
    steps = SizesDue()
    half = np.array([0.5, 0.5])
    sizes, _, _ = steps((), half, book({A: 4.0, B: 6.0, PUT: -2.0}))
    assert [(s.instrument, s.contracts) for s in sizes] == [(A, 4.0), (PUT, 2.0), (B, 6.0)]
    again, _, _ = steps(sizes, half, book({A: 4.0, B: 6.0, PUT: -2.0}))
    assert again is sizes
    # The put has expired; its ticker is still listed.
    left = InstrumentTable.of([A, B])
    kept, least, _ = steps(sizes, half, book({A: 4.0, B: 6.0}, table=left))
    assert kept == sizes
    assert least.tolist() == [2.0, 3.0]
    kept, _, _ = steps(kept, np.array([0.5, 1.0]), book({A: 4.0, B: 6.0}, table=left))
    assert [s.instrument for s in kept] == [A, PUT]
    kept, _, _ = steps(kept, np.array([0.5]), book({B: 6.0}, table=InstrumentTable.of([B])))
    assert [s.instrument for s in kept] == [B]


def test_what_was_looked_up_before_changes_no_answer() -> None:
    rng = np.random.default_rng(3)
    steps, sizes = SizesDue(), ()
    for _ in range(200):
        held = dict(zip(TABLE.instruments, rng.integers(-5, 6, 5).astype(float), strict=True))
        shares = rng.choice([0.0, 0.3, 0.5, 1.0], 2)
        fresh_sizes, fresh, _ = SizesDue()(sizes, shares, book(held))
        sizes, least, _ = steps(sizes, shares, book(held))
        assert sizes == fresh_sizes
        assert least.tolist() == fresh.tolist()


@pytest.mark.parametrize(
    ("held", "trade", "closes"),
    [
        ({A: 100.0}, {A: -100.0}, True),
        ({A: 100.0}, {A: -101.0}, False),
        ({A: 100.0}, {A: 1.0}, False),
        ({A: 100.0}, {}, True),
        ({A: 100.0}, {A: float("nan")}, False),
        ({A: 100.0, CALL: -1.0}, {A: -1.0}, False),  # it covers the call
        ({A: 150.0, CALL: -1.0}, {A: -50.0}, True),
        ({A: 100.0, CALL: -1.0}, {A: -100.0, CALL: 1.0}, True),
        ({PUT: -2.0, LATER: 3.0}, {LATER: -1.0}, True),
        ({PUT: -2.0, LATER: 3.0}, {LATER: -2.0}, False),
        ({PUT: -2.0, LATER: 2.0}, {LATER: -1.0, PUT: 1.0}, True),
    ],
)
def test_a_trade_only_closes_while_no_short_loses_cover(held, trade, closes) -> None:
    of = book(held)
    row = np.zeros((1, len(TABLE)))
    for instrument, lots in trade.items():
        row[0, TABLE.index[instrument]] = lots
    assert only_closes(of, np.zeros((2, len(TABLE))), row).tolist() == [closes]


def test_the_share_left_is_a_mean_over_what_is_due() -> None:
    of, least = book({A: 8.0, B: -4.0}), np.array([4.0, 0.0, 0.0, 0.0, 2.0])
    assert TABLE.instruments[4] == B
    rows = np.zeros((4, 5))
    rows[1, 0], rows[2, [0, 4]], rows[3, 0] = -4.0, (-8.0, 1.0), np.nan
    assert share_still_due(of, least, rows).tolist() == [1.0, 0.5, 0.25, np.inf]
