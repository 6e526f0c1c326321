"""The manager over real dates: what an event tightens, blocks, has closed and lets go again."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np
import pytest
from riskenv.data import cpi_events, exchange_sessions, fomc_events, nfp_events

from riskenv import (
    BreakerState,
    Caps,
    ConfigError,
    Event,
    EventPolicy,
    EventRule,
    FactorHistory,
    Instrument,
    InstrumentTable,
    Market,
    NeededDate,
    Portfolio,
    PortfolioRiskManager,
    RiskLimits,
    Rung,
    UnknownDays,
    VarConfig,
    load_bundle,
    save_bundle,
)
from riskenv.event_trades import hedge_columns
from riskenv.measures import INDEX
from riskenv.projection import Proposal

SESSIONS = exchange_sessions("2015-01-01", "2026-12-31")
NS = 10**9
MINUTE, HOUR, DAY = 60 * NS, 3600 * NS, 24 * 3600 * NS
SPOT = {"AAPL": 100.0, "MSFT": 50.0, "SPX": 2500.0, "XOM": 80.0}
SECTORS = {"AAPL": "technology", "MSFT": "technology", "XOM": "energy"}
VAR = VarConfig(window=120, min_scenarios=100)


def utc(text: str) -> int:
    """ns of "2018-02-01 21:00", in UTC."""
    return int(np.datetime64(text.replace(" ", "T"), "ns").astype(np.int64))


def on(events, day: str) -> Event:
    (event,) = [e for e in events if str(np.datetime64(e.time, "ns"))[:10] == day]
    return event


def made(event_type: str, time: str, **changes) -> Event:
    return Event(event_type, utc(time), **{"known_at": utc(time) - 30 * DAY} | changes)


@cache
def history() -> FactorHistory:
    """Quiet moves up to the end of 2017."""
    closes = SESSIONS.closes[SESSIONS.closes < utc("2018-01-01 00:00")][-300:]
    moves = 0.002 * np.random.default_rng(5).standard_normal((len(closes), len(SPOT)))
    return FactorHistory(tuple(SPOT), closes, moves, -moves)


@cache
def table(options: bool = False) -> InstrumentTable:
    legs = [Instrument(ticker) for ticker in SPOT]
    if options:
        expiry = utc("2018-03-16 20:00")
        legs += [
            Instrument("AAPL", right, strike, expiry, 100.0)
            for right in "CP"
            for strike in (90.0, 95.0, 100.0, 105.0)
        ]
    return InstrumentTable.of(legs)


def market(now: int, options: bool = False, without: str = "", dear: float = 0.01) -> Market:
    """Flat volatility of 30 %; `without` is the ticker that has no quotes, `dear` the half-spread
    of shares."""
    listed = table(options)
    spot = np.array([SPOT[t] for t in listed.underlyings])
    kind, of = listed.kind, listed.underlying_index
    intrinsic = np.maximum(kind * (spot[of] - listed.strike), 0.0)
    mid = np.where(kind == 0, spot[of], intrinsic + 5.0)
    half = np.where(kind == 0, dear, 0.05)
    vol = np.where(kind == 0, 0.0, 0.3)
    gone = np.array([listed.underlyings[u] == without for u in of])
    bid, ask = np.where(gone, np.nan, mid - half), np.where(gone, np.nan, mid + half)
    return Market(now, listed, spot, 0.01, np.zeros(len(spot)), bid, ask, vol)


@dataclass
class Desk:
    """A manager and a book that goes through time; its state is handed on from step to step."""

    manager: PortfolioRiskManager
    quantity: np.ndarray
    state: BreakerState = field(default_factory=BreakerState)
    options: bool = False

    @property
    def table(self) -> InstrumentTable:
        return table(self.options)

    def assess(self, now: int, **changes):
        snapshot = market(now, self.options, **changes)
        book = Portfolio(self.table, self.quantity, 1e6)
        self.state, assessment = self.manager.assess(self.state, book, snapshot)
        return assessment

    def step(self, now: int, trade=None, **changes):
        """Ask for a trade, do what is decided."""
        a = self.assess(now, **changes)
        asked = np.zeros(len(self.table)) if trade is None else self.trade(trade)
        proposal = self.manager.propose(a, asked)
        self.state, decision = self.manager.decide(self.state, a, proposal)
        self.quantity = self.quantity + decision.trades
        return decision

    def trade(self, lots: dict[str, float]) -> np.ndarray:
        out = np.zeros(len(self.table))
        for symbol, size in lots.items():
            out[self.table.symbols.index(symbol)] = size
        return out

    def held(self, symbol: str = "AAPL") -> float:
        return float(self.quantity[self.table.symbols.index(symbol)])

    def may(self, now: int, lots: dict[str, float]) -> bool:
        """Whether a trade passes by itself, as it is."""
        _, a = self.manager.assess(
            self.state, Portfolio(self.table, self.quantity, 1e6), market(now, self.options)
        )
        proposal = Proposal(np.stack([self.trade(lots), np.zeros(len(self.table))]))
        return bool(self.manager.mask(a, proposal)[0])


def desk(
    *events: Event,
    rules=(),
    held=None,
    caps=None,
    options=False,
    needed_dates=(),
    tails=False,
    **given,
) -> Desk:
    manager = PortfolioRiskManager(
        RiskLimits(caps=caps or Caps(delta=1e4)),
        SESSIONS,
        history=given.pop("history", history() if tails else None),
        var=VAR,
        events=events,
        event_policy=EventPolicy(rules=rules, needed_dates=needed_dates),
        sectors=given.pop("sectors", SECTORS),
        **given,
    )
    at = Desk(manager, np.zeros(len(table(options))), options=options)
    at.quantity = at.trade(held or {"AAPL": 100.0, "MSFT": 200.0})
    return at


def flatten(event_type: str, **changes) -> EventRule:
    return EventRule(event_type=event_type, action="flatten", **{"sessions_before": 1} | changes)


# -- when a flatten is due -----------------------------------------------------------------------

AMC = made("earnings", "2018-02-01 21:01", symbol="AAPL", placement="after_close")
BMO = made("earnings", "2018-02-01 12:00", symbol="AAPL", placement="before_open")

# What happens, the first moment (30 minutes before a close) at which the book is to be flat.
DUE = {
    "payrolls of 2 Feb 2018, 08:30: by the close before": (
        on(nfp_events(), "2018-02-02"),
        "2018-02-01 20:30",
    ),
    "FOMC of 21 Mar 2018, 14:00, just after daylight saving began": (
        on(fomc_events(), "2018-03-21"),
        "2018-03-20 19:30",
    ),
    "FOMC of 8 Nov 2018, just after it ended": (
        on(fomc_events(), "2018-11-08"),
        "2018-11-07 20:30",
    ),
    "Monday after daylight saving began, 12 Mar 2018: Friday's close is an hour later in UTC": (
        made("cpi", "2018-03-12 12:30"),
        "2018-03-09 20:30",
    ),
    "Monday after it ended, 5 Nov 2018": (made("cpi", "2018-11-05 13:30"), "2018-11-02 19:30"),
    "earnings after the close of 1 Feb 2018: that day's close, not the next": (
        AMC,
        "2018-02-01 20:30",
    ),
    "earnings before the open of 1 Feb 2018: the day before": (BMO, "2018-01-31 20:30"),
    "payrolls on Good Friday, 3 Apr 2015: Thursday's close": (
        on(nfp_events(), "2015-04-03"),
        "2015-04-02 19:30",
    ),
    "a half day, 23 Nov 2018, closes at 13:00": (
        made("cpi", "2018-11-23 18:30"),
        "2018-11-23 17:30",
    ),
    "on a Saturday, 10 Feb 2018": (made("cpi", "2018-02-10 15:00"), "2018-02-09 20:30"),
}


@pytest.mark.parametrize("what", DUE)
def test_a_flatten_is_done_at_the_first_step_of_its_deadline_and_not_before(what: str) -> None:
    event, due = DUE[what]
    at = desk(event, rules=[flatten(event.event_type)])
    touched = ["AAPL"] if event.symbol else ["AAPL", "MSFT"]
    before = at.step(utc(due) - 1)
    assert before.verdict.value == "ALLOW"
    assert not before.trades.any()
    done = at.step(utc(due))
    assert done.verdict.value == "REDUCE"
    assert [at.held(ticker) for ticker in touched] == [0.0] * len(touched)
    assert at.held("MSFT") == (200.0 if event.symbol else 0.0)
    assert done.rung == (Rung.NORMAL if event.symbol else Rung.FLATTEN)
    assert [r.measure for r in done.reasons if r.code == "event_size"] == touched
    assert {a.measure for a in done.alerts if a.code == "event_size"} == set(touched)
    # Nothing is left to do, and nothing is entered until the news is out.
    assert at.step(utc(due) + 1).verdict.value == "ALLOW"
    assert not at.may(event.time, {"AAPL": 1.0})
    assert at.may(event.time + 1, {"AAPL": 1.0})


def test_while_the_market_is_closed_a_missed_deadline_still_stands() -> None:
    at = desk(made("cpi", "2018-02-12 13:30"), rules=[flatten("cpi")])
    assert at.step(utc("2018-02-10 12:00")).verdict.value == "REDUCE"
    assert not at.quantity.any()


def test_a_moved_date_lets_go_at_the_old_one_and_binds_at_the_new_one() -> None:
    """CPI of September 2025: due on 15 October, moved on 10 October to the 24th."""
    moved = [e for e in cpi_events() if e.known_at < utc("2025-10-25 00:00") < e.time + 11 * DAY]
    at = desk(*moved, rules=[flatten("cpi")])
    at.step(utc("2025-10-14 19:30"))
    assert at.held() == 100.0
    at.step(utc("2025-10-23 19:30"))
    assert at.held() == 0.0


# -- a size spread over steps --------------------------------------------------------------------


def test_the_report_recommends_the_flatten_that_is_due() -> None:
    at = desk(
        AMC, rules=[flatten("earnings", gap_log_return=0.1)], tails=True, caps=Caps(gap_loss=1e5)
    )  # fmt: skip
    said = [
        at.manager.report(at.assess(utc(f"2018-02-01 {clock}")))["events"]
        for clock in ("20:29", "20:30")
    ]
    assert [report["recommended_action"] for report in said] == ["none", "flatten"]
    (row,) = said[1]["upcoming_events"]
    assert (row["symbol"], row["date"], row["days_until"]) == ("AAPL", "2018-02-01", 0)
    assert (row["action"], row["deadline"]) == ("flatten", "2018-02-01T21:00:00Z")
    at.step(utc("2018-02-01 20:30"))
    report = at.manager.report(at.assess(utc("2018-02-01 20:31")))["events"]
    assert (report["recommended_action"], report["gap_loss"]) == ("block_new", 0.0)


def test_each_step_is_a_share_of_the_size_before_the_first() -> None:
    rule = EventRule(event_type="earnings", sessions_before=3, reduce_to=0.25, steps=3)
    at = desk(AMC, rules=[rule], held={"AAPL": 101.0})
    held = []
    # Once a day at the deadline, and again before the close, and the next morning.
    for day in ("2018-01-29", "2018-01-30", "2018-01-31", "2018-02-01"):
        for clock in ("20:29", "20:30", "20:59"):
            at.step(utc(f"{day} {clock}"))
            held.append(at.held())
        at.state = BreakerState.from_dict(at.state.to_dict())  # a restart overnight
    # 0.75, 0.5 and 0.25 of 101, whole lots rounded down.
    assert held == [101.0] * 4 + [75.0] * 3 + [50.0] * 3 + [25.0] * 2
    assert [s.contracts for s in at.state.event_sizes] == [101.0]
    at.assess(AMC.time + 1)
    assert at.state.event_sizes == ()


def test_events_that_overlap_share_the_size_before_the_first() -> None:
    thirds = EventRule(event_type="earnings", sessions_before=3, reduce_to=0.4, steps=3)
    other = EventRule(event_type="cpi", sessions_before=1, reduce_to=0.5)
    third = EventRule(event_type="fomc", sessions_before=1, reduce_to=0.3)
    at = desk(
        AMC, made("cpi", "2018-02-01 13:30"), made("fomc", "2018-02-01 19:00"),
        rules=[thirds, other, third],
    )  # fmt: skip
    at.step(utc("2018-01-31 20:29"))
    assert at.held() == 80.0
    at.step(utc("2018-01-31 20:30"))
    assert at.held() == 30.0
    at.step(utc("2018-02-01 20:30"))
    assert (at.held(), at.held("MSFT")) == (30.0, 60.0)


def test_a_new_position_in_a_size_rule_counts_from_when_it_is_first_seen() -> None:
    rule = EventRule(event_type="earnings", sessions_before=2, reduce_to=0.5, steps=2)
    at = desk(AMC, rules=[rule], held={"AAPL": 10.0}, options=True)
    at.step(utc("2018-01-31 20:30"))
    at.quantity = at.quantity + at.trade({"AAPL 2018-03-16 95 P": 4.0})
    at.step(utc("2018-01-31 20:31"))
    assert at.held("AAPL 2018-03-16 95 P") == 3.0  # three quarters of 4
    at.step(utc("2018-02-01 20:30"))
    assert (at.held(), at.held("AAPL 2018-03-16 95 P")) == (5.0, 2.0)


def test_shorts_keep_their_cover_through_a_reduction() -> None:
    rule = EventRule(event_type="earnings", sessions_before=1, reduce_to=0.5)
    long, short = "AAPL 2018-03-16 90 P", "AAPL 2018-03-16 95 P"
    at = desk(AMC, rules=[rule], held={long: 8.0, short: -8.0}, options=True)
    at.step(utc("2018-02-01 20:30"))
    assert (at.held(long), at.held(short)) == (4.0, -4.0)


def test_what_is_due_is_closed_ahead_of_the_request_and_elsewhere_trading_goes_on() -> None:
    at = desk(AMC, rules=[flatten("earnings")])
    decision = at.step(utc("2018-02-01 20:30"), {"XOM": 300.0})
    assert (at.held(), at.held("XOM")) == (0.0, 300.0)
    assert decision.verdict.value == "REDUCE"
    assert decision.rung is Rung.NORMAL
    # A request that closes what is due by itself is left as it is.
    again = desk(AMC, rules=[flatten("earnings")])
    asked = {"AAPL": -100.0, "XOM": 5.0}
    assert again.step(utc("2018-02-01 20:30"), asked).verdict.value == "ALLOW"
    # One that adds to it is replaced.
    last = desk(AMC, rules=[flatten("earnings")])
    assert last.step(utc("2018-02-01 20:30"), {"AAPL": 10.0}).verdict.value == "REDUCE"
    assert last.held() == 0.0


def test_a_flatten_that_raises_the_risk_of_the_rest_is_done_inside_the_caps() -> None:
    """AAPL hedges MSFT: without it the book's delta grows, and may, up to the cap."""
    for cap, left in ((250.0, 0.0), (60.0, 0.0)):
        at = desk(
            AMC, rules=[flatten("earnings")], held={"AAPL": 100.0, "MSFT": -150.0},
            caps=Caps(delta=cap),
        )  # fmt: skip
        at.step(utc("2018-02-01 20:30"))
        assert at.held() == left
        assert abs(at.quantity[:2].sum()) <= cap


