"""Scenarios of an instant: what they are drawn from, what they weigh, and the stress grids."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from riskenv import (
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
    Proposal,
    RiskLimits,
    VarConfig,
    Verdict,
    historical_var,
    load_config,
)
from riskenv.bootstrap import SeededUniforms
from riskenv.filtered_history import VarianceFilter, filter_history
from riskenv.gap_scenarios import HistoryJumps, history_jumps, implied_jump
from riskenv.measures import INDEX, STRESS
from riskenv.pricing import black_scholes_price
from riskenv.proxies import Proxy, with_proxies
from riskenv.scenario_set import scenario_set
from riskenv.scenarios import GapJump, pnl_matrix
from riskenv.stress import GridConfig, SpanConfig
from riskenv.stress_scenarios import StressConfig, stress_grid
from riskenv.weighted_tail import weighted_tail

from ...property.worlds import (
    DAY,
    FAST,
    FRESH,
    HISTORIES,
    NOW,
    SESSIONS,
    VAR,
    market_of,
    world,
)

GRID = StressConfig(grid=GridConfig())
EVERY = StressConfig(
    span={"*": SpanConfig(price_range=0.06, vol_range=0.3)}, grid=GridConfig(), crises=True
)
NEXT_DAY = Event("cpi", NOW + DAY, NOW - DAY)
JUMPS = EventPolicy(rules=(EventRule(event_type="cpi", sessions_before=2, gap_log_return=0.15),))


def managed(w, var: VarConfig, caps: Caps | None = None, history="same", events=(), policy=None):
    """The world under another VaR configuration."""
    history = w.manager.history if history == "same" else history
    manager = PortfolioRiskManager(
        RiskLimits(caps=caps or Caps()), SESSIONS, history=history, var=var, events=events,
        event_policy=policy,
    )  # fmt: skip
    return replace(w, manager=manager)


def var_of(**changes) -> VarConfig:
    return load_config(VarConfig, {**VAR.model_dump(), **changes})


def measured(w, *names: str) -> list[float]:
    before = w.assess()[1].before
    return [float(before[INDEX[name]]) for name in names]


# --- stress ---------------------------------------------------------------------------------------


def test_the_worst_stress_is_the_worst_cell_of_the_grids_with_the_decay_of_the_horizon() -> None:
    w = managed(world(5), var_of(stress=EVERY))
    a = w.assess()[1]
    drawn = w.manager._cache.scenarios(NOW)
    pnl = w.portfolio.quantity @ pnl_matrix(w.market, drawn)
    assert len(drawn.stress) == 3 * (16 + 35) + 7 + 8 + 13  # the last: crises that fit
    for h, days in enumerate((1, 3, 5)):
        block = slice(*drawn.bounds[4 + 2 * h : 7 + 2 * h : 2])  # at once, then later
        assert drawn.years[4 + 2 * h] == 0.0
        assert drawn.years[5 + 2 * h] == pytest.approx(days / 365)
        assert a.before[INDEX[STRESS[h]]] == pytest.approx(min(0.0, pnl[block].min()), rel=1e-12)
    # The share of an extreme move that counts is that of the grid.
    span_16 = drawn.stress.index("span 16: extreme down") + drawn.bounds[4]
    share = w.table.instruments.index(Instrument("A"))
    cell = pnl_matrix(w.market, drawn)[share, span_16]
    assert cell == pytest.approx(-0.35 * 0.12 * w.market.spot[0], rel=1e-12)


def test_what_happens_at_once_lets_no_time_pass() -> None:
    """A straddle that expires with the next session is worth nothing but intrinsic after it."""
    table = InstrumentTable.of([Instrument("A", right, 100.0, NOW + DAY, 100.0) for right in "CP"])
    spot, vol = np.array([100.0]), np.full(2, 0.3)
    value = black_scholes_price(
        100.0, np.full(2, 100.0), np.full(2, 1.0 / 365.0), 0.0, 0.0, vol, table.kind > 0
    )
    market = Market(NOW, table, spot, 0.0, np.zeros(1), value - 0.01, value + 0.01, vol)
    book = Portfolio(table, np.full(2, -10.0), 1e6)
    grid = GridConfig(sessions=0, price_range=0.01, steps=1, vol_up=1.5, extended=())
    w = replace(managed(world(2), var_of(stress={"grid": grid})), market=market, portfolio=book)
    up, vols = 1.01, 2.5 * vol
    moved = black_scholes_price(
        100.0 * up, np.full(2, 100.0), np.full(2, 1.0 / 365.0), 0.0, 0.0, vols, table.kind > 0
    )
    expected = -1_000.0 * float((moved - value).sum())
    assert expected < -1_900.0
    assert measured(w, *STRESS) == pytest.approx([expected] * 3, rel=1e-3)


def test_a_crisis_counts_only_at_horizons_that_it_fits_in() -> None:
    drawn = scenario_set(None, SESSIONS, NOW, VarConfig(stress=StressConfig(crises=True)))
    one, three, five = (drawn.stress[a - drawn.bounds[4] : z - drawn.bounds[4]] for a, z in zip(
        drawn.bounds[4:-1:2], drawn.bounds[6::2], strict=True))  # fmt: skip
    assert "1987-10-19 1d" in one
    assert "1987-10-19 2d" not in one
    assert "1987-10-19 2d" in three
    assert "2008-10-09 5d" not in three
    assert len(five) == 13


@pytest.mark.parametrize("name", STRESS)
def test_a_stress_cap_blocks_a_trade_and_names_itself(name: str) -> None:
    w = managed(world(3, held=0), var_of(stress=GRID), Caps(**{name: 4000.0}))
    state, a = w.assess()
    share = w.table.index[Instrument("A")]
    for shares, passes in ((100.0, True), (-1000.0, False)):
        trade = np.zeros((2, len(w.table)))
        trade[1, share] = shares
        _, d = w.manager.decide(state, a, Proposal(trade, asked=1))
        assert (d.row == 1) == passes
        assert [r.measure for r in d.reasons if r.code == "cap_exceeded"] == [name] * (not passes)


@pytest.mark.parametrize(
    ("stress", "cap"),
    [
        (StressConfig(), "stress_1d"),
        (StressConfig(grid=GridConfig(sessions=3)), "stress_1d"),
        (StressConfig(), "stress_5d"),
    ],
)
def test_a_stress_cap_without_a_scenario_of_its_horizon_is_refused(stress, cap) -> None:
    with pytest.raises(ConfigError, match=rf"caps\.{cap}: got 5\.0; a stress cap needs a grid"):
        managed(world(1), var_of(stress=stress), Caps(**{cap: 5.0}))
    with pytest.raises(ConfigError, match="stress cap needs a grid"):
        PortfolioRiskManager(
            RiskLimits(caps=Caps(), of_equity=Caps(**{cap: 0.1})), SESSIONS,
            history=HISTORIES[0], var=var_of(stress=stress),
        )  # fmt: skip


def test_stress_needs_no_history_and_stands_in_for_none() -> None:
    w = managed(world(4), var_of(stress=GRID), Caps(stress_3d=1e6), history=None)
    with_history = managed(world(4), var_of(stress=GRID), Caps(stress_3d=1e6))
    a = w.assess()[1]
    assert measured(w, *STRESS) == measured(with_history, *STRESS)
    assert (a.before[[INDEX[name] for name in STRESS]] < 0.0).all()
    assert not a.has_tails
    tails = ("var_1d", "es_1d", "var_3d", "es_3d", "var_5d", "es_5d", "gap_loss")
    assert np.isnan(measured(w, *tails)).all()
    with pytest.raises(ConfigError, match="factor history"):
        managed(world(4), var_of(stress=GRID), Caps(gap_loss=1e6), history=None)


def test_without_a_history_a_trade_reduces_if_it_lowers_the_worst_stress() -> None:
    """At BLOCK_NEW only what reduces passes: a put bought under the shares does."""
    w = managed(
        world(3, held=0), var_of(stress=GRID), Caps(stress_1d=1500.0, delta=1e6), history=None
    )
    share = w.table.index[Instrument("A")]
    put = next(i for i, leg in enumerate(w.table.instruments)
               if (leg.underlying, leg.right) == ("A", "P"))  # fmt: skip
    book = np.zeros(len(w.table))
    book[share] = 100.0  # 16 % of 100 shares at 100: outside 1,500
    w = w.with_book(book)
    a = w.assess()[1]
    assert a.rung.name == "BLOCK_NEW"
    trade = np.zeros((3, len(w.table)))
    trade[1, put], trade[2, put] = 1.0, -1.0
    assert w.manager.mask(a, Proposal(trade)).tolist() == [True, True, False]


def test_an_instrument_of_which_a_grid_says_nothing_is_unknown_under_stress() -> None:
    only_b = StressConfig(span={"B": SpanConfig(price_range=0.1, vol_range=0.3)})
    w = managed(world(3, held=0), var_of(stress=only_b), Caps(stress_1d=1e9))
    a = w.assess()[1]
    trade = np.zeros((3, len(w.table)))
    trade[1, w.table.index[Instrument("A")]] = 1.0
    trade[2, w.table.index[Instrument("B")]] = 1.0
    assert w.manager.mask(a, Proposal(trade)).tolist() == [True, False, True]


def test_a_grid_that_cannot_be_made_is_refused() -> None:
    spans = [{"price_range": 0.1, "vol_range": 0.3, "sessions": k} for k in (0, 1)]
    with pytest.raises(ConfigError, match="belong to a scenario"):
        load_config(StressConfig, {"span": dict(zip("AB", spans, strict=True))})
    with pytest.raises(ConfigError, match="beta"):
        load_config(StressConfig, {"crises": True, "crisis_beta": {"A": float("inf")}})
    assert stress_grid(StressConfig(), ("A",)) is None


def test_grids_cost_nothing_where_there_are_none_and_change_no_other_measure() -> None:
    plain, stressed = managed(world(6), VAR), managed(world(6), var_of(stress=EVERY))
    a, b = plain.assess()[1], stressed.assess()[1]
    assert a.base_pnl.size == plain.manager._cache.scenarios(NOW).bounds[4]
    others = [j for name, j in INDEX.items() if name not in STRESS]
    assert a.interval[:, others].tobytes() == b.interval[:, others].tobytes()
    assert np.isnan(measured(plain, *STRESS)).all()


# --- weights --------------------------------------------------------------------------------------

TAILS = ("var_1d", "es_1d", "var_3d", "es_3d", "var_5d", "es_5d")


def with_jumps(seed: int, **changes):
    return managed(world(seed), var_of(**changes), events=(NEXT_DAY,), policy=JUMPS)


@settings(FAST, max_examples=25)
@given(st.integers(0, 10_000), st.sampled_from([0.005, 0.03, 0.2]))
def test_var_with_jumps_mixed_in_is_never_better_than_without(seed: int, weight: float) -> None:
    plain, mixed = with_jumps(seed), with_jumps(seed, gap_weight=weight)
    a, b = np.array(measured(plain, *TAILS)), np.array(measured(mixed, *TAILS))
    assert (b <= a).all()
    assert measured(plain, "gap_loss") == measured(mixed, "gap_loss")


def test_mixed_tails_are_those_of_the_weighted_estimator() -> None:
    for seed in range(6):
        w = with_jumps(seed, gap_weight=0.1, decay_half_life=40.0)
        a = w.assess()[1]
        blocks, p = a.tails.blocks, a.tails.p
        jumps = a.base_pnl[blocks[3] : blocks[4]]
        drawn = w.manager._cache.scenarios(NOW)
        assert len(jumps) == 2
        for h in range(3):
            pnl = a.base_pnl[blocks[h] : blocks[h + 1]]
            weights = drawn.weights[blocks[h] : blocks[h + 1]]
            assert weights.sum() == pytest.approx(1.0, abs=1e-12)
            assert weights[-1] / weights[-41] == pytest.approx(2.0, rel=1e-12)
            alone = weighted_tail(pnl, weights, p)
            joined = np.concatenate([0.9 * weights, np.full(2, 0.05)])
            both = weighted_tail(np.concatenate([pnl, jumps]), joined, p)
            worse = np.minimum(alone, both)
            assert a.before[INDEX["var_1d"] + 2 * h :][:2] == pytest.approx(worse, rel=1e-12)


def test_a_weight_of_nothing_has_the_bits_of_the_plain_tail() -> None:
    for seed in range(4):
        plain = with_jumps(seed)
        for changes in ({"gap_weight": 0.0}, {"decay_half_life": None}):
            other = with_jumps(seed, **changes)
            assert other.assess()[1].interval.tobytes() == plain.assess()[1].interval.tobytes()
        no_jump = managed(world(seed), var_of(gap_weight=0.3))
        without = managed(world(seed), VAR)
        assert no_jump.assess()[1].interval.tobytes() == without.assess()[1].interval.tobytes()


@pytest.mark.parametrize(
    "changes", [{"gap_weight": 0.05}, {"decay_half_life": 30.0}, {"stress": EVERY},
                {"gap_weight": 0.05, "decay_half_life": 30.0, "stress": EVERY}],
)  # fmt: skip
def test_a_batch_of_one_and_of_many_get_the_same_bits(changes) -> None:
    from riskenv.selection import evaluate

    w = with_jumps(9, **changes)
    a = w.assess()[1]
    trades = np.random.default_rng(1).integers(-5, 6, (64, len(w.table))).astype(float)
    many = evaluate(a, trades).interval
    for k in range(64):
        assert evaluate(a, trades[k : k + 1]).interval.tobytes() == many[k : k + 1].tobytes()
    # And both are what the book would be assessed at.
    after = w.with_book(w.portfolio.quantity + trades[0]).assess()[1]
    scale = np.abs(after.before[INDEX["var_1d"] : INDEX["stress_5d"] + 1])
    np.testing.assert_allclose(
        many[0, 0, INDEX["var_1d"] : INDEX["stress_5d"] + 1],
        after.before[INDEX["var_1d"] : INDEX["stress_5d"] + 1],
        atol=1e-9 * (1.0 + np.nanmax(scale)),
    )


def test_an_unknown_jump_or_move_leaves_mixed_tails_unknown() -> None:
    w = with_jumps(3, gap_weight=0.1)
    table = InstrumentTable.of([*w.table.instruments, Instrument("C")])
    n = len(table)
    market = Market(
        NOW, table, np.array([100.0, 40.0, 10.0]), 0.0, np.zeros(3), np.full(n, 1.0),
        np.full(n, 1.2), np.where(table.kind == 0, 0.0, 0.3),
    )  # fmt: skip
    book = np.zeros(n)
    book[table.index[Instrument("C")]] = 1.0
    w = replace(w, market=market, portfolio=Portfolio(table, book, 1e6))
    assert np.isnan(measured(w, *TAILS)).all()
    # A jump of the whole market that somebody set is known of any ticker.
    assert measured(w, "gap_loss") == pytest.approx([10.0 * np.expm1(-0.15)])
    w = replace(w, manager=with_jumps(3, gap_weight=0.1, history_jumps={"sigmas": 3.0}).manager)
    assert np.isnan(measured(w, *TAILS, "gap_loss")).all()


# --- methods --------------------------------------------------------------------------------------


def moves_of(config: VarConfig, history: FactorHistory = HISTORIES[0], jumps=()):
    drawn = scenario_set(history, SESSIONS, NOW, config, jumps)
    moves = np.concatenate([drawn.log_return, np.log(drawn.vol_factor)])
    return drawn, [moves[:, a:z] for a, z in zip(drawn.bounds[:3], drawn.bounds[1:], strict=False)]


@pytest.mark.parametrize("method", ["filtered_ewma", "filtered_garch"])
def test_filtered_scenarios_are_those_of_the_filter(method: str) -> None:
    parameters = {
        "mean": 0.02, "omega": 0.05, "alpha": 0.08, "gamma": 0.05, "beta": 0.85,
        "first_variance": 1.0,
    }  # fmt: skip
    config = var_of(method=method, garch={"A": parameters, "B": {**parameters, "beta": 0.8}})
    drawn, blocks = moves_of(config)
    if method == "filtered_ewma":
        by = VarianceFilter.ewma(4)
    else:
        returns = VarianceFilter.from_percent_fits([config.garch["A"], config.garch["B"]])
        by = returns.followed_by(VarianceFilter.ewma(2))
    filtered = filter_history(HISTORIES[0], NOW, by, 60)
    for block, horizon in zip(blocks, (1, 3, 5), strict=True):
        want = filtered.moves(filtered.windows(horizon, config.window), "updated")
        assert block == pytest.approx(want, rel=1e-12, abs=1e-14)
        assert block.shape[1] == 120
    assert drawn.weights.size == 0


def test_a_garch_filter_without_parameters_is_refused_where_the_layer_is_built() -> None:
    with pytest.raises(ConfigError, match="garch: got none for A, B"):
        managed(world(1), var_of(method="filtered_garch"))


def test_bootstrapped_paths_are_the_same_at_every_call_and_differ_by_horizon() -> None:
    config = var_of(method="bootstrap", bootstrap={"paths": 300, "seed": 5})
    (_, one), (_, two) = moves_of(config), moves_of(config)
    assert [block.shape for block in one] == [(4, 300)] * 3
    assert [b.tobytes() for b in one] == [b.tobytes() for b in two]
    other, _ = moves_of(var_of(method="bootstrap", bootstrap={"paths": 300, "seed": 6}))
    assert other.log_return.tobytes() != moves_of(config)[0].log_return.tobytes()
    recent = np.concatenate([HISTORIES[0].log_return, HISTORIES[0].log_vol_change], axis=1)[-120:]
    assert np.isin(one[0][0], recent[:, 0]).all()


def test_uniforms_are_those_of_splitmix64() -> None:
    """Of seed 1234567: the values that implementations of it are commonly checked by."""
    assert SeededUniforms(1234567).words(5).tolist() == [
        6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431,
        16408922859458223821,
    ]  # fmt: skip
    source = SeededUniforms(3)
    parts = np.concatenate([source.random((1, 2, 5)).ravel(), source.random((2, 5, 1)).ravel()])
    assert parts.tobytes() == SeededUniforms(3).random((2, 2, 5)).ravel().tobytes()
    many = SeededUniforms(8).random((1, 1, 200_000)).ravel()
    assert abs(many.mean() - 0.5) < 0.003
    assert 0.0 <= many.min() < many.max() < 1.0


@pytest.mark.parametrize("method", ["historical", "filtered_ewma", "bootstrap"])
def test_too_little_history_and_gaps_in_it_are_unknown_and_never_zero(method: str) -> None:
    full = HISTORIES[0]
    config = var_of(method=method)
    late = FactorHistory(
        full.underlyings, full.times[-90:], full.log_return[-90:], full.log_vol_change[-90:]
    )
    assert np.isnan(measured(managed(world(0), config, history=late), *TAILS)).all()
    gaps = full.log_return.copy()
    gaps[::2, 1] = np.nan
    holed = FactorHistory(full.underlyings, full.times, gaps, full.log_vol_change)
    assert np.isnan(measured(managed(world(0), config, history=holed), *TAILS)).all()
    one = full.log_return.copy()
    one[-10, 1] = np.nan
    w = managed(
        world(0), config, history=FactorHistory(full.underlyings, full.times, one,
                                                full.log_vol_change))  # fmt: skip
    assert (np.array(measured(w, *TAILS)) < 0.0).all()


def test_nothing_dated_after_now_is_looked_at() -> None:
    full = HISTORIES[0]
    longer = FactorHistory(
        full.underlyings, np.append(full.times, SESSIONS.closes[300:310]),
        np.concatenate([full.log_return, np.full((10, 2), 9.0)]),
        np.concatenate([full.log_vol_change, np.full((10, 2), np.nan)]),
    )  # fmt: skip
    for changes in ({}, {"method": "filtered_ewma"}, {"method": "bootstrap"},
                    {"history_jumps": {"sigmas": 3.0}}, {"decay_half_life": 20.0}):  # fmt: skip
        now, then = moves_of(var_of(**changes))[0], moves_of(var_of(**changes), longer)[0]
        assert now.log_return.tobytes() == then.log_return.tobytes()
        assert now.weights.tobytes() == then.weights.tobytes()


# --- jumps ----------------------------------------------------------------------------------------


def test_jumps_of_history_join_those_of_events_in_the_gap_and_in_its_loss() -> None:
    full, config = HISTORIES[0], var_of(history_jumps={"sigmas": 3.0})
    moves = history_jumps(full.log_return, full.log_vol_change, HistoryJumps(sigmas=3.0))
    far = np.abs(full.log_return) > 3.0 * np.sqrt((full.log_return**2).mean(axis=0))
    assert moves.shape[1] == far.any(axis=1).sum() > 0
    drawn, _ = moves_of(config, jumps=[GapJump((), -0.5, 0.1)])
    gap = slice(*drawn.bounds[3:5])
    assert drawn.log_return[:, gap][:, 1:].tobytes() == moves[:2].tobytes()
    w = managed(world(2), config)
    pnl = w.portfolio.quantity @ pnl_matrix(w.market, w.manager._cache.scenarios(NOW))
    assert measured(w, "gap_loss")[0] == pytest.approx(min(0.0, pnl[gap.start - 0 :].min()))
    assert measured(managed(world(2), VAR), "gap_loss") == [0.0]


def test_overnight_jumps_are_those_of_the_night() -> None:
    full, rule = HISTORIES[0], {"of": "overnight", "sigmas": 3.0}
    nights = 0.1 * full.log_return
    nights[40] = -0.3
    known = replace(full, overnight=nights)
    drawn, _ = moves_of(var_of(history_jumps=rule), known)
    gap = slice(*drawn.bounds[3:5])
    far = np.abs(nights) > 3.0 * np.sqrt((nights**2).mean(axis=0))
    assert drawn.log_return[:, gap].tolist() == nights[far.any(axis=1)].T.tolist()
    assert drawn.log_return[:, gap].min() == -0.3
    with pytest.raises(ConfigError, match="has no overnight moves"):
        managed(world(2), var_of(history_jumps=rule))
    with pytest.raises(ValueError, match="overnight: got shape"):
        replace(full, overnight=nights[1:])


def test_a_proxy_jumps_overnight_as_well() -> None:
    full = HISTORIES[0]
    known = replace(full, overnight=0.5 * full.log_return)
    joined = with_proxies(known, {"C": Proxy(of="A", beta=2.0)})
    assert joined.overnight[:, 2].tolist() == full.log_return[:, 0].tolist()


def test_a_jump_is_unknown_of_what_has_no_move_that_day_and_of_that_alone() -> None:
    moves, rule = np.full((102, 2), 0.01), HistoryJumps(sigmas=3.0)
    moves[50] = [0.5, np.nan]
    moves[60] = [0.5, 0.0]
    vols = moves.copy()
    vols[60] = [np.nan, 0.2]
    found = history_jumps(moves, vols, rule)
    expected = [[0.5, np.nan], [np.nan, 0.0], [0.5, np.nan], [np.nan, 0.2]]
    assert np.array_equal(found, expected, equal_nan=True)
    assert history_jumps(moves[:50], vols[:50], HistoryJumps(min_days=50)).shape == (4, 0)


@pytest.mark.parametrize("days", [0, 5, 99])
def test_jumps_of_a_ticker_with_too_few_days_are_unknown_and_not_none(days: int) -> None:
    moves = np.full((200, 2), 0.01)
    moves[: 200 - days, 1] = np.nan
    found = history_jumps(moves, moves, HistoryJumps())
    assert np.array_equal(found, [[0.0], [np.nan], [0.0], [np.nan]], equal_nan=True)
    moves[7, 0] = -0.5
    found = history_jumps(moves, moves, HistoryJumps())
    assert np.array_equal(found, [[-0.5], [np.nan], [-0.5], [np.nan]], equal_nan=True)
    with pytest.raises(ConfigError, match="min_days: got 200; allowed: at most window 150"):
        load_config(HistoryJumps, {"window": 150, "min_days": 200})


def jumping(history: FactorHistory, event: str = "", **changes) -> PortfolioRiskManager:
    rule = EventRule(event_type="earnings", sessions_before=3, gap_log_return=0.2)
    events = [Event("earnings", NOW + DAY, NOW - 5 * DAY, symbol=event)] if event else []
    return PortfolioRiskManager(
        RiskLimits(caps=Caps(gap_loss=300.0)), SESSIONS, history=history, events=events,
        event_policy=EventPolicy(rules=(rule,)), var=var_of(**changes),
    )  # fmt: skip


def shares_on(manager: PortfolioRiskManager, held: dict[str, float], **bought: float):
    """(gap loss of the book, the verdict on buying) at prices of 100."""
    table = InstrumentTable.of(map(Instrument, sorted({*held, *bought})))
    n = len(table)
    market = Market(
        NOW, table, np.full(n, 100.0), 0.0, np.zeros(n), np.full(n, 99.9), np.full(n, 100.1),
        np.zeros(n),
    )  # fmt: skip
    book = Portfolio.of(table, {Instrument(t): q for t, q in held.items()}, 1e6)
    state, a = manager.assess(FRESH, book, market)
    trade = np.array([bought.get(t, 0.0) for t in table.underlyings])
    verdict = manager.decide(state, a, Proposal(np.stack([trade, 0.0 * trade])))[1].verdict
    return float(a.before[INDEX["gap_loss"]]), verdict


def test_a_jump_that_somebody_set_asks_for_no_history() -> None:
    expected = 100.0 * 2.0 * np.expm1(-0.2)
    for event, loss in (("Z", expected), ("A", 0.0)):
        gap, verdict = shares_on(jumping(HISTORIES[0], event), {"Z": 2.0}, Z=1.0)
        assert gap == pytest.approx(loss)
        assert verdict is Verdict.ALLOW
        _, verdict = shares_on(jumping(HISTORIES[0], event), {"Z": 2.0}, Z=100.0)
        assert verdict is (Verdict.BLOCK if event == "Z" else Verdict.ALLOW)


def test_jumps_of_what_is_held_do_not_vanish_with_the_gaps_of_what_is_not() -> None:
    full = HISTORIES[0]
    moves, vols = full.log_return[:, :1].copy(), full.log_vol_change[:, :1]
    moves[[40, 70]] = [[-0.25], [-0.2]]
    known = FactorHistory(("A",), full.times, moves, vols)
    young = np.where(np.arange(len(moves)) < 60, np.nan, 0.01)[:, None]
    rule = {"history_jumps": {"sigmas": 3.0, "min_days": 40}, "gap_weight": 0.05}
    alone = shares_on(jumping(known, **rule), {"A": 10.0}, A=100.0)
    assert alone == (pytest.approx(-1000.0 * -np.expm1(-0.25)), Verdict.BLOCK)
    for other in (young, np.full_like(young, np.nan)):
        both = FactorHistory(
            ("A", "N"), full.times, np.hstack([moves, other]), np.hstack([vols, other])
        )
        assert shares_on(jumping(both, **rule), {"A": 10.0}, A=100.0)[0] == alone[0]
        gap, verdict = shares_on(jumping(both, **rule), {"N": 1.0}, N=1.0)
        assert np.isnan(gap)
        assert verdict is not Verdict.ALLOW
    for broken in ((moves[-5:], vols[-5:]), (moves, np.where(moves < -0.2, np.nan, vols))):
        days = len(broken[0])
        gap, verdict = shares_on(
            jumping(FactorHistory(("A",), full.times[-days:], *broken), **rule), {"A": 1.0}, A=1.0
        )
        assert np.isnan(gap)
        assert verdict is not Verdict.ALLOW


def test_a_horizon_without_scenarios_is_reported_as_unknown_beside_its_jumps() -> None:
    w, full = with_jumps(3, gap_weight=0.1), HISTORIES[0]
    short = FactorHistory(
        full.underlyings, full.times[:5], full.log_return[:5], full.log_vol_change[:5]
    )
    w = managed(w, w.manager.var, history=short, events=(NEXT_DAY,), policy=JUMPS)
    a = w.assess()[1]
    told = w.manager.var_report(a).to_dict()
    assert told["var_1d"] is None
    assert told["status"] == "unknown"
    assert a.before[INDEX["gap_loss"]] < 0.0


# --- what is old, missing or still ----------------------------------------------------------------


def test_a_history_that_ended_long_ago_says_nothing() -> None:
    full = HISTORIES[0]
    today = int(np.searchsorted(full.times, NOW)) + 1
    for behind, known in ((0, True), (11, True), (12, False)):  # of 12, 11 closed before now
        cut = today - behind
        history = FactorHistory(
            full.underlyings, full.times[:cut], full.log_return[:cut], full.log_vol_change[:cut]
        )
        sizes = np.diff(moves_of(var_of(max_history_age=10), history)[0].bounds)[:3]
        assert (sizes > 0).all() == known
        assert (sizes == 0).all() == (not known)


def test_a_session_without_a_row_is_a_gap_like_a_row_of_nan() -> None:
    full = HISTORIES[0]
    moves = full.log_return.copy()
    hole = np.searchsorted(full.times, NOW) - np.arange(10, 15)
    moves[hole] = np.nan
    gaps = replace(full, log_return=moves)
    kept = np.delete(np.arange(len(moves)), hole)
    holes = FactorHistory(
        full.underlyings, full.times[kept], full.log_return[kept], full.log_vol_change[kept]
    )
    w = world(2)
    for of in (measured(managed(w, VAR, history=h), *TAILS) for h in (gaps, holes)):
        assert of == measured(managed(w, VAR, history=gaps), *TAILS)
    assert measured(managed(w, VAR, history=full), *TAILS) != measured(
        managed(w, VAR, history=holes), *TAILS
    )
    assert full.on(SESSIONS) is full


def test_quotes_that_stand_still_are_no_calm_market() -> None:
    full = HISTORIES[0]
    moves = full.log_return.copy()
    today = int(np.searchsorted(full.times, NOW)) + 1
    moves[today - 80 : today, 0] = 0.0
    still = replace(full, log_return=moves)
    sizes = np.diff(moves_of(var_of(method="filtered_ewma"), still)[0].bounds)[:3]
    assert sizes.tolist() == [0, 0, 0]
    assert (np.diff(moves_of(var_of(method="filtered_ewma"))[0].bounds)[:3] > 0).all()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"window": 200}, "min_scenarios: got 250; allowed: at most the window, 200"),
        ({"decay_half_life": 1.0}, r"decay_half_life: got 1.0, which is worth 3 scenarios"),
        ({"decay_half_life": 16.0}, r"allowed: half of one in a tail of 0.01"),
    ],
)
def test_a_configuration_of_too_few_scenarios_is_refused(values, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_config(VarConfig, values)
    # What Boudoukh, Richardson and Whitelaw weigh by, 0.97 a session, is not.
    assert load_config(VarConfig, {"decay_half_life": np.log(0.5) / np.log(0.97)})


@settings(FAST, max_examples=50)
@given(st.floats(0.05, 1.0), st.floats(0.005, 0.3), st.floats(0.005, 0.1), st.floats(0.02, 1.0))
def test_the_implied_jump_is_the_one_that_was_put_in(sigma, jump, first, more) -> None:
    vol = [(sigma**2 + jump**2 / t) ** 0.5 for t in (first, first + more)]
    assert implied_jump(vol[0], first, vol[1], first + more) == pytest.approx(jump, rel=1e-6)


@pytest.mark.parametrize(
    "given_value", [(0.0, 0.1, 0.2, 0.2), (0.3, 0.2, 0.2, 0.1), (0.3, 0.0, 0.2, 0.1),
                    (0.3, 0.1, float("nan"), 0.2)],
)  # fmt: skip
def test_an_implied_jump_of_nonsense_is_refused(given_value) -> None:
    with pytest.raises(ValueError, match="got"):
        implied_jump(*given_value)


# --- proxies --------------------------------------------------------------------------------------


def test_an_underlying_without_a_history_moves_with_its_proxy() -> None:
    full = HISTORIES[0]
    config = var_of(proxies={"NEW": {"of": "A", "beta": 2.0}})
    table = InstrumentTable.of([Instrument("A"), Instrument("NEW")])
    market = Market(
        NOW, table, np.array([100.0, 100.0]), 0.0, np.zeros(2), np.full(2, 99.0),
        np.full(2, 101.0), np.zeros(2),
    )  # fmt: skip
    book = np.array([0.0, 10.0])
    for var, known in ((config, True), (VAR, False)):
        manager = PortfolioRiskManager(
            RiskLimits(caps=Caps(var_1d=1e9)), SESSIONS, history=full, var=var
        )
        _, a = manager.assess(FRESH, Portfolio(table, book, 0.0), market)
        value = a.before[INDEX["var_1d"]]
        trade = np.array([[0.0, 0.0], [0.0, 1.0]])
        assert manager.mask(a, Proposal(trade)).tolist() == [True, known]
        if not known:
            assert np.isnan(value)
            continue
        # As the layer has it: 1,000 invested, twice the moves of A's last 120 days.
        want, _ = historical_var(1000.0 * np.expm1(2.0 * full.log_return[-120:, 0]), 0.03)
        assert value == pytest.approx(want, rel=1e-9)


def test_a_proxy_fills_only_what_is_missing() -> None:
    full = HISTORIES[0]
    late = full.log_return.copy()
    late[:200, 1] = np.nan
    young = FactorHistory(full.underlyings, full.times, late, full.log_vol_change)
    filled = with_proxies(young, {"B": Proxy(of="A", beta=0.5)})
    assert filled.log_return[200:].tobytes() == full.log_return[200:].tobytes()
    assert (filled.log_return[:200, 1] == 0.5 * full.log_return[:200, 0]).all()
    assert (filled.log_vol_change[:200, 1] == full.log_vol_change[:200, 0]).all()
    assert with_proxies(full, {}) is full


@pytest.mark.parametrize(
    "proxies", [{"C": {"of": "D", "beta": 1.0}}, {"C": {"of": "A", "beta": 1.0},
                "A": {"of": "B", "beta": 1.0}}],
)  # fmt: skip
def test_a_proxy_that_has_no_history_is_refused(proxies) -> None:
    with pytest.raises(ConfigError, match="a ticker with a history and no proxy of its own"):
        managed(world(1), var_of(proxies=proxies))


def test_all_of_it_is_in_the_digest() -> None:
    changes = [
        {}, {"method": "bootstrap"}, {"gap_weight": 0.01}, {"decay_half_life": 50.0},
        {"vol_shocks": "sticky_moneyness"}, {"stress": EVERY}, {"history_jumps": {}},
        {"history_jumps": {"sigmas": 3.0}},
        {"proxies": {"C": {"of": "A", "beta": 1.0}}},
    ]  # fmt: skip
    digests = {managed(world(1), var_of(**change)).manager.config_digest for change in changes}
    assert len(digests) == len(changes)


def test_a_market_of_other_tickers_is_stressed_all_the_same() -> None:
    """The row of any other ticker: stress is known of it, history is not."""
    w = managed(world(2), var_of(stress=GRID))
    drawn = w.manager._cache.scenarios(NOW)
    table = InstrumentTable.of([Instrument("Z"), Instrument("Z", "P", 90.0, NOW + 30 * DAY, 100.0),
                                Instrument("Z", "C", 90.0, NOW + 30 * DAY, 100.0,
                                           exercise="american")])  # fmt: skip
    market = Market(
        NOW, table, np.array([100.0]), 0.02, np.array([0.04]), np.full(3, 1.0), np.full(3, 99.0),
        np.array([0.0, 0.3, 0.3]),
    )  # fmt: skip
    P = pnl_matrix(market, drawn)
    first = drawn.bounds[4]
    assert np.isnan(P[:, :first]).all()
    assert np.isfinite(P[:, first:]).all()
    assert P[0, first:].min() == pytest.approx(-16.0)
    assert market_of(w.table, 2).now == NOW
