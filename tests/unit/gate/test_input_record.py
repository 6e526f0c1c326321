"""A record holds the inputs to the bit; a replay notices one changed number and names the key."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from riskenv import (
    Caps,
    Instrument,
    InstrumentTable,
    Market,
    Order,
    OrderLimits,
    Portfolio,
    PortfolioRiskManager,
    Proposal,
    RiskGate,
    RiskLimits,
    ScopeCaps,
)
from riskenv.gate.input_record import InputRecord, InputRecorder, Inputs, Recording
from riskenv.gate.replay import compare, main, read_decisions, replay, write_decisions
from riskenv.order_decision import proposal_for_order

from ...property.worlds import DAY, NOW, SESSIONS, market_of, world

CAPS = Caps(delta=900.0, vega=400.0, var_1d=9000.0, es_3d=20e3, day_loss=40e3, drawdown=60e3)
STEPS = 12


def gate() -> RiskGate:
    limits = RiskLimits(caps=CAPS, confirm={"k": 1, "n": 1})
    return RiskGate(world(3, limits=limits).manager)


def recorded(steps: int = STEPS) -> tuple[Recording, list]:
    """Two episodes: garbage quotes, reductions, a flow, rows with and without a forced part."""
    recording, given, live = Recording(), [], gate()
    w, rng = world(3), np.random.default_rng(0)
    quantity = np.zeros(len(w.table))
    for step in range(steps):
        if step in (0, steps // 2):
            recording.inputs.begin_episode(f"episode {step}")
            live = gate()
        now = NOW - (STEPS - step) * DAY // 3
        market = replace(market_of(w.table, step % 4, now), rate=0.01 * step - 0.03)
        if step == 4:
            bid = market.bid.copy()
            bid[2] = np.nan
            market = replace(market, bid=bid)
        book = Portfolio(w.table, quantity, 1e6 - 20e3 * step)
        flow = -5e3 if step == 2 else 0.0
        asked = rng.integers(-30, 30, len(w.table)) * (rng.random(len(w.table)) < 0.4)
        _, a = live.manager.assess(live.state, book, market, flow)
        proposal = w.manager.propose(a, asked.astype(float))
        decision = live.decide(book, market, proposal, flow)
        recording.add(book, market, proposal, decision, flow)
        given.append((book, market, proposal, flow))
        quantity = quantity + decision.trades
    return recording, given


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory):
    recording, given = recorded()
    path = tmp_path_factory.mktemp("record") / "inputs.npz"
    recording.inputs.save(path)
    return path, recording.decisions, given


def bits(array) -> bytes:
    return np.ascontiguousarray(array, dtype=np.float64).tobytes()


def test_inputs_come_back_to_the_bit(made) -> None:
    path, _, given = made
    record = InputRecord.load(path)
    assert len(record) == len(given) == STEPS
    assert record.episodes == ("episode 0", f"episode {STEPS // 2}")
    for step, (inputs, (book, market, proposal, flow)) in enumerate(
        zip(record, given, strict=True)
    ):
        assert inputs.episode == int(step >= STEPS // 2)
        assert inputs.market.table.instruments == market.table.instruments
        assert inputs.portfolio.table is inputs.market.table
        assert (inputs.market.now, inputs.external_flow) == (market.now, flow)
        for name in (
            "rate", "dividend_yield", "dividends", "bid", "ask", "vol", "quote_time", "spot",
            "beta", "beta_as_of", "spot_time", "index_spot", "feed", "columns", "tickers",
        ):  # fmt: skip
            assert bits(getattr(inputs.market, name)) == bits(getattr(market, name)), name
        assert bits(inputs.portfolio.quantity) == bits(book.quantity)
        assert bits(inputs.portfolio.cash) == bits(book.cash)
        assert inputs.proposal.asked == proposal.asked
        assert bits(inputs.proposal.trades) == bits(proposal.trades)
        assert (inputs.proposal.forced is None) == (proposal.forced is None)
        if proposal.forced is not None:
            assert bits(inputs.proposal.forced) == bits(proposal.forced)


def test_the_recording_is_worth_replaying(made) -> None:
    _, decisions, given = made
    verdicts = {json.loads(d)["verdict"] for d in decisions}
    assert {"REDUCE", "RESIZE"} <= verdicts
    assert any(p.forced is not None for _, _, p, _ in given)


def test_a_replay_makes_every_decision_again_to_the_byte(made) -> None:
    path, decisions, _ = made
    result = compare(gate(), InputRecord.load(path), decisions)
    assert (result.decisions, result.identical, result.first) == (STEPS, STEPS, None)


def perturbed(path: Path, name: str, at: int, change) -> InputRecord:
    record = InputRecord.load(path)
    column = record.arrays[name].copy()
    column[at] = change(column[at])
    record.arrays[name] = column
    return record


@pytest.mark.parametrize(
    ("name", "step", "change", "key"),
    [
        ("cash", 5, lambda x: x + 1.0, "equity"),
        ("now", 3, lambda x: x - 1_000_000_000, "now"),
        ("asked", 6, lambda x: x + 1, "asked"),
        ("flow", 2, lambda x: 0.0, "state_digest"),
    ],
)
def test_one_changed_number_of_a_step_is_named(made, name, step, change, key) -> None:
    path, decisions, _ = made
    result = compare(gate(), perturbed(path, name, step, change), decisions)
    assert result.first is not None
    assert result.first.step == step
    assert result.first.episode == f"episode {0 if step < STEPS // 2 else STEPS // 2}"
    assert result.first.key.startswith(("measures.", "now") if key == "now" else key)
    assert result.first.expected != result.first.got
    assert result.identical < STEPS
    assert str(step) in str(result.first)
    assert result.first.key in str(result.first)


def held_options(inputs) -> np.ndarray:
    return np.flatnonzero(inputs.portfolio.quantity * (inputs.market.table.kind != 0))


@pytest.mark.parametrize("name", ["spot", "vol", "bid", "ask", "quantity"])
def test_one_quote_or_position_changed_by_a_millionth_is_noticed(made, name: str) -> None:
    """Of an instrument that is held: the book's own measures or its equity move."""
    path, decisions, _ = made
    record = InputRecord.load(path)
    step = next(k for k in reversed(range(STEPS)) if held_options(record[k]).size)
    start, held = record.arrays["instruments_offset"][step], held_options(record[step])
    at = record.arrays["underlyings_offset"][step] if name == "spot" else start + held[0]
    change = lambda x: x + 1e-6  # noqa: E731
    result = compare(gate(), perturbed(path, name, int(at), change), decisions)
    assert result.first is not None
    assert result.first.step == step


