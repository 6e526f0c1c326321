"""Stress grids as published: SPAN's sixteen scenarios, the +-16 % grid, and named crises.

A grid is a set of scenario columns: a joint move of every underlying's spot and volatility, the
sessions that pass meanwhile, and the fraction of its P&L that counts. Spot moves are relative to
spot and are given as log moves; volatility moves multiply each contract's own implied volatility.

What these grids are not: every underlying moves the same way in a scenario, and by one factor at
all strikes and expiries. SPAN scans each underlying on its own and adds the losses up before it
grants credits between them: for that, take `worst_stress` of each underlying's P&L and add.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from riskenv.compilation import jit
from riskenv.config import Config
from riskenv.pricing.elementary import log

FloatArray = NDArray[np.float64]


class SpanConfig(Config):
    """Parameters of SPAN's sixteen scenarios; each clearing house sets its own by product.

    The scenarios and their order: CME Group, "Risk Arrays" (confluence/display/pubspan on its site)
    and "Components of SPAN". An extreme move of 2 ranges of which 35 % counts is NSE Clearing's
    table and McMillan's example (Options as a Strategic Investment, 4th ed. 2002, chapter 34);
    3 ranges and 33 % are in use too. Either way a linear position loses less in it than at the
    end of the range: 0.7 and 0.99 of that.

    Attributes:
        price_range: the price scan range as a share of spot, such as 120 points of 2,790 = 0.043.
        vol_range: the volatility scan range as a share of implied volatility, such as 0.35.
        extreme_multiple: an extreme move, in price scan ranges.
        extreme_fraction: share of an extreme scenario's P&L that counts.
        sessions: that pass meanwhile; SPAN looks one trading day ahead.
    """

    price_range: float = Field(gt=0.0, lt=1.0)
    vol_range: float = Field(ge=0.0, lt=1.0)
    extreme_multiple: float = Field(default=2.0, ge=1.0, le=10.0)
    extreme_fraction: float = Field(default=0.35, gt=0.0, le=1.0)
    sessions: int = Field(default=1, ge=0, le=5)


class ExtendedMove(Config):
    """A move far outside the range of a grid, of whose P&L a fraction counts.

    Attributes:
        spot_move: share of spot, above -1.
        fraction: share of the P&L that counts.
    """

    spot_move: float = Field(gt=-1.0, le=10.0)
    fraction: float = Field(gt=0.0, le=1.0)


class GridConfig(Config):
    """A price range in even steps, each with volatility up, unchanged and down.

    The defaults are the shape that portfolio margin at Deribit has (support article "Portfolio
    Margin": +-16 % in nine points, three volatilities, extended moves on volatility up alone of
    whose P&L a fraction counts; its API's example has +50 % and -25 %). Its volatility moves
    depend on the days to expiry, these do not. The fractions here are `price_range` over the
    size of the move: a linear position loses in every extended move what it loses at the edge.

    Attributes:
        price_range: the largest move of spot, as a share of it.
        steps: on each side of no move.
        vol_up, vol_down: share by which implied volatility rises, or falls.
        extended: the moves beyond.
        sessions: that pass meanwhile.
    """

    price_range: float = Field(default=0.16, gt=0.0, lt=1.0)
    steps: int = Field(default=4, ge=1, le=20)
    vol_up: float = Field(default=0.50, ge=0.0, le=5.0)
    vol_down: float = Field(default=0.25, ge=0.0, lt=1.0)
    extended: tuple[ExtendedMove, ...] = tuple(
        ExtendedMove(spot_move=move, fraction=fraction)
        for move, fraction in (
            (-0.66, 0.16 / 0.66),
            (-0.33, 0.16 / 0.33),
            (0.5, 0.32),
            (1.0, 0.16),
            (2.0, 0.08),
            (3.0, 0.16 / 3.0),
            (4.0, 0.04),
            (5.0, 0.032),
        )
    )
    sessions: int = Field(default=0, ge=0, le=5)


@dataclass(frozen=True, slots=True)
class Crisis:
    """What the S&P 500 and its implied volatility did over some sessions.

    Attributes:
        name: first word the date, or the last of several.
        sessions: from the first level to the last; 0 is within the day.
        spot: index level before and after.
        vol: volatility index before and after, percent.
        source: where the levels are from.
    """

    name: str
    sessions: int
    spot: tuple[float, float]
    vol: tuple[float, float]
    source: str


_CLOSES = "closes of the S&P 500 (S&P Dow Jones Indices) and VIX (Cboe)"
_VXO = "closes of the S&P 500 (S&P Dow Jones Indices) and VXO (Cboe); VIX begins in 1990"

# Each crisis by its largest one-day fall on a close, and by its largest fall over five sessions
# that ends on that day or within the five sessions after it (2008-10 and 2020-03: in that month).
# 1987: VXO is published here from 15 October on, so that the longer move is one of two sessions.
CRISES = (
    Crisis("1987-10-19 1d", 1, (282.70, 224.84), (36.37, 150.19), _VXO),
    Crisis("1987-10-19 2d", 2, (298.08, 224.84), (27.86, 150.19), _VXO),
    Crisis("2008-10-15 1d", 1, (998.01, 907.84), (55.13, 69.25), _CLOSES),
    Crisis("2008-10-09 5d", 5, (1114.28, 909.92), (45.26, 63.92), _CLOSES),
    Crisis(
        "2010-05-06 low", 0, (1165.87, 1065.79), (24.91, 40.71),
        "the close before to the day's low of the S&P 500 and the day's high of VIX",
    ),
    Crisis("2010-05-06 1d", 1, (1165.87, 1128.15), (24.91, 32.80), _CLOSES),
    Crisis("2010-05-06 5d", 5, (1206.78, 1128.15), (18.44, 32.80), _CLOSES),
    Crisis("2015-08-24 1d", 1, (1970.89, 1893.21), (28.03, 40.74), _CLOSES),
    Crisis("2015-08-25 5d", 5, (2096.92, 1867.61), (13.79, 36.02), _CLOSES),
    Crisis("2018-02-05 1d", 1, (2762.13, 2648.94), (17.31, 37.32), _CLOSES),
    Crisis("2018-02-08 5d", 5, (2821.98, 2581.00), (13.47, 33.46), _CLOSES),
    Crisis("2020-03-16 1d", 1, (2711.02, 2386.13), (57.83, 82.69), _CLOSES),
    Crisis("2020-03-12 5d", 5, (3023.94, 2480.64), (39.62, 75.47), _CLOSES),
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class StressGrid:
    """K stress scenarios for U underlyings.

    Attributes:
        names: (K,) what each is called in a report.
        underlyings: the U tickers.
        log_return, log_vol_change: (U, K) log moves of spot and of implied volatility.
        fraction: (K,) share of the scenario's P&L that counts, above 0 and at most 1.
        sessions: (K,) sessions that pass meanwhile; 0 = at once.
    """

    names: tuple[str, ...]
    underlyings: tuple[str, ...]
    log_return: FloatArray
    log_vol_change: FloatArray
    fraction: FloatArray
    sessions: NDArray[np.int64]

    def followed_by(self, other: StressGrid) -> StressGrid:
        """The scenarios of this grid, then those of another for the same underlyings.

        Raises:
            ValueError: other underlyings.
        """
        if self.underlyings != other.underlyings:
            raise ValueError(f"underlyings: got {other.underlyings}; allowed: {self.underlyings}")
        return StressGrid(
            self.names + other.names,
            self.underlyings,
            np.concatenate([self.log_return, other.log_return], axis=1),
            np.concatenate([self.log_vol_change, other.log_vol_change], axis=1),
            np.concatenate([self.fraction, other.fraction]),
            np.concatenate([self.sessions, other.sessions]),
        )


@jit
def _logs(x, out):  # type: ignore[no-untyped-def]
    for k in range(x.size):
        out[k] = log(x[k])


@jit
def _worst(pnl, fraction):  # type: ignore[no-untyped-def]
    worst, at = 0.0, -1
    for k in range(pnl.size):
        counted = fraction[k] * pnl[k]
        if counted != counted:
            return np.nan, -1
        if counted < worst:
            worst, at = counted, k
    return worst, at


def worst_stress(pnl: FloatArray, fraction: FloatArray) -> tuple[float, int]:
    """(loss that counts, its scenario): the smallest of fraction times P&L, or 0 and -1.

    SPAN writes losses as positive numbers; here, as everywhere in the layer, they are negative.

    Args:
        pnl: (K,) currency; fraction: (K,) of the grid it was computed for.

    Returns:
        NaN and -1 if any P&L is NaN, or there is none.

    Raises:
        ValueError: shapes that differ.

    Example:
        >>> worst_stress(np.array([-100.0, 40.0, -200.0]), np.array([1.0, 1.0, 0.35]))
        (-100.0, 0)
    """
    pnl = np.ascontiguousarray(pnl, dtype=np.float64)
    fraction = np.ascontiguousarray(fraction, dtype=np.float64)
    if pnl.ndim != 1 or pnl.shape != fraction.shape:
        raise ValueError(
            f"pnl, fraction: got shapes {pnl.shape}, {fraction.shape}; allowed: two equal (K,)"
        )
    if not len(pnl):
        return np.nan, -1
    loss, at = _worst(pnl, fraction)
    return float(loss), int(at)


# Price move in thirds of the range, volatility move in ranges; the order in which SPAN's risk
# arrays are always written. The last two are the extreme ones.
_SPAN_THIRDS = (
    (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1), (2, 1), (2, -1), (-2, 1), (-2, -1),
    (3, 1), (3, -1), (-3, 1), (-3, -1),
)  # fmt: skip


def span_grid(configs: Mapping[str, SpanConfig]) -> StressGrid:
    """SPAN's sixteen scenarios, in SPAN's order.

    Spot at 0, +-1/3, +-2/3 and +-3/3 of the price scan range, each with volatility up and down
    by the volatility scan range; then an extreme move up and one down, volatility unchanged, of
    whose P&L a fraction counts.

    Args:
        configs: parameters of each ticker; the tickers of one grid share the fraction and the
            sessions, which belong to the scenario.

    Raises:
        ValueError: no ticker, fractions or sessions that differ, or an extreme move to 0 or below.

    Example:
        >>> grid = span_grid({"SPX": SpanConfig(price_range=0.06, vol_range=0.35)})
        >>> grid.names[12], np.exp(grid.log_return[0, 12]).round(4)
        ('span 13: spot -3/3, vol up', np.float64(0.94))
        >>> grid.names[15], grid.fraction[15], np.exp(grid.log_return[0, 15]).round(4)
        ('span 16: extreme down', np.float64(0.35), np.float64(0.88))
    """
    if not configs:
        raise ValueError("configs: got none; allowed: at least one ticker")
    tickers = tuple(sorted(configs))
    first = configs[tickers[0]]
    spots, vols = [], []
    for ticker in tickers:
        config = configs[ticker]
        if (config.extreme_fraction, config.sessions) != (first.extreme_fraction, first.sessions):
            raise ValueError(
                f"{ticker}: got extreme_fraction {config.extreme_fraction} and sessions "
                f"{config.sessions}; allowed: {first.extreme_fraction} and {first.sessions}, as "
                f"for {tickers[0]}: they belong to a scenario, not to a ticker"
            )
        extreme = config.extreme_multiple * config.price_range
        if not extreme < 1.0:
            raise ValueError(
                f"{ticker}: got an extreme_multiple of {config.extreme_multiple} and a price_range "
                f"of {config.price_range}; allowed: a product below 1, so that spot stays above 0"
            )
        spots.append([k * config.price_range / 3.0 for k, _ in _SPAN_THIRDS] + [extreme, -extreme])
        vols.append([k * config.vol_range for _, k in _SPAN_THIRDS] + [0.0, 0.0])
    names = [
        f"span {row}: spot {f'{thirds:+d}/3' if thirds else '0'}, vol {'up' if up > 0 else 'down'}"
        for row, (thirds, up) in enumerate(_SPAN_THIRDS, start=1)
    ]
    names += ["span 15: extreme up", "span 16: extreme down"]
    fraction = np.ones(16)
    fraction[14:] = first.extreme_fraction
    return _grid(names, tickers, spots, vols, fraction, np.full(16, first.sessions))


def price_vol_grid(underlyings: tuple[str, ...], config: GridConfig | None = None) -> StressGrid:
    """Every spot move of an even grid with volatility up, unchanged and down; then the extended.

    Args:
        underlyings: the U tickers; all move by the same share.

    Example:
        >>> grid = price_vol_grid(("A",))
        >>> len(grid.names), grid.names[0], grid.names[-1]
        (35, 'spot -16%, vol up', 'spot +500%, vol up')
    """
    config = GridConfig() if config is None else config
    directions = (("up", config.vol_up), ("same", 0.0), ("down", -config.vol_down))
    rows = [
        (step * config.price_range / config.steps, vol, direction, 1.0)
        for step in range(-config.steps, config.steps + 1)
        for direction, vol in directions
    ]
    rows += [(far.spot_move, config.vol_up, "up", far.fraction) for far in config.extended]
    names = [f"spot {_percent(spot)}, vol {direction}" for spot, _, direction, _ in rows]
    spots = [[row[0] for row in rows]] * len(underlyings)
    vols = [[row[1] for row in rows]] * len(underlyings)
    fraction = np.array([row[3] for row in rows])
    return _grid(names, underlyings, spots, vols, fraction, np.full(len(rows), config.sessions))


def crisis_grid(
    underlyings: tuple[str, ...],
    beta: Mapping[str, float] | None = None,
    crises: tuple[Crisis, ...] = CRISES,
) -> StressGrid:
    """Named crises, replayed as moves of today's spot and volatility.

    Args:
        underlyings: the U tickers.
        beta: factor on the S&P 500's log move for each ticker; None is 1 for all. Volatility moves
            as the index's did, for every ticker: a stock's own rises less, from a higher level.

    Raises:
        ValueError: a beta that is missing or not finite. (Unknown is not 1.)

    Example:
        >>> grid = crisis_grid(("SPX",))
        >>> move, vol = grid.log_return[0, 0], grid.log_vol_change[0, 0]
        >>> grid.names[0], np.expm1(move).round(4), np.exp(vol).round(2)
        ('1987-10-19 1d', np.float64(-0.2047), np.float64(4.13))
    """
    if beta is None:
        beta = dict.fromkeys(underlyings, 1.0)
    for ticker in underlyings:
        if not abs(beta.get(ticker, np.nan)) < np.inf:
            raise ValueError(f"beta: got {beta.get(ticker)} for {ticker}; allowed: finite numbers")
    spots = [[c.spot[1] / c.spot[0] - 1.0 for c in crises]] * len(underlyings)
    vols = [[c.vol[1] / c.vol[0] - 1.0 for c in crises]] * len(underlyings)
    sessions = np.array([crisis.sessions for crisis in crises], dtype=np.int64)
    names = [crisis.name for crisis in crises]
    grid = _grid(names, underlyings, spots, vols, np.ones(len(crises)), sessions)
    grid.log_return[:] *= np.array([[beta[ticker]] for ticker in underlyings])
    return grid


def _grid(
    names: list[str],
    underlyings: tuple[str, ...],
    spots: list[list[float]],
    vols: list[list[float]],
    fraction: FloatArray,
    sessions: NDArray[np.int64],
) -> StressGrid:
    """A grid from relative moves: each (U, K), shares of spot and of implied volatility."""
    shape = (len(underlyings), len(names))
    moves = np.empty((2, *shape))
    for moved, relative in zip(moves, (spots, vols), strict=True):
        flat = np.empty(moved.size)
        _logs(1.0 + np.array(relative, dtype=np.float64).ravel(), flat)
        moved[:] = flat.reshape(shape)
    return StressGrid(
        tuple(names), underlyings, moves[0], moves[1], fraction, sessions.astype(np.int64)
    )


def _percent(share: float) -> str:
    """A share as signed percent, such as -16% or +2.5%."""
    rounded = round(100.0 * share, 6)
    return f"{rounded:+g}%" if rounded else "0%"
