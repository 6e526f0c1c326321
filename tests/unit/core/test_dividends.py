"""Cash dividends as values, and the forward of an expiry by parity: tables of cases."""

from __future__ import annotations

import math

import numpy as np
import pytest

from riskenv.dividends import (
    Dividend,
    ImpliedForwardStatus,
    equivalent_yield,
    escrowed_value,
    implied_forward,
    implied_yield,
)
from riskenv.instruments import NS_PER_DAY, Instrument, InstrumentTable
from riskenv.pricing import option_greeks

NOW = 1_700_000_000_000_000_000
DAY = NS_PER_DAY


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("ticker", ""), ("amount", 0.0), ("amount", -0.5), ("amount", math.nan),
        ("amount", math.inf), ("ex_time", 0), ("ex_time", -1), ("ex_time", 2**63),
        ("ex_time", 1.5e18), ("ex_time", True), ("ex_time", None),
    ],
)  # fmt: skip
def test_a_bad_dividend_is_refused_by_name(field: str, value: object) -> None:
    good = {"ticker": "A", "ex_time": NOW, "amount": 0.5}
    assert Dividend(**good).amount == 0.5
    with pytest.raises(ValueError, match=rf"^{field}: got .*allowed"):
        Dividend(**(good | {field: value}))


def book() -> InstrumentTable:
    return InstrumentTable.of(
        [Instrument("A"), Instrument("B"), Instrument("A", "C", 50.0, NOW + 30 * DAY),
         Instrument("A", "P", 50.0, NOW + 60 * DAY), Instrument("B", "C", 50.0, NOW + 60 * DAY)]
    )  # fmt: skip


def value_of(dividends, rate=0.0, now=NOW) -> dict[str, float]:
    table = book()
    value = escrowed_value(table, now, rate, dividends)
    assert value.shape == (len(table),)
    return {f"{i.underlying}{i.right}": v for i, v in zip(table.instruments, value, strict=True)}


@pytest.mark.parametrize(
    ("ex_time", "counted"),
    [
        (NOW - 1, ""), (NOW, ""), (NOW + 1, "both"), (NOW + 30 * DAY, "both"),
        (NOW + 30 * DAY + 1, "later"), (NOW + 60 * DAY, "later"), (NOW + 60 * DAY + 1, ""),
    ],
)  # fmt: skip
def test_what_goes_ex_after_now_and_by_expiry_counts(ex_time: int, counted: str) -> None:
    value = value_of([Dividend("A", ex_time, 2.0)])
    assert value["AC"] == (2.0 if counted == "both" else 0.0)
    assert value["AP"] == (2.0 if counted else 0.0)
    assert value["A"] == value["B"] == value["BC"] == 0.0


def test_present_values_add_up_by_hand() -> None:
    paid = [Dividend("A", NOW + 10 * DAY, 0.4), Dividend("A", NOW + 50 * DAY, 0.6),
            Dividend("B", NOW + 50 * DAY, 1.0), Dividend("OTHER", NOW + 5 * DAY, 9.0)]  # fmt: skip
    value = value_of(paid, rate=0.05)
    ten, fifty = math.exp(-0.05 * 10 / 365), math.exp(-0.05 * 50 / 365)
    assert value["AC"] == pytest.approx(0.4 * ten, rel=1e-15)
    assert value["AP"] == pytest.approx(0.4 * ten + 0.6 * fifty, rel=1e-15)
    assert value["BC"] == pytest.approx(fifty, rel=1e-15)


def test_the_order_of_the_schedule_changes_no_bit() -> None:
    rng = np.random.default_rng(2)
    times, amounts = rng.integers(1, 60 * DAY, 40), rng.uniform(0.01, 3.0, 40)
    paid = [Dividend("A", int(NOW + t), float(x)) for t, x in zip(times, amounts, strict=True)]
    wanted = value_of(paid, rate=0.03)
    for _ in range(5):
        rng.shuffle(paid)
        assert value_of(paid, rate=0.03) == wanted


def test_a_rate_may_be_one_or_each_tickers_or_each_instruments() -> None:
    table, paid = book(), [Dividend(t, NOW + 20 * DAY, 1.0) for t in "AB"]
    by_ticker = escrowed_value(table, NOW, [0.02, 0.08], paid)
    each = np.array([0.02, 0.08])[table.underlying_index]
    assert np.array_equal(by_ticker, escrowed_value(table, NOW, each, paid))
    assert by_ticker[-1] == pytest.approx(math.exp(-0.08 * 20 / 365), rel=1e-15)
    with pytest.raises(ValueError, match=r"rate: got shape \(3,\); allowed"):
        escrowed_value(table, NOW, [0.1, 0.2, 0.3], paid)


