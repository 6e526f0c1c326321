"""Stress grids against SPAN as published, and crises against the closes of their days."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from riskenv import ConfigError, load_config
from riskenv.stress import (
    CRISES,
    Crisis,
    ExtendedMove,
    GridConfig,
    SpanConfig,
    crisis_grid,
    price_vol_grid,
    span_grid,
    worst_stress,
)

SPX = SpanConfig(price_range=0.05, vol_range=0.3)

# NSE Clearing's table of the sixteen scenarios: price move in price scan ranges, volatility move
# in volatility scan ranges, share of the loss that counts.
PUBLISHED = [
    (0, 1, 1), (0, -1, 1), (1 / 3, 1, 1), (1 / 3, -1, 1), (-1 / 3, 1, 1), (-1 / 3, -1, 1),
    (2 / 3, 1, 1), (2 / 3, -1, 1), (-2 / 3, 1, 1), (-2 / 3, -1, 1), (1, 1, 1), (1, -1, 1),
    (-1, 1, 1), (-1, -1, 1), (2, 0, 0.35), (-2, 0, 0.35),
]  # fmt: skip


@pytest.mark.parametrize("config", [SPX, SpanConfig(price_range=0.2, vol_range=0.1)])
def test_spans_sixteen_scenarios_are_the_published_ones(config: SpanConfig) -> None:
    grid = span_grid({"A": config})
    spot, vol, fraction = np.array(PUBLISHED).T
    assert np.exp(grid.log_return[0]) == pytest.approx(1 + spot * config.price_range, rel=1e-14)
    assert np.exp(grid.log_vol_change[0]) == pytest.approx(1 + vol * config.vol_range, rel=1e-14)
    assert grid.fraction.tolist() == fraction.tolist()
    assert grid.sessions.tolist() == [1] * 16
    assert len(set(grid.names)) == 16


@pytest.mark.parametrize(("multiple", "fraction"), [(2.0, 0.35), (3.0, 0.33)])
def test_both_published_extremes(multiple: float, fraction: float) -> None:
    config = SPX.model_copy(update={"extreme_multiple": multiple, "extreme_fraction": fraction})
    grid = span_grid({"A": config})
    assert np.exp(grid.log_return[0, 14:]) == pytest.approx(
        [1 + multiple * 0.05, 1 - multiple * 0.05]
    )
    assert grid.fraction[14:].tolist() == [fraction] * 2
    share = 100.0 * (np.exp(grid.log_return[0]) - 1.0)
    assert worst_stress(share, grid.fraction) == (pytest.approx(-5.0), 12)


# McMillan, Options as a Strategic Investment, 4th ed. (2002), chapter 34, pages 668-670: S&P 500
# futures of 500 dollars a point, a range of 20 points or 10,000 dollars, an extreme move that
# counts as 7,000; the risk array of a long December 410 call; a covered write that asks 6,620.
FUTURE = [
    0, 0, 3330, 3330, -3330, -3330, 6670, 6670, -6670, -6670, 10000, 10000, -10000, -10000,
    7000, -7000,
]  # fmt: skip
CALL = [
    460, -610, 2640, 1730, -1270, -2340, 5210, 4540, -2540, -3430, 8060, 7640, -3380, -3990,
    3130, -1500,
]  # fmt: skip
COVERED_WRITE = [
    -460, 610, 690, 1600, -2060, -990, 1460, 2130, -4130, -3240, 1940, 2360, -6620, -6010,
    3870, -5500,
]  # fmt: skip


@pytest.mark.parametrize("index_level", [390.0, 410.0, 475.0])
def test_mcmillans_risk_array_of_a_future(index_level: float) -> None:
    """The range is 20 points wherever the index is: what the array needs is no price."""
    grid = span_grid({"ES": SpanConfig(price_range=20.0 / index_level, vol_range=0.3)})
    pnl = 500.0 * index_level * (np.exp(grid.log_return[0]) - 1.0)
    # The book rounds a third of 10,000 to 3,330 and two thirds to 6,670.
    assert grid.fraction * pnl == pytest.approx(FUTURE, abs=3.4)
    assert worst_stress(pnl, grid.fraction) == (pytest.approx(-10_000.0), 12)
    assert worst_stress(-pnl, grid.fraction) == (pytest.approx(-10_000.0), 10)


@pytest.mark.parametrize(
    ("array", "requirement", "scenario"),
    [
        (np.array(CALL), 3990, 14),  # "futures down three-thirds; volatility down"
        (np.array(FUTURE) - CALL, 6620, 13),
        (np.array(FUTURE), 10_000, 13),
        (-np.array(CALL), 8060, 11),
    ],
)
def test_mcmillans_requirements(array: np.ndarray, requirement: float, scenario: int) -> None:
    """His arrays count the extreme moves' share already."""
    assert worst_stress(array, np.ones(16)) == (-requirement, scenario - 1)
    names = span_grid({"A": SPX}).names
    assert names[scenario - 1].startswith(f"span {scenario}: ")