def test_a_ticker_without_quotes_is_flattened_like_any_other() -> None:
    at = desk(AMC, rules=[flatten("earnings")])
    at.step(utc("2018-02-01 20:30"), without="AAPL")
    assert (at.held(), at.held("MSFT")) == (0.0, 200.0)


def test_a_halt_lets_no_reduction_through() -> None:
    from riskenv.circuit_breaker import halt

    at = desk(AMC, rules=[flatten("earnings")])
    at.state = halt(at.state, "fat finger")
    assert not at.step(utc("2018-02-01 20:30")).trades.any()


# -- entries -------------------------------------------------------------------------------------


def test_an_event_of_one_ticker_blocks_its_entries_alone() -> None:
    rule = EventRule(event_type="earnings", sessions_before=2, block_new=True, sessions_after=1)
    at = desk(AMC, rules=[rule])
    now = utc("2018-02-01 15:00")
    decision = at.step(now, {"AAPL": 5.0})
    assert decision.verdict.value == "BLOCK"
    assert decision.rung is Rung.NORMAL
    (reason,) = decision.reasons
    assert (reason.code, reason.measure) == ("event_block", "AAPL")
    assert reason.words == (
        "AAPL: nothing is entered because of earnings of AAPL at 2018-02-01T21:01:00Z"
    )
    passes = {
        "another ticker": {"MSFT": 50.0},
        "a close": {"AAPL": -40.0},
        "a close with an entry elsewhere": {"AAPL": -40.0, "XOM": 30.0},
    }
    stops = {
        "an entry beside a close elsewhere": {"AAPL": 1.0, "MSFT": -200.0},
        "a close past zero": {"AAPL": -750.0},
    }
    assert {name: at.may(now, lots) for name, lots in passes.items()} == dict.fromkeys(passes, True)
    assert {name: at.may(now, lots) for name, lots in stops.items()} == dict.fromkeys(stops, False)
    # Through the cool-down, which ends with the next close.
    assert not at.may(utc("2018-02-02 21:00"), {"AAPL": 5.0})
    assert at.may(utc("2018-02-02 21:00") + 1, {"AAPL": 5.0})