def test_one_changed_cap_is_noticed_and_named(made) -> None:
    path, decisions, _ = made
    other = RiskGate(world(3, caps=CAPS.model_copy(update={"vega": 401.0})).manager)
    result = compare(other, InputRecord.load(path), decisions)
    assert result.identical == 0
    assert result.first.step == 0
    # Keys are compared in order; the configuration's digest comes first of what differs.
    assert result.first.key == "config_digest"


@pytest.mark.parametrize("change", [lambda d: d[:-1], lambda d: [*d, d[-1]], lambda d: []])
def test_a_wrong_number_of_expected_decisions_is_an_error(made, change) -> None:
    path, decisions, _ = made
    with pytest.raises(ValueError, match=r"shorter|longer"):
        compare(gate(), InputRecord.load(path), change(decisions))


def test_each_episode_starts_from_a_fresh_state(made) -> None:
    path, _, _ = made
    decisions = list(replay(gate(), InputRecord.load(path)))
    assert decisions[STEPS // 2].state.day_start_equity == decisions[STEPS // 2].equity


def test_a_record_has_no_decision_in_it(made) -> None:
    path, _, _ = made
    with np.load(path) as archive:
        names = set(archive.files)
    assert names == {
        "header", "episode", "now", "cash", "index_spot", "currency", "flow", "asked", "rows",
        "has_forced", "instrument", "quantity", "rate", "dividend_yield", "dividends", "bid",
        "ask", "vol", "quote_time", "spot", "beta", "beta_as_of", "spot_time", "fx", "feed",
        "strategy", "order", "order_price", "order_name", "working", "tag", "tagged",
        "working_offset", "tag_offset", "tagged_offset",
        "trade_row", "trade_column", "trade_lots", "forced_row", "forced_column", "forced_lots",
        "instruments_offset", "underlyings_offset", "feed_offset", "trade_offset",
        "forced_offset",
    }  # fmt: skip


def test_a_changed_byte_of_a_record_is_an_error_or_changes_nothing(made, tmp_path: Path) -> None:
    path, _, _ = made
    whole, body = InputRecord.load(path).arrays, path.read_bytes()
    rng, refused = np.random.default_rng(0), 0
    at = rng.choice(len(body), size=200, replace=False)
    for position in at:
        flipped = bytearray(body)
        flipped[position] ^= 1 << int(rng.integers(8))
        (tmp_path / "f.npz").write_bytes(flipped)
        try:
            arrays = InputRecord.load(tmp_path / "f.npz").arrays
        except ValueError:
            refused += 1
            continue
        assert arrays.keys() == whole.keys()
        for name, array in arrays.items():
            assert array.tobytes() == whole[name].tobytes()
    assert refused > len(at) // 2


@pytest.mark.parametrize("body", [b"", b"hello", b"PK\x03\x04"])
def test_something_else_is_not_a_record(body: bytes, tmp_path: Path) -> None:
    (tmp_path / "r.npz").write_bytes(body)
    with pytest.raises(ValueError, match="not a readable record"):
        InputRecord.load(tmp_path / "r.npz")
    with pytest.raises(ValueError, match="not a readable record"):
        InputRecord.load(tmp_path / "absent.npz")


def test_another_format_is_refused(made, tmp_path: Path) -> None:
    with np.load(made[0]) as archive:
        arrays = dict(archive)
    header = json.loads(arrays["header"].tobytes()) | {"format": 1}
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
    np.savez(tmp_path / "r.npz", **arrays)
    with pytest.raises(ValueError, match="format: got 1; allowed: 2"):
        InputRecord.load(tmp_path / "r.npz")


def test_a_step_without_instruments_is_recorded_like_any_other(tmp_path: Path) -> None:
    """Before the first listing there is nothing to hold or to trade."""
    nothing, share = InstrumentTable(()), InstrumentTable.of([Instrument("A")])
    recorder, e = InputRecorder(), np.zeros(0)
    recorder.begin_episode("first listing")
    for table, prices in ((nothing, e), (share, np.array([100.0]))):
        zero = np.zeros(len(table))
        market = Market(NOW, table, prices, 0.0, zero, prices, prices, zero)
        recorder.add(Portfolio(table, zero, 1.0), market, Proposal(np.zeros((1, len(table)))))
    recorder.save(tmp_path / "r.npz")
    steps = list(InputRecord.load(tmp_path / "r.npz"))
    assert [len(s.market.table) for s in steps] == [0, 1]
    assert steps[1].market.table.instruments == share.instruments


def test_an_empty_record_is_a_record(tmp_path: Path) -> None:
    InputRecorder().save(tmp_path / "r.npz")
    assert compare(gate(), InputRecord.load(tmp_path / "r.npz"), []).decisions == 0


def test_inputs_belong_to_an_episode() -> None:
    w = world(0)
    with pytest.raises(ValueError, match="begin_episode"):
        InputRecorder().add(w.portfolio, w.market, Proposal(np.zeros((1, len(w.table)))))


def test_decisions_are_written_the_same_every_time(made, tmp_path: Path) -> None:
    _, decisions, _ = made
    for name in ("a.gz", "b.gz"):
        write_decisions(tmp_path / name, decisions)
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()
    assert list(read_decisions(tmp_path / "a.gz")) == decisions


def test_the_program_says_what_it_found(made, tmp_path: Path, capsys) -> None:
    from riskenv import save_bundle

    path, decisions, _ = made
    save_bundle(gate().manager, tmp_path / "gate.zip")
    write_decisions(tmp_path / "all.gz", decisions)
    write_decisions(tmp_path / "one_changed.gz", [*decisions[:-1], decisions[0]])
    arguments = [str(tmp_path / "gate.zip"), str(path), "--expect"]
    codes = [main([*arguments, str(tmp_path / name)]) for name in ("all.gz", "one_changed.gz")]
    good, bad = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert good["decisions"] == good["identical"] == STEPS
    assert good["first_difference"] is None
    assert codes[1] == 1
    assert bad["identical"] == STEPS - 1
    assert bad["first_difference"].startswith(f"decision {STEPS - 1} ")
    assert codes[0] == (1 if good["loaded"] else 0)


def test_a_market_with_everything_in_it_comes_back_and_is_decided_alike(tmp_path: Path) -> None:
    """Two currencies, a feed, cash dividends, betas and times: what a rehearsed field may lose."""
    home, away = Instrument("A", currency="EUR"), Instrument("B")
    call = Instrument("B", "C", 40.0, NOW + 20 * DAY, 100.0, exercise="american")
    table = InstrumentTable.of([home, away, call])
    times = np.array([NOW - 5, NOW - 6, NOW - 7])
    market = Market(
        NOW, table, np.array([100.0, 40.0]), np.array([0.01, 0.04, 0.05]), np.zeros(2),
        np.array([99.9, 39.9, 1.0]), np.array([100.1, 40.1, 1.2]), np.array([0.0, 0.0, 0.3]),
        dividends=np.array([0.0, 0.0, 0.25]), beta=np.array([1.1, 0.9]),
        beta_as_of=np.array([NOW - DAY, NOW - 2 * DAY]), index_spot=4000.0, quote_time=times,
        spot_time=times[:2], feed=np.array([[np.nan] * 5] * 2 + [[0.52, *[np.nan] * 4]]),
        currency="EUR", fx={"USD": 0.8},
    )  # fmt: skip
    book = Portfolio.of(
        table, {home: 10.0, call: 3.0}, cash=1e5, strategies={"calls": {call: 2.0}},
        working=[{away: 5.0, call: -1.0}, {home: -2.0}],
    )  # fmt: skip
    proposal = Proposal(np.array([[0.0, 0.0, -1.0], [0.0, 0.0, 0.0]]), strategy="calls")
    recorder = InputRecorder()
    recorder.begin_episode("one")
    recorder.add(book, market, proposal)
    recorder.save(tmp_path / "r.npz")
    (back,) = InputRecord.load(tmp_path / "r.npz")
    for name in (
        "columns", "tickers", "beta", "beta_as_of", "quote_time", "spot_time", "index_spot", "feed",
    ):  # fmt: skip
        assert bits(getattr(back.market, name)) == bits(getattr(market, name)), name
    assert bits(back.portfolio.working) == bits(book.working)
    assert bits(back.portfolio.strategies["calls"]) == bits(book.strategies["calls"])
    assert back.proposal.strategy == "calls"
    assert (back.market.currency, back.market.fx["USD"]) == ("EUR", 0.8)
    limits = RiskLimits(caps=Caps(), by_strategy={"calls": ScopeCaps(delta=50.0)})
    made, again = (
        RiskGate(PortfolioRiskManager(limits, SESSIONS))
        .decide(i.portfolio, i.market, i.proposal)
        .to_bytes()
        for i in (back, Inputs(0, book, market, proposal))
    )
    assert made == again
    low, high = json.loads(made)["measures"]["dollar_delta"]["before_interval"]
    a_call = 100.0 * 0.52 * 40.0 * 0.8
    held = 10.0 * 100.0 + 3.0 * a_call
    assert low == pytest.approx(held - 2.0 * 100.0 + 5.0 * 40.0 * 0.8 - a_call)
    assert high == pytest.approx(held)


@pytest.mark.parametrize("price", [None, 100.05, -1.0, np.nan])
def test_an_order_comes_back_and_is_decided_alike(price: float | None, tmp_path: Path) -> None:
    """With what was sent before it in the state, and denied or not."""
    limits = RiskLimits(caps=Caps(delta=1e6), orders=OrderLimits(duplicate_seconds=5))
    live = RiskGate(world(3, limits=limits).manager)
    w, recording = world(3), Recording()
    recording.inputs.begin_episode("one")
    order = Order(Instrument("A"), -3.0, price, "hedge", "a7")
    _, a = live.manager.assess(live.state, w.portfolio, w.market)
    for proposal in (
        proposal_for_order(a, order),
        Proposal(np.zeros((1, len(w.table)))),
        proposal_for_order(a, replace(order, lots=np.nan)),
        proposal_for_order(a, replace(order, client_id="")),
    ):
        made = live.decide(w.portfolio, w.market, proposal)
        recording.add(w.portfolio, w.market, proposal, made)
    codes = {reason["code"] for d in recording.decisions for reason in json.loads(d)["reasons"]}
    assert ("duplicate_order" in codes) == (price in (None, 100.05))
    assert ("order_invalid" in codes) == (price not in (None, 100.05))
    recording.inputs.save(tmp_path / "r.npz")
    record = InputRecord.load(tmp_path / "r.npz")
    back = [inputs.proposal.order for inputs in record]
    assert repr(back) == repr(
        [order, None, replace(order, lots=np.nan), replace(order, client_id="")]
    )
    again = compare(RiskGate(live.manager), record, recording.decisions)
    assert (again.identical, again.first) == (4, None)
    record.arrays["order_price"] = record.arrays["order_price"] + 50.0
    changed = compare(RiskGate(live.manager), record, recording.decisions)
    if price == 100.05:
        assert (changed.first.step, changed.first.key) == (0, "order.limit_price")


def test_an_instrument_of_numpys_numbers_is_recorded_like_any_other(tmp_path: Path) -> None:
    call = Instrument("A", "C", np.float32(90.0), np.int64(NOW + 20 * DAY), np.float64(100.0))
    table = InstrumentTable.of([Instrument("A"), call])
    quotes = np.array([100.0, 11.0])
    market = Market(NOW, table, quotes[:1], 0.0, np.zeros(1), quotes, quotes, np.full(2, 0.3))
    recorder = InputRecorder()
    recorder.begin_episode("one")
    recorder.add(Portfolio.of(table, {call: 1.0}, 0.0), market, Proposal(np.zeros((1, 2))))
    recorder.save(tmp_path / "r.npz")
    (back,) = InputRecord.load(tmp_path / "r.npz")
    assert back.market.table.instruments == table.instruments