def test_the_covered_write_is_the_future_less_the_call() -> None:
    assert (np.array(FUTURE) - CALL).tolist() == COVERED_WRITE


def test_each_ticker_has_its_own_ranges_and_shares_the_scenario() -> None:
    grid = span_grid({"B": SpanConfig(price_range=0.2, vol_range=0.6), "A": SPX})
    assert grid.underlyings == ("A", "B")
    assert np.exp(grid.log_return[:, 10]) == pytest.approx([1.05, 1.2])
    assert np.exp(grid.log_vol_change[:, 11]) == pytest.approx([0.7, 0.4])


@pytest.mark.parametrize(
    ("configs", "named"),
    [
        ({}, "configs"),
        ({"A": SPX, "B": SPX.model_copy(update={"extreme_fraction": 0.33})}, "extreme_fraction"),
        ({"A": SPX, "B": SPX.model_copy(update={"sessions": 0})}, "sessions"),
        ({"A": SpanConfig(price_range=0.5, vol_range=0.3)}, "extreme_multiple"),
    ],
)
def test_a_span_grid_that_cannot_be_is_refused(configs, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        span_grid(configs)


@pytest.mark.parametrize(
    ("model", "given"),
    [
        (SpanConfig, {"vol_range": 0.3}),
        (SpanConfig, {"price_range": 0.0, "vol_range": 0.3}),
        (SpanConfig, {"price_range": 6.0, "vol_range": 0.3}),
        (SpanConfig, {"price_range": 0.06, "vol_range": 1.0}),
        (SpanConfig, {"price_range": 0.06, "vol_range": 0.3, "extreme_fraction": 35.0}),
        (GridConfig, {"vol_down": 1.0}),
        (GridConfig, {"steps": 0}),
        (GridConfig, {"extended": [{"spot_move": -1.0, "fraction": 0.2}]}),
        (GridConfig, {"extended": [{"spot_move": -0.5}]}),
    ],
)
def test_parameters_outside_what_can_be_are_refused(model, given) -> None:
    with pytest.raises(ConfigError):
        load_config(model, given)


def test_nine_points_three_volatilities_and_the_extended_moves() -> None:
    grid = price_vol_grid(("A", "B"))
    spot, vol = np.exp(grid.log_return[1]) - 1.0, np.exp(grid.log_vol_change[1])
    points = np.repeat(np.arange(-4, 5) * 0.04, 3)
    assert spot[:27] == pytest.approx(points, abs=1e-14)
    assert vol[:27] == pytest.approx([1.5, 1.0, 0.75] * 9, rel=1e-14)
    assert spot[27:] == pytest.approx([-0.66, -0.33, 0.5, 1, 2, 3, 4, 5], rel=1e-13)
    assert (vol[27:] == vol[0]).all()
    assert (grid.fraction[:27] == 1.0).all()
    # A linear position loses in every extended move what it loses at the edge of the range.
    assert grid.fraction[27:] * np.abs(spot[27:]) == pytest.approx(0.16, rel=1e-13)
    assert (grid.log_return[0] == grid.log_return[1]).all()
    assert len(set(grid.names)) == 35
    assert grid.names[12:15] == ("spot 0%, vol up", "spot 0%, vol same", "spot 0%, vol down")


def test_a_grid_of_other_parameters() -> None:
    far = ExtendedMove(spot_move=-0.5, fraction=0.1)
    config = GridConfig(price_range=0.1, steps=2, vol_up=0.3, vol_down=0.1, extended=(far,))
    grid = price_vol_grid(("A",), config)
    assert np.exp(grid.log_return[0]) - 1.0 == pytest.approx(
        np.append(np.repeat([-0.1, -0.05, 0.0, 0.05, 0.1], 3), -0.5)
    )
    assert (grid.names[3], grid.names[-1]) == ("spot -5%, vol up", "spot -50%, vol up")
    assert grid.fraction[-1] == 0.1


def test_the_worst_stress_counts_the_fraction_and_lets_no_nan_pass() -> None:
    pnl, fraction = np.array([-100.0, 40.0, -200.0]), np.array([1.0, 1.0, 0.6])
    assert worst_stress(pnl, fraction) == (-120.0, 2)
    assert worst_stress(np.abs(pnl), fraction) == (0.0, -1)
    assert worst_stress(np.full(3, -5.0), np.ones(3)) == (-5.0, 0)
    for at in range(3):
        unknown = pnl.copy()
        unknown[at] = np.nan
        loss, scenario = worst_stress(unknown, fraction)
        assert np.isnan(loss)
        assert scenario == -1
    assert np.isnan(worst_stress(np.zeros(0), np.zeros(0))[0])
    with pytest.raises(ValueError, match="fraction"):
        worst_stress(pnl, np.ones(2))


# --- named crises ---------------------------------------------------------------------------------


def named(name: str) -> Crisis:
    return next(crisis for crisis in CRISES if crisis.name == name)


def test_crises_are_replayed_by_beta_and_in_order() -> None:
    grid = crisis_grid(("A", "B"), {"A": 1.0, "B": 1.5})
    assert grid.names == tuple(crisis.name for crisis in CRISES)
    spot = np.log([crisis.spot[1] / crisis.spot[0] for crisis in CRISES])
    vol = np.log([crisis.vol[1] / crisis.vol[0] for crisis in CRISES])
    assert grid.log_return == pytest.approx(np.array([spot, 1.5 * spot]), rel=1e-12)
    assert grid.log_vol_change == pytest.approx(np.array([vol, vol]), rel=1e-12)
    assert (grid.log_return < 0.0).all()
    assert (grid.log_vol_change > 0.0).all()
    assert (grid.fraction == 1.0).all()
    assert grid.sessions.tolist() == [crisis.sessions for crisis in CRISES]


@pytest.mark.parametrize("beta", [{}, {"A": 1.0}, {"A": 1.0, "B": np.nan}, {"A": 1, "B": np.inf}])
def test_an_unknown_beta_is_not_one(beta) -> None:
    with pytest.raises(ValueError, match="beta"):
        crisis_grid(("A", "B"), beta)


@pytest.mark.parametrize(
    ("name", "fall", "vol"),
    [
        # As reported: S&P 500 in percent, and the volatility index before and after.
        ("1987-10-19 1d", -20.47, (36.37, 150.19)),
        ("2008-10-15 1d", -9.03, (55.13, 69.25)),
        ("2010-05-06 1d", -3.24, (24.91, 32.80)),
        ("2015-08-24 1d", -3.94, (28.03, 40.74)),
        ("2018-02-05 1d", -4.10, (17.31, 37.32)),
        ("2020-03-16 1d", -11.98, (57.83, 82.69)),
        ("2020-03-12 5d", -17.97, (39.62, 75.47)),
    ],
)
def test_the_days_are_as_reported(name: str, fall: float, vol: tuple[float, float]) -> None:
    before, after = named(name).spot
    assert round(100.0 * (after / before - 1.0), 2) == fall
    assert named(name).vol == vol


@pytest.fixture(scope="module")
def closes(shared_data: Path) -> pd.DataFrame:
    """S&P 500 and VIX closes of 1993 to 2019, by date."""
    prices = shared_data / "prices"
    spot = pd.read_csv(prices / "sp500_close_1990_2019.csv", index_col=0, parse_dates=True)
    vix = pd.read_csv(prices / "vix_close_1993_2019.csv", index_col=0)
    vix.index = pd.to_datetime(vix.index, format="%m/%d/%Y")
    return pd.DataFrame({"spot": spot["SP500"], "vix": vix["Close"]}).dropna()


WITHIN = [c for c in CRISES if c.sessions and "2000" < c.name < "2019"]


@pytest.mark.parametrize("crisis", WITHIN, ids=lambda crisis: crisis.name)
def test_a_crisis_has_the_closes_of_its_days(closes: pd.DataFrame, crisis: Crisis) -> None:
    end = closes.index.get_loc(crisis.name.split()[0])
    rows = closes.iloc[[end - crisis.sessions, end]]
    assert tuple(rows["spot"].round(2)) == crisis.spot
    assert tuple(rows["vix"]) == crisis.vol


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        ("2008-10-15 1d", "2008-10-01", "2008-10-31"),
        ("2008-10-09 5d", "2008-10-01", "2008-10-31"),
        ("2010-05-06 1d", "2010-05-06", "2010-05-13"),
        ("2010-05-06 5d", "2010-05-06", "2010-05-13"),
        ("2015-08-24 1d", "2015-08-24", "2015-08-31"),
        ("2015-08-25 5d", "2015-08-24", "2015-08-31"),
        ("2018-02-05 1d", "2018-02-05", "2018-02-12"),
        ("2018-02-08 5d", "2018-02-05", "2018-02-12"),
    ],
)
def test_a_crisis_is_the_worst_move_of_its_days(closes, name: str, first: str, last: str) -> None:
    crisis = named(name)
    returns = closes["spot"].pct_change(crisis.sessions)[first:last]
    assert str(returns.idxmin().date()) == name.split()[0]
    assert returns.min() == pytest.approx(crisis.spot[1] / crisis.spot[0] - 1.0, abs=1e-5)