def test_a_hedge_that_lowers_risk_passes_an_entry_block() -> None:
    rule = EventRule(
        event_type="earnings", sessions_before=2, block_new=True, gap_log_return=0.1
    )  # fmt: skip
    at = desk(
        AMC, rules=[rule], held={"AAPL": 400.0}, options=True, tails=True,
        caps=Caps(delta=1e4, gap_loss=1e5),
    )  # fmt: skip
    now = utc("2018-02-01 15:00")
    assert at.may(now, {"AAPL 2018-03-16 100 P": 1.0})
    assert not at.may(now, {"AAPL 2018-03-16 100 P": -1.0})
    assert not at.may(now, {"AAPL 2018-03-16 100 C": 1.0})


def test_an_event_of_the_market_blocks_everything_and_shows_in_the_rung() -> None:
    rule = EventRule(event_type="nfp", sessions_before=1, block_new=True)
    at = desk(on(nfp_events(), "2018-02-02"), rules=[rule])
    decision = at.step(utc("2018-02-01 21:00"), {"XOM": 1.0})
    assert (decision.verdict.value, decision.rung) == ("BLOCK", Rung.BLOCK_NEW)
    assert [r.code for r in decision.reasons] == ["rung_block_new", "event_block"]


@pytest.mark.parametrize(
    ("event", "stopped"),
    [
        (made("hearing", "2018-02-01 15:00", sector="technology"), ("AAPL", "MSFT", "SPX")),
        (made("hearing", "2018-02-01 15:00", sector="energy"), ("SPX", "XOM")),
        (made("hearing", "2018-02-01 15:00", symbol="XOM"), ("XOM",)),
    ],
)
def test_an_event_of_a_sector_blocks_its_tickers_and_those_of_no_known_sector(
    event, stopped
) -> None:
    at = desk(event, rules=[EventRule(event_type="hearing", sessions_before=1, block_new=True)])
    assert tuple(t for t in SPOT if not at.may(event.time, {t: 1.0})) == stopped


