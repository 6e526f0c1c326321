"""A jump that quotes imply: what it is, which book it counts for, and what counts without it."""

from __future__ import annotations

import numpy as np
import pytest

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
    Portfolio,
    PortfolioRiskManager,
    RiskLimits,
    Sessions,
    VarConfig,
    load_config,
)
from riskenv.event_implied import quoted_jump

DAY = 86_400 * 10**9
CLOSES = (np.arange(300) + 1) * DAY
SESSIONS = Sessions(CLOSES - DAY // 4, CLOSES)
NOW = int(CLOSES[149]) - 3 * 3_600 * 10**9
TICKERS = ("AAPL", "MSFT")
AT = NOW + DAY  # of the event
EARNINGS = Event("earnings", AT, 0, symbol="AAPL")
FOMC = Event("fomc", AT, 0)
# sqrt((0.6^2 - 0.4^2) / (365 / 10 - 365 / 40)) = sqrt(0.2 / 27.375)
JUMP = 0.08547477


def rule(kind: str = "earnings", own: float = 0.1, implied: float = 2.0, **more) -> EventRule:
    return EventRule(
        event_type=kind, sessions_before=3, gap_log_return=own, gap_implied=implied, **more
    )


def market(vols, *, spot: float = 100.0, strikes=(90.0, 100.0, 110.0), crossed=()) -> Market:
    """Calls and puts of AAPL: {days to expiry: vol, or a vol for each strike}; shares of both."""
    vols = {days: np.broadcast_to(vol, len(strikes)) for days, vol in vols.items()}
    vol_of = {
        Instrument("AAPL", right, strike, NOW + days * DAY, 100.0): float(vol)
        for days, row in vols.items()
        for right in "CP"
        for strike, vol in zip(strikes, row, strict=True)
    }
    table = InstrumentTable.of([*map(Instrument, TICKERS), *vol_of])
    option = table.kind != 0
    mid = np.where(option, 20.0, spot)
    vol = np.array([vol_of.get(instrument, 0.0) for instrument in table.instruments])
    wrong = np.isin(table.expiry, [NOW + days * DAY for days in crossed]) & option
    ask = np.where(wrong, mid - 1.0, mid + 0.05)
    return Market(NOW, table, np.full(2, spot), 0.0, np.zeros(2), mid - 0.05, ask, vol)


def gap(quotes: Market, *rules: EventRule, events=(EARNINGS,), held=("AAPL",), manager=None):
    """The report on a hundred shares of each ticker held, 10,000 of currency."""
    rng = np.random.default_rng(1)
    moves = 0.001 * rng.standard_normal((149, 2))
    manager = manager or PortfolioRiskManager(
        RiskLimits(caps=Caps(gap_loss=1_200.0)),
        SESSIONS,
        history=FactorHistory(TICKERS, CLOSES[:149], moves, -moves),
        var=VarConfig(window=120, min_scenarios=100),
        events=events,
        event_policy=EventPolicy(rules=rules),
    )
    book = Portfolio.of(quotes.table, {Instrument(ticker): 100.0 for ticker in held}, 1e6)
    _, a = manager.assess(BreakerState(), book, quotes)
    return manager, manager.report(a)["events"]


def loss(*sizes: float) -> float:
    """Of a hundred shares at 100 each, when they fall so far."""
    return sum(10_000.0 * (np.exp(-size) - 1.0) for size in sizes)


FALLS = {10: 0.6, 40: 0.4}


@pytest.mark.parametrize(
    ("vols", "given", "jump"),
    [
        (FALLS, {}, JUMP),
        # Straight between strikes: 0.5 at 98 and 0.7 at 103 make 0.58 at 100.
        ({10: (0.5, 0.7), 40: 0.4}, {"strikes": (98.0, 103.0)}, (0.1764 / 27.375) ** 0.5),
        # An expiry before the event says nothing of it, nor does a crossed quote.
        ({0.5: 2.0, 10: 0.6, 40: 0.4}, {}, JUMP),
        ({10: 0.6, 20: 0.9, 40: 0.4}, {"crossed": (20,)}, JUMP),
        # The two expiries nearest the event count: a later one does not.
        ({10: 0.6, 40: 0.4, 60: 0.1}, {}, JUMP),
    ],
)
def test_the_jump_is_that_of_the_first_two_expiries(vols, given, jump) -> None:
    size, why = quoted_jump(market(vols, **given), "AAPL", AT)
    assert size == pytest.approx(jump, rel=1e-6)
    assert why == ""


UNTOLD = {
    "a term structure that rises": ({10: 0.4, 40: 0.6}, {}, "expiry: 0.4, then 0.6"),
    "one that is flat": ({10: 0.4, 40: 0.4}, {}, "does not fall"),
    "one expiry": ({10: 0.6}, {}, "known at 1 of the 2"),
    "no expiry after the event": ({0.5: 0.6}, {}, "known at 0 of the 2"),
    "crossed quotes": (FALLS, {"crossed": (10,)}, "known at 1 of the 2"),
    "volatility not known": ({10: np.nan, 40: 0.4}, {}, "known at 1 of the 2"),
    "strikes on one side of the spot": (FALLS, {"strikes": (95.0, 99.0)}, "known at 0 of the 2"),
    "strikes far away": (FALLS, {"strikes": (80.0, 120.0)}, "known at 0 of the 2"),
}  # fmt: skip


@pytest.mark.parametrize("case", UNTOLD)
def test_without_an_implied_jump_the_rule_s_own_counts_and_the_report_says_so(case) -> None:
    vols, given, why = UNTOLD[case]
    quotes = market(vols, **given)
    assert np.isnan(quoted_jump(quotes, "AAPL", AT)[0])
    _, report = gap(quotes, rule())
    assert report["gap_loss"] == pytest.approx(loss(0.1))
    (caution,) = report["cautions"]
    assert (caution["code"], caution["symbol"]) == ("jump_not_implied", "AAPL")
    assert why in caution["words"]


def test_risk_level_and_action_follow_from_the_implied_jump() -> None:
    quotes = market(FALLS)
    _, plain = gap(quotes, rule(implied=0.0))
    assert plain["gap_loss"] == pytest.approx(loss(0.1))
    assert (plain["risk_level"], plain["recommended_action"]) == ("normal", "none")
    _, report = gap(quotes, rule())
    # Two standard deviations: 10,000 (1 - exp(-0.17094954)) = 1,571.4, over a cap of 1,200.
    assert report["gap_loss"] == pytest.approx(loss(2.0 * JUMP)) == pytest.approx(-1_571.4, abs=0.1)
    # 1 - 1,200 / 1,571.4 = 23.6 %; a book of shares is all delta.
    assert report["risk_level"] in ("high", "critical")
    assert report["recommended_action"] == "reduce_delta_by_24pct"
    assert report["cautions"] == []


def test_the_larger_of_the_two_jumps_counts() -> None:
    _, report = gap(market(FALLS), rule(own=0.3))
    assert report["gap_loss"] == pytest.approx(loss(0.3))


def test_it_touches_what_its_event_touches() -> None:
    assert gap(market(FALLS), rule(), held=("MSFT",))[1]["gap_loss"] == 0.0
    # On the market's day every ticker moves at once: by its own implied jump, or by the rule's.
    _, report = gap(market(FALLS), rule("fomc"), events=(FOMC,), held=TICKERS)
    assert report["gap_loss"] == pytest.approx(loss(2.0 * JUMP, 0.1))
    assert [(c["code"], c["symbol"]) for c in report["cautions"]] == [("jump_not_implied", "MSFT")]


def test_other_quotes_at_the_same_instant_imply_another_jump() -> None:
    manager, first = gap(market(FALLS), rule())
    again = gap(market({10: 0.9, 40: 0.4}), manager=manager)[1]
    larger = (0.65 / 27.375) ** 0.5
    assert again["gap_loss"] == pytest.approx(loss(2.0 * larger))
    assert gap(market(FALLS), manager=manager)[1] == first


def test_the_move_of_volatility_comes_with_it() -> None:
    """A straddle gains as its volatility rises with the jump; shares do not care."""
    quotes = market(FALLS)
    legs = {Instrument("AAPL", right, 100.0, NOW + 40 * DAY, 100.0): -1.0 for right in "CP"}
    losses = []
    for change in (-0.5, 0.0, 0.5):
        manager, _ = gap(quotes, rule(gap_log_vol_change=change))
        _, a = manager.assess(BreakerState(), Portfolio.of(quotes.table, legs, 1e6), quotes)
        losses.append(manager.report(a)["events"]["gap_loss"])
    assert losses[0] > losses[1] > losses[2]


def test_a_rule_that_asks_for_it_has_a_jump_of_its_own() -> None:
    given = {"event_type": "earnings", "sessions_before": 1, "gap_implied": 2.0}
    with pytest.raises(ConfigError, match="allowed with gap_implied"):
        load_config(EventRule, given)
    with pytest.raises(ConfigError, match="gap_implied"):
        load_config(EventRule, given | {"gap_log_return": 0.1, "gap_implied": -1.0})


def test_nothing_is_asked_of_quotes_by_other_rules() -> None:
    quotes = market({10: np.nan, 40: np.nan})
    assert gap(quotes, rule(implied=0.0))[1]["cautions"] == []
