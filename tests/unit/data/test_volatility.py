"""Implied volatilities use nothing later than their day, and resemble the real VIX."""

from __future__ import annotations

import csv
import datetime
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from riskenv.data import (
    MarketConfig,
    PriceHistory,
    VolatilityHistory,
    implied_volatilities,
    load_price_history,
    session_dates,
)

CONFIG = MarketConfig()


@pytest.fixture(scope="module")
def prices() -> PriceHistory:
    return load_price_history()


@pytest.fixture(scope="module")
def whole(prices: PriceHistory) -> VolatilityHistory:
    return implied_volatilities(prices, CONFIG)


def row_of(prices: PriceHistory, date: str) -> int:
    return int(np.searchsorted(session_dates(prices.sessions), np.datetime64(date)))


@pytest.mark.parametrize(
    "date", ["2001-01-02", "2005-02-01", "2008-10-10", "2014-01-03", "2018-02-05"]
)
def test_a_truncated_history_gives_the_same_bits(
    prices: PriceHistory, whole: VolatilityHistory, date: str
) -> None:
    days = row_of(prices, date) + 1
    short = implied_volatilities(prices.first(days), CONFIG)
    for name in ("vol_30d", "long_run_vol", "from_vix"):
        assert getattr(short, name).tobytes() == getattr(whole, name)[:days].tobytes()
    assert short.first_tradable == whole.first_tradable


def test_a_close_moves_the_volatility_of_its_own_day(
    prices: PriceHistory, whole: VolatilityHistory
) -> None:
    # Without this, the test above would pass on volatilities that ignore prices.
    day = row_of(prices, "2008-10-10")
    close = prices.close.copy()
    close[day:] *= 0.9
    moved = implied_volatilities(replace(prices, close=close), CONFIG).vol_30d
    assert moved[:day].tobytes() == whole.vol_30d[:day].tobytes()
    assert (moved[day] > 1.05 * whole.vol_30d[day]).all()


def test_trading_opens_with_2001_after_two_years_of_burn_in(
    prices: PriceHistory, whole: VolatilityHistory
) -> None:
    assert str(session_dates(prices.sessions)[whole.first_tradable]) == "2001-01-02"


def test_no_refit_moves_the_volatility_by_itself(
    prices: PriceHistory, whole: VolatilityHistory
) -> None:
    # On the first session of 2005 both indices fell by about 1 %: volatility cannot collapse.
    day = row_of(prices, "2005-01-03")
    move = np.log(whole.vol_30d[day] / whole.vol_30d[day - 1])
    assert (np.abs(move) < 0.1).all()


def test_vix_counts_only_on_the_days_it_is_known(prices: PriceHistory) -> None:
    vix = prices.vix.copy()
    gap = row_of(prices, "2016-06-24")
    vix[gap] = np.nan
    with_gap = implied_volatilities(replace(prices, vix=vix), CONFIG)
    model = implied_volatilities(replace(prices, vix=np.full_like(vix, np.nan)), CONFIG)
    np.testing.assert_array_equal(with_gap.vol_30d[gap], model.vol_30d[gap])
    expected = CONFIG.vix_to_atm * vix[gap + 1] / 100
    assert with_gap.vol_30d[gap + 1, 1] == pytest.approx(expected, rel=1e-12)
    # IXIC keeps the ratio of the two models.
    ratio = with_gap.vol_30d[:, 0] / with_gap.vol_30d[:, 1]
    np.testing.assert_allclose(ratio, model.vol_30d[:, 0] / model.vol_30d[:, 1], rtol=1e-12)


def test_volatilities_are_known_and_plausible_on_every_session(whole: VolatilityHistory) -> None:
    assert ((whole.vol_30d > 0.05) & (whole.vol_30d < 1.0)).all()
    assert ((whole.long_run_vol > 0.1) & (whole.long_run_vol < 0.6)).all()
    median = np.median(whole.vol_30d, axis=0)
    assert median[0] > median[1]


def test_a_history_without_spx_or_without_burn_in_is_refused(prices: PriceHistory) -> None:
    ixic = PriceHistory(("IXIC",), prices.sessions, prices.close[:, :1], prices.vix)
    with pytest.raises(ValueError, match="with 'SPX'"):
        implied_volatilities(ixic, CONFIG)
    with pytest.raises(ValueError, match="begins before 2001"):
        implied_volatilities(prices.first(400), CONFIG)


# years, then the bounds that the model must keep: correlation of levels and of daily log changes
# with VIX, and mean model volatility over mean vix_to_atm * VIX. The premium was set on
# 2001-2006; 2007-2013 is out of sample.
@pytest.mark.parametrize(
    ("first", "last", "levels", "changes", "ratio"),
    [
        (2001, 2006, 0.92, 0.60, (0.97, 1.03)),
        (2007, 2013, 0.92, 0.60, (0.93, 1.07)),
        (2001, 2013, 0.92, 0.60, (0.95, 1.05)),
    ],
)
def test_the_model_follows_the_real_vix(
    prices: PriceHistory,
    whole: VolatilityHistory,
    shared_data: Path,
    first: int,
    last: int,
    levels: float,
    changes: float,
    ratio: tuple[float, float],
) -> None:
    with (shared_data / "prices" / "vix_close_1993_2019.csv").open() as file:
        real = {
            datetime.datetime.strptime(row["Date"], "%m/%d/%Y").date(): float(row["Close"])
            for row in csv.DictReader(file)
        }
    # The bundled VIX starts in 2014: over these years the volatility is the model's alone.
    dates = session_dates(prices.sessions).astype(datetime.date)
    rows = [row for row, date in enumerate(dates) if first <= date.year <= last]
    assert not whole.from_vix[rows].any()
    model = whole.vol_30d[rows, prices.underlyings.index("SPX")]
    target = CONFIG.vix_to_atm * np.array([real[dates[row]] for row in rows]) / 100
    level = np.corrcoef(model, target)[0, 1]
    change = np.corrcoef(np.diff(np.log(model)), np.diff(np.log(target)))[0, 1]
    mean = model.mean() / target.mean()
    print(
        f"{first}-{last}: correlation {level:.3f}, of changes {change:.3f}, mean ratio {mean:.3f}"
    )
    assert level > levels
    assert change > changes
    assert ratio[0] < mean < ratio[1]