def test_a_single_name_without_a_date_is_inside_the_window_and_an_alert_says_so() -> None:
    at = desk(needed_dates=[NeededDate(not_for=("SPX",), within_days=40)], held={"SPX": 1.0})
    now = utc("2018-02-01 15:00")
    assert not at.may(now, {"AAPL": 1.0})
    assert at.may(now, {"SPX": 1.0})
    alerts = [(a.level, a.code, a.measure) for a in at.step(now).alerts]
    assert alerts == [("warning", "date_unknown", t) for t in ("AAPL", "MSFT", "XOM")]


def test_days_that_nobody_knows_block_and_alert_once() -> None:
    from datetime import date

    days = [
        UnknownDays("nfp", "", date(2018, 2, day), date(2018, 2, day), "source down")
        for day in (1, 2)
    ]
    at = desk(unknown_days=days, rules=[EventRule(event_type="nfp", sessions_before=1)])
    decision = at.step(utc("2018-02-01 15:00"), {"XOM": 1.0})
    assert decision.rung is Rung.BLOCK_NEW
    assert [a.code for a in decision.alerts if a.measure == "MARKET"] == ["events_unknown"]


# -- the gap -------------------------------------------------------------------------------------


def test_a_gap_outside_its_cap_is_hedged_or_cut_before_the_event_only() -> None:
    rule = EventRule(
        event_type="earnings", sessions_before=2, action="hedge_gap", gap_log_return=0.1,
        cap_multipliers={"gap_loss": 0.5},
    )  # fmt: skip
    at = desk(
        AMC, rules=[rule], held={"AAPL": 400.0}, options=True, tails=True,
        caps=Caps(delta=1e4, gap_loss=6000.0),
    )  # fmt: skip
    far, near = utc("2018-01-30 21:00") - 1, utc("2018-01-31 21:00")
    assert at.assess(far).rung is Rung.NORMAL
    assert hedge_columns(at.assess(far).events, market(far, True)).size == 0
    a = at.assess(near)
    # 400 shares down 1 - exp(-0.1) of 100: a loss of 3,807 against a cap of 3,000.
    assert a.before[INDEX["gap_loss"]] == pytest.approx(-400.0 * 100.0 * -np.expm1(-0.1))
    assert a.low[INDEX["gap_loss"]] == -3000.0
    assert a.rung is Rung.REDUCE
    columns = hedge_columns(a.events, a.market)
    assert {a.table.instruments[i].underlying for i in columns} == {"AAPL"}
    assert len(columns) == 9
    # Two puts bring the loss inside; so does selling shares; doing nothing does not pass.
    assert at.may(near, {"AAPL 2018-03-16 105 P": 2.0})
    assert at.may(near, {"AAPL": -200.0})
    assert not at.may(near, {"XOM": 1.0})
    assert at.step(near).after[INDEX["gap_loss"]] >= -3000.0
    report = at.manager.report(a)["events"]
    assert report["upcoming_events"][0]["action"] == "hedge_gap"