def test_the_flash_crash_reached_the_days_extremes(shared_data: Path, closes) -> None:
    indices = pd.read_parquet(shared_data / "prices" / "vol_indices_1990_2019.parquet")
    vix = indices[indices["index"] == "VIX"].set_index("DATE")
    vix.index = pd.to_datetime(vix.index)
    crisis = named("2010-05-06 low")
    assert crisis.vol == (vix["CLOSE"]["2010-05-05"], vix["HIGH"]["2010-05-06"])
    assert crisis.spot[0] == closes["spot"]["2010-05-05"]
    assert crisis.spot[1] < closes["spot"]["2010-05-06"]
    assert crisis.sessions == 0


def test_grids_follow_each_other() -> None:
    span, crises = span_grid({"A": SPX}), crisis_grid(("A",))
    grid = span.followed_by(crises)
    assert grid.names == span.names + crises.names
    assert grid.log_return.shape == grid.log_vol_change.shape == (1, len(grid.names))
    assert grid.log_return[0, 16] == crises.log_return[0, 0]
    assert grid.fraction[15:17].tolist() == [0.35, 1.0]
    assert grid.sessions[15:18].tolist() == [1, 1, 2]
    with pytest.raises(ValueError, match="underlyings"):
        span.followed_by(crisis_grid(("B",)))