@pytest.mark.parametrize("rate", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("paid", [[], [Dividend("A", NOW + DAY, 1.0)]])
def test_an_unknown_rate_gives_no_value(rate: float, paid: list[Dividend]) -> None:
    value = value_of(paid, rate=rate)
    assert value["A"] == value["B"] == 0.0
    assert all(math.isnan(value[name]) for name in ("AC", "AP", "BC"))


def test_a_future_pays_no_dividend() -> None:
    table = InstrumentTable.of(
        [Instrument("F", on_future=True), Instrument("F", "C", 5.0, NOW + DAY, on_future=True)]
    )
    assert not escrowed_value(table, NOW, 0.05, []).any()
    with pytest.raises(ValueError, match="ticker: got 'F', a future"):
        escrowed_value(table, NOW, 0.05, [Dividend("F", NOW + 1, 1.0)])


def test_no_instruments_no_values() -> None:
    assert escrowed_value(InstrumentTable.of([]), NOW, 0.05, []).shape == (0,)


def test_the_equivalent_yield_takes_as_much_off_the_forward() -> None:
    spot, value, years = np.array([40.0, 100.0, 5.0]), np.array([0.97, 1e-9, 4.9]), 0.5
    found = equivalent_yield(spot, value, years)
    off = np.abs(-spot * np.expm1(-found * years) - value)
    assert (off <= 1e-15 * spot).all()


@pytest.mark.parametrize(
    ("spot", "value", "years"),
    [
        (40.0, 40.0, 0.5), (40.0, 41.0, 0.5), (40.0, -1.0, 0.5), (40.0, 1.0, 0.0),
        (40.0, 1.0, -1.0), (math.nan, 1.0, 0.5), (40.0, math.nan, 0.5), (40.0, 1.0, math.nan),
        (0.0, 0.0, 0.5), (-3.0, 0.0, 0.5), (math.inf, 1.0, 0.5), (40.0, 1.0, math.inf),
    ],
)  # fmt: skip
def test_where_no_yield_does_there_is_none(spot: float, value: float, years: float) -> None:
    assert np.isnan(equivalent_yield(spot, value, years))
    assert np.isfinite(equivalent_yield([spot, 40.0], [value, 1.0], [years, 0.5])[1])


def test_no_dividend_is_no_yield() -> None:
    assert equivalent_yield(40.0, 0.0, 0.5) == 0.0


def test_implied_yield_undoes_the_forward() -> None:
    spot, rate, dividend, years = 100.0, 0.05, np.array([-0.02, 0.0, 0.03]), 0.75
    forward = spot * np.exp((rate - dividend) * years)
    np.testing.assert_allclose(implied_yield(forward, spot, rate, years), dividend, atol=1e-15)


@pytest.mark.parametrize(
    "case",
    [(math.nan, 100.0, 0.0, 1.0), (0.0, 100.0, 0.0, 1.0), (100.0, -1.0, 0.0, 1.0),
     (100.0, 100.0, math.nan, 1.0), (100.0, 100.0, 0.0, 0.0), (math.inf, 100.0, 0.0, 1.0)],
)  # fmt: skip
def test_no_forward_no_yield(case: tuple[float, ...]) -> None:
    assert np.isnan(implied_yield(*case))


STRIKES = np.array([90.0, 95.0, 100.0, 105.0, 110.0])


def quotes(width: float = 0.1, forward: float = 101.0, rate: float = 0.04, years: float = 0.5):
    """(strike, call bid, call ask, put bid, put ask) around Black's prices."""
    sides = [
        option_greeks(forward, STRIKES, years, rate, 0.0, 0.25, call).price
        for call in (True, False)
    ]
    ends = [side + sign * 0.5 * width for side in sides for sign in (-1, 1)]
    return [STRIKES.copy(), *ends]


@pytest.mark.parametrize("width", [0.0, 0.01, 0.1, 1.0])
def test_parity_gives_the_forward_back(width: float) -> None:
    found = implied_forward(*quotes(width), 0.04, 0.5)
    assert found.status == ImpliedForwardStatus.OK
    assert found.strikes == found.usable == 5
    assert found.forward == pytest.approx(101.0, abs=1e-9)
    assert found.high - found.low == pytest.approx(2.0 * width * math.exp(0.02), abs=1e-9)
    assert found.low <= found.forward <= found.high


SPOILT = [
    ("call bid missing", 1, math.nan), ("call bid negative", 1, -0.1), ("call crossed", 1, 500.0),
    ("call ask infinite", 2, math.inf), ("put ask missing", 4, math.nan), ("put ask 0", 4, 0.0),
    ("put crossed", 3, 500.0), ("strike missing", 0, math.nan), ("strike negative", 0, -5.0),
]  # fmt: skip


@pytest.mark.parametrize(("column", "value"), [case[1:] for case in SPOILT],
                         ids=[case[0] for case in SPOILT])  # fmt: skip
def test_a_bad_quote_is_left_out(column: int, value: float) -> None:
    columns = quotes()
    columns[column][2] = value
    found = implied_forward(*columns, 0.04, 0.5)
    assert (found.strikes, found.usable, found.status) == (4, 4, ImpliedForwardStatus.OK)
    assert found.forward == pytest.approx(101.0, abs=1e-9)


@pytest.mark.parametrize("off", [-3.0, 0.25, 3.0])
def test_a_stale_strike_moves_nothing(off: float) -> None:
    columns = quotes()
    columns[1][0] += off
    columns[2][0] += off
    found = implied_forward(*columns, 0.04, 0.5)
    assert (found.strikes, found.usable) == (4, 5)
    assert found.forward == pytest.approx(101.0, abs=1e-9)


def test_ends_that_touch_agree() -> None:
    """[100, 101] and [101, 102] at rate 0: 101, and nothing else."""
    found = implied_forward([100.0, 101.0], [1.0, 1.0], [1.5, 1.5], [0.5, 0.5], [1.0, 1.0], 0, 1)
    assert found.forward == pytest.approx(101.0)
    assert found.strikes == 2


CONTRADICTIONS = {
    "two that are apart": [0.0, 5.0],
    "half against half": [0.0, 0.0, 5.0, 5.0],
    "all apart": [0.0, 5.0, 10.0],
}


@pytest.mark.parametrize("offs", CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_quotes_that_contradict_each_other_give_no_forward(offs: list[float]) -> None:
    columns = [column[: len(offs)] for column in quotes()]
    for side in (1, 2):
        columns[side] = columns[side] + 10.0 + np.array(offs)
    found = implied_forward(*columns, 0.04, 0.5)
    assert found.status == ImpliedForwardStatus.CONTRADICTORY
    assert np.isnan(found[:3]).all()
    assert (found.strikes, found.usable) == (0, len(offs))


def test_a_wide_quote_does_not_decide_between_two_that_are_apart() -> None:
    columns = [column[:3] for column in quotes()]
    columns[1] = columns[1] + np.array([-3.0, 0.0, 1.0])
    columns[2] = columns[2] + np.array([3.0, 0.0, 1.0])
    columns[1] = np.maximum(columns[1], 0.0)
    assert implied_forward(*columns, 0.04, 0.5).status == ImpliedForwardStatus.CONTRADICTORY


@pytest.mark.parametrize(
    ("rate", "years", "keep", "status"),
    [
        (math.nan, 0.5, 5, "INVALID_INPUT"), (math.inf, 0.5, 5, "INVALID_INPUT"),
        (0.04, 0.0, 5, "INVALID_INPUT"), (0.04, -1.0, 5, "INVALID_INPUT"),
        (0.04, math.nan, 5, "INVALID_INPUT"), (0.04, 0.5, 0, "NO_PAIR"),
    ],
)  # fmt: skip
def test_nothing_to_go_by(rate: float, years: float, keep: int, status: str) -> None:
    found = implied_forward(*(column[:keep] for column in quotes()), rate, years)
    assert found.status.name == status
    assert np.isnan(found[:3]).all()
    assert found.strikes == 0


def test_columns_that_do_not_fit_are_an_error() -> None:
    columns = quotes()
    with pytest.raises(ValueError, match="quotes: got shapes"):
        implied_forward(*columns[:4], columns[4][:3], 0.04, 0.5)
    columns[0][1] = columns[0][0]
    with pytest.raises(ValueError, match=r"strike: got 90.0 twice"):
        implied_forward(*columns, 0.04, 0.5)