def test_protection_is_bought_where_that_costs_least() -> None:
    rule = EventRule(
        event_type="earnings", sessions_before=2, hedge_gap=True, gap_log_return=0.1
    )  # fmt: skip
    for dear, bought in ((0.01, False), (2.0, True)):
        at = desk(
            AMC, rules=[rule], held={"AAPL": 400.0}, options=True, tails=True,
            caps=Caps(delta=1e4, gap_loss=3000.0),
        )  # fmt: skip
        decision = at.step(utc("2018-02-01 15:00"), dear=dear)
        assert decision.verdict.value == "REDUCE"
        assert decision.after[INDEX["gap_loss"]] >= -3000.0
        assert (at.held() == 400.0) == bought
        options = decision.trades[decision.table.kind != 0]
        assert (options.any() and (options >= 0.0).all()) == bought


def test_a_gap_inside_its_cap_is_not_hedged() -> None:
    rule = EventRule(
        event_type="earnings", sessions_before=2, hedge_gap=True, gap_log_return=0.1
    )  # fmt: skip
    at = desk(AMC, rules=[rule], tails=True, caps=Caps(gap_loss=6000.0))
    assert at.step(utc("2018-02-01 15:00")).verdict.value == "ALLOW"


def test_to_hedge_a_gap_there_must_be_a_cap_on_it() -> None:
    rule = EventRule(event_type="cpi", sessions_before=2, hedge_gap=True, gap_log_return=0.1)
    with pytest.raises(ConfigError, match="hedges a gap loss outside its cap, and there is none"):
        desk(rules=[rule])


@pytest.mark.parametrize(
    ("held", "loss"),
    [
        ({"AAPL": 100.0, "MSFT": 200.0}, 0.1),  # 20,000 of technology at once
        ({"AAPL": 100.0, "MSFT": -200.0}, 0.05),  # each alone
        ({"AAPL": 100.0, "XOM": 125.0}, 0.05),  # another sector stays
    ],
)
def test_a_sector_jumps_as_one_and_each_ticker_alone(held, loss) -> None:
    event = made("hearing", "2018-02-01 15:00", sector="technology")
    rule = EventRule(event_type="hearing", sessions_before=1, gap_log_return=0.1)
    sectors = {**SECTORS, "SPX": "index"}
    at = desk(
        event, rules=[rule], held=held, tails=True, sectors=sectors, caps=Caps(gap_loss=1e6)
    )  # fmt: skip
    gap = at.assess(event.time).before[INDEX["gap_loss"]]
    size = 1e4 / 0.05 * loss
    assert gap == pytest.approx(
        -size * max(-np.expm1(-0.1), 0.0 if held.get("MSFT", 1) > 0 else np.expm1(0.1))
    )


# Moves of AAPL, MSFT, SPX and XOM over three days of earnings, payrolls and a hearing.
PAST = {
    "2017-08-02": (-0.12, 0.0, 0.0, 0.0),
    "2017-09-01": (-0.02, 0.03, -0.04, 0.01),
    "2017-11-03": (0.06, 0.01, 0.0, 0.0),
}


def moved() -> FactorHistory:
    moves = 0.1 * history().log_return
    days = history().times.astype("datetime64[ns]").astype("datetime64[D]").astype(str).tolist()
    for day, values in PAST.items():
        moves[days.index(day)] = values
    return FactorHistory(history().underlyings, history().times, moves, 0.0 * moves)


BEFORE = (
    made("earnings", "2017-08-01 20:30", symbol="AAPL"),  # after the close: the move of the 2nd
    made("earnings", "2017-11-03 11:00", symbol="AAPL"),  # before the open: of that day
    made("nfp", "2017-09-01 12:30"),
    made("earnings", "2017-08-01 20:30", symbol="MSFT", withdrawn_at=utc("2017-07-20 12:00")),
)


@pytest.mark.parametrize(
    ("event", "days", "held", "worst"),
    [
        (AMC, 0, {"AAPL": 100.0}, 1.0 - np.exp(-0.05)),  # the policy's own
        (AMC, 200, {"AAPL": 100.0}, 1.0 - np.exp(-0.12)),  # that of August
        (AMC, 120, {"AAPL": 100.0}, 1.0 - np.exp(-0.06)),  # of November, its other side
        (AMC, 200, {"AAPL": -100.0}, np.exp(0.12) - 1.0),
        (replace(AMC, symbol="MSFT"), 200, {"MSFT": 200.0}, 1.0 - np.exp(-0.05)),  # called off
        # The market's moves are joint: 10,000 of each, one down 4 % and the other up 3 %. A jump
        # of all alike does nothing to this book.
        (made("nfp", "2018-02-02 13:30"), 200, {"SPX": 4.0, "MSFT": -200.0},
         np.exp(0.03) - np.exp(-0.04)),
    ],
)  # fmt: skip
def test_a_jump_is_at_least_what_past_events_moved(event, days, held, worst) -> None:
    rule = EventRule(
        event_type=event.event_type, sessions_before=2, gap_log_return=0.05, gap_history_days=days
    )  # fmt: skip
    at = desk(
        *BEFORE, event, rules=[rule], held=held, caps=Caps(gap_loss=1e5), history=moved()
    )  # fmt: skip
    loss = at.assess(utc("2018-02-01 15:00")).before[INDEX["gap_loss"]]
    assert loss == pytest.approx(-1e4 * worst)


def test_a_move_that_is_not_history_yet_is_no_jump() -> None:
    """At a close the move of the day is known; a minute before it is not."""
    rule = EventRule(
        event_type="earnings", sessions_before=20, gap_log_return=0.01, gap_history_days=900
    )  # fmt: skip
    at = desk(
        *BEFORE, made("earnings", "2017-08-08 20:30", symbol="AAPL"), rules=[rule],
        held={"AAPL": 100.0}, caps=Caps(gap_loss=1e5), history=moved(),
    )  # fmt: skip
    losses = [
        at.assess(utc(f"2017-08-02 {clock}")).before[INDEX["gap_loss"]]
        for clock in ("19:59", "20:00")
    ]
    assert losses == pytest.approx([-1e4 * (1.0 - np.exp(-0.01)), -1e4 * (1.0 - np.exp(-0.12))])


# -- caps ----------------------------------------------------------------------------------------


def test_caps_tighten_before_the_event_and_are_released_after_the_cool_down() -> None:
    rule = EventRule(
        event_type="earnings", sessions_before=2, sessions_after=1, cap_multiplier=0.5
    )  # fmt: skip
    limits = RiskLimits(caps=Caps(delta=1e4), by_underlying={"*": {"delta": 1000.0}})
    manager = PortfolioRiskManager(
        limits, SESSIONS, events=[AMC], event_policy=EventPolicy(rules=(rule,))
    )
    at = Desk(manager, np.zeros(4))
    own = {t: at.assess(utc("2018-01-02 15:00")).names.index(f"delta[{t}]") for t in SPOT}
    seen = []
    for now in ("2018-01-31 14:29", "2018-01-31 14:30", "2018-02-02 21:00", "2018-02-02 21:01"):
        high = at.assess(utc(now)).high
        seen.append((high[INDEX["delta"]], high[own["AAPL"]], high[own["MSFT"]]))
    # A ticker's own cap is tightened by what touches that ticker.
    free, tight = (1e4, 1000.0, 1000.0), (5e3, 500.0, 1000.0)
    assert seen == [free, tight, tight, free]


def test_events_of_tickers_that_are_not_listed_change_nothing() -> None:
    rule = EventRule(event_type="earnings", sessions_before=2, cap_multiplier=0.5, block_new=True)
    at = desk(replace(AMC, symbol="GE"), rules=[rule])
    a = at.assess(utc("2018-02-01 15:00"))
    assert a.high[INDEX["delta"]] == 1e4
    assert not a.entry_blocked.any()


# -- nothing is seen early -----------------------------------------------------------------------


def walk(at: Desk, steps, seed: int) -> list[dict]:
    """What is decided along the way on random requests, but for the digest of the calendar."""
    rng = np.random.default_rng(seed)
    decided = []
    for now in steps:
        asked = dict(zip(SPOT, rng.integers(-40, 41, len(SPOT)).astype(float), strict=True))
        decided.append({**at.step(int(now), asked).to_dict(), "config_digest": ""})
    return decided


@pytest.mark.parametrize("seed", range(4))
def test_shuffling_all_that_is_announced_later_changes_no_decision_before(seed: int) -> None:
    rng = np.random.default_rng(seed)
    days = SESSIONS.closes[
        np.searchsorted(SESSIONS.closes, [utc("2018-01-16 00:00"), utc("2018-03-01 00:00")])
    ]
    closes = SESSIONS.closes[(SESSIONS.closes >= days[0]) & (SESSIONS.closes < days[1])]
    steps = np.sort(np.concatenate([closes - 6 * HOUR, closes - 30 * MINUTE, closes]))
    cut = int(closes[len(closes) // 2])
    rules = [
        EventRule(event_type="earnings", sessions_before=3, reduce_to=0.25, steps=3),
        EventRule(event_type="nfp", sessions_before=2, cap_multiplier=0.4, reduce=True,
                  sessions_after=1),
        EventRule(event_type="fomc", sessions_before=1, block_new=True),
    ]  # fmt: skip
    public = [AMC, on(nfp_events(), "2018-02-02"), on(fomc_events(), "2018-01-31")]
    later = []
    for _ in range(30):
        time = cut + int(rng.integers(1, 14 * 24)) * HOUR
        later.append(
            Event(
                str(rng.choice(["earnings", "nfp", "fomc"])), time,
                int(rng.integers(cut + 1, time + 1)), symbol=str(rng.choice(["", *SPOT])),
            )
        )  # fmt: skip
    caps = Caps(delta=600.0, contracts=50.0)

    def run(calendar) -> list[dict]:
        return walk(desk(*calendar, rules=rules, caps=caps), steps, seed)

    without, with_it = run(public), run([*later, *public])
    upto = int(np.searchsorted(steps, cut, side="right"))
    assert without[:upto] == with_it[:upto]
    assert without[upto:] != with_it[upto:]  # it is not that nothing ever matters
    assert {d["verdict"] for d in without[:upto]} >= {"ALLOW", "REDUCE"}


# -- the layer as data ---------------------------------------------------------------------------


def test_a_bundle_carries_sectors_and_unknown_days_and_decides_the_same(tmp_path) -> None:
    from datetime import date

    days = UnknownDays("cpi", "XOM", date(2018, 2, 1), date(2018, 2, 2), "no source")
    event = made("hearing", "2018-02-01 15:00", sector="technology")
    rules = [
        EventRule(event_type="hearing", sessions_before=1, reduce_to=0.5),
        EventRule(event_type="cpi", sessions_before=1),
    ]
    at = desk(event, rules=rules, unknown_days=[days])
    save_bundle(at.manager, tmp_path / "gate.zip")
    manager, _ = load_bundle(tmp_path / "gate.zip")
    assert manager.monitor.sectors == SECTORS
    assert manager.monitor.unknown == (days,)
    assert manager.config_digest == at.manager.config_digest
    twin = replace(at, manager=manager)
    now = utc("2018-02-01 14:00")
    asked = {"XOM": 5.0, "AAPL": 5.0}
    assert at.step(now, asked).to_bytes() == twin.step(now, asked).to_bytes()
    assert (at.held(), at.held("MSFT"), at.held("XOM")) == (50.0, 100.0, 0.0)


def test_layers_that_differ_in_anything_differ_in_digest() -> None:
    from datetime import date

    days = UnknownDays("cpi", "", date(2018, 2, 1), date(2018, 2, 2), "no source")
    moved = FactorHistory(
        tuple(SPOT), history().times, history().log_return + 1e-12, history().log_vol_change
    )

    def of(**given) -> str:
        defaults = {"history": history(), "sessions": SESSIONS}
        limits = RiskLimits(caps=Caps(delta=1.0))
        given = {**defaults, **given}
        return PortfolioRiskManager(limits, given.pop("sessions"), **given).config_digest

    layers = [
        of(),
        of(history=None),
        of(history=moved),
        of(events=[AMC]),
        of(events=[replace(AMC, withdrawn_at=AMC.known_at + 1)]),
        of(sectors=SECTORS),
        of(unknown_days=[days]),
        of(sessions=exchange_sessions("2015-01-01", "2026-12-30")),
        of(event_policy=EventPolicy(rules=(flatten("cpi"),))),
    ]
    assert len(set(layers)) == len(layers)
    assert of(events=[AMC, BMO]) == of(events=[BMO, AMC])
