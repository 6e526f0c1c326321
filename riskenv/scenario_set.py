"""The scenarios of an instant: moves over each horizon, then the jumps, then the stress grids.

Moves are dated jointly, spot and volatility of every underlying together, so that their
correlation is kept; a day on which one of them is NaN is no scenario of any. They come from
overlapping windows of history, from those windows at today's volatility, or from bootstrapped
paths (`VarConfig.method`). Nothing dated after the instant is looked at.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from riskenv.bootstrap import SeededUniforms, bootstrap_moves
from riskenv.compilation import jit
from riskenv.config import ConfigError
from riskenv.factor_history import FactorHistory
from riskenv.filtered_history import VarianceFilter, age_weights, filter_history
from riskenv.gap_scenarios import HistoryJumps, history_jumps, jump_returns
from riskenv.instruments import NS_PER_YEAR
from riskenv.measures import HORIZONS
from riskenv.pricing.elementary import exp
from riskenv.scenarios import GapJump, ScenarioSet
from riskenv.sessions import CalendarRangeError, Sessions
from riskenv.stress_scenarios import stress_grid
from riskenv.tails import BookTails
from riskenv.var_calculator import tail_count
from riskenv.var_config import VarConfig

FloatArray = NDArray[np.float64]

_LN_HALF = -0.6931471805599453


@jit
def _sum_windows(moves, ends, sessions, out):  # type: ignore[no-untyped-def]
    """out[u, k] = sum of the `sessions` rows of moves[:, u] that end at ends[k], in order."""
    for k in range(ends.size):
        for u in range(moves.shape[1]):
            total = 0.0
            for row in range(ends[k] - sessions + 1, ends[k] + 1):
                total += moves[row, u]
            out[u, k] = total


@jit
def _exp_all(x, out):  # type: ignore[no-untyped-def]
    for u in range(x.shape[0]):
        for s in range(x.shape[1]):
            out[u, s] = exp(x[u, s])


def scenario_set(
    history: FactorHistory | None,
    sessions: Sessions,
    now: int,
    config: VarConfig,
    jumps: Sequence[GapJump] = (),
    past_jumps: FloatArray | None = None,
    lacking: tuple[str, ...] = (),
) -> ScenarioSet:
    """The scenarios as of `now`.

    A horizon with fewer than `config.min_scenarios` usable windows, or one that ends beyond the
    calendar, gets an empty block, which makes its VaR Unknown; so do all of them where the history
    ends more than `config.max_history_age` sessions before.

    Args:
        history: with its proxies; None = no moves, and no jumps: the stress grids alone.
        jumps: those of the events due, in order; past_jumps: (2U, J) more of them, log spot and
            then log vol moves of every ticker. Jumps of history follow them.
        lacking: tickers that the history lacks, which count among the U: all that is known of
            their moves are these jumps.
    """
    tickers = lacking if history is None else (*history.underlyings, *lacking)
    elapsed = [_elapsed_years(sessions, now, horizon) for horizon in HORIZONS]
    blocks: list[FloatArray] = []
    weights: list[FloatArray] = []
    if history is not None:
        draw = _Draw(history, now, config)
        stale = draw.age(sessions) > config.max_history_age
        for horizon, years in zip(HORIZONS, elapsed, strict=True):
            block, age = draw.moves(horizon)
            if stale or years is None or block.shape[1] < config.min_scenarios:
                block, age = block[:, :0], age[:0]
            blocks.append(unknown_beyond(block, lacking))
            if config.decay_half_life is not None:
                weights.append(age_weights(age, exp(_LN_HALF / config.decay_half_life)))
        gaps = [_jump_block(tickers, jumps)]
        if past_jumps is not None:
            gaps.append(past_jumps)
        if config.history_jumps is not None:
            gaps.append(unknown_beyond(draw.jumps(config.history_jumps), lacking))
        blocks.append(np.concatenate(gaps, axis=1))
    else:
        blocks = [np.empty((2 * len(tickers), 0))] * (len(HORIZONS) + 1)
    moves = np.concatenate(blocks, axis=1)
    sizes = [block.shape[1] for block in blocks]
    passing = [*(years or 0.0 for years in elapsed), 0.0]
    spot, vol = moves[: len(tickers)], moves[len(tickers) :]
    fraction, names = None, ()
    named = tuple(ticker for ticker in config.stress.named if ticker not in tickers)
    grid = stress_grid(config.stress, (*tickers, *named))
    if grid is not None:
        # Nothing is known of the tickers that stress alone names, up to its scenarios.
        unknown = np.full((len(named) + 1, moves.shape[1]), np.nan)
        # Of each horizon first what happens at once, while no time passes.
        at_once, taken = np.flatnonzero(grid.sessions == 0), []
        for horizon, years in zip(HORIZONS, elapsed, strict=True):
            later = np.flatnonzero((grid.sessions > 0) & (grid.sessions <= horizon))
            taken += [part if years is not None else part[:0] for part in (at_once, later)]
            passing += [0.0, years or 0.0]
        at = np.concatenate(taken)
        spot = np.concatenate([np.concatenate([spot, unknown]), grid.log_return[:, at]], axis=1)
        vol = np.concatenate([np.concatenate([vol, unknown]), grid.log_vol_change[:, at]], axis=1)
        fraction = np.concatenate([np.ones(moves.shape[1]), grid.fraction[at]])
        names = tuple(grid.names[k] for k in at)
        sizes += [len(columns) for columns in taken]
    log_return, log_vol = np.ascontiguousarray(spot), np.ascontiguousarray(vol)
    spot_factor, vol_factor = np.empty_like(log_return), np.empty_like(log_vol)
    _exp_all(log_return, spot_factor)
    _exp_all(log_vol, vol_factor)
    return ScenarioSet(
        (*tickers, *named), log_return, spot_factor, vol_factor,
        np.cumsum([0, *sizes]).astype(np.int64), np.array(passing), fraction, names,
        np.concatenate(weights) if weights else np.empty(0),
        config.vol_shocks == "sticky_moneyness",
    )  # fmt: skip


class _Draw:
    """Where the moves of an instant's horizons are taken from."""

    def __init__(self, history: FactorHistory, now: int, config: VarConfig) -> None:
        self._history, self._now, self._config = history, now, config
        self._days = int(np.searchsorted(history.times, now, side="right"))
        self.known = np.concatenate(
            [history.log_return[: self._days], history.log_vol_change[: self._days]], axis=1
        )
        self._filtered = None
        if config.method in ("filtered_ewma", "filtered_garch"):
            variance_filter = variance_filter_of(config, history.underlyings)
            self._filtered = filter_history(history, now, variance_filter, config.filter.warm_up)

    def age(self, sessions: Sessions) -> int:
        """Sessions that closed after the last day known, and before now."""
        if not self._days:
            return 0  # nothing to be old
        return sessions.closes_between(int(self._history.times[self._days - 1]), self._now)

    def jumps(self, rule: HistoryJumps) -> FloatArray:
        """(2U, J) log spot and then log vol moves of history that are jumps by the rule."""
        returns = jump_returns(self._history, rule)[: self._days]
        return history_jumps(returns, self._history.log_vol_change[: self._days], rule)

    def moves(self, horizon: int) -> tuple[FloatArray, NDArray[np.int64]]:
        """(2U, K) log spot and then log vol moves over a horizon, and (K,) their ages, sessions."""
        config = self._config
        if config.method == "bootstrap":
            # A stream for each horizon: none depends on whether another could be drawn.
            source = SeededUniforms((config.bootstrap.seed + (horizon << 40)) % (1 << 63))
            block = bootstrap_moves(
                self._history, self._now, horizon, config.bootstrap, source, config.window,
                config.min_scenarios,
            )  # fmt: skip
            return block, np.zeros(block.shape[1], dtype=np.int64)
        if self._filtered is not None:
            rows = self._filtered.windows(horizon, config.window)
            block = self._filtered.moves(rows, config.filter.variance_path)
            return block, self._days - 1 - rows[:, -1]
        usable_row = np.isfinite(self.known).all(axis=1)
        first = max(horizon - 1, self._days - config.window)
        last = np.arange(first, self._days, dtype=np.int64)
        usable = np.ones(len(last), dtype=bool)
        for back in range(horizon):
            usable &= usable_row[last - back]
        ends = last[usable]
        block = np.empty((self.known.shape[1], len(ends)))
        _sum_windows(self.known, ends, horizon, block)
        return block, self._days - 1 - ends


def refuse_missing_factors(config: VarConfig, history: FactorHistory) -> None:
    """Refuse a configuration that asks for what the history does not hold.

    Raises:
        ConfigError: GARCH parameters or overnight moves are missing.
    """
    variance_filter_of(config, history.underlyings)
    if config.history_jumps is not None:
        jump_returns(history, config.history_jumps)


def variance_filter_of(config: VarConfig, underlyings: tuple[str, ...]) -> VarianceFilter:
    """The filter of the returns of these tickers, then of their volatilities.

    Raises:
        ConfigError: a ticker has no GARCH parameters, where the method wants them.

    Example:
        >>> variance_filter_of(VarConfig(method="filtered_ewma"), ("A",)).beta.tolist()
        [0.94, 0.94]
    """
    decay = config.filter.ewma_decay
    if config.method != "filtered_garch":
        return VarianceFilter.ewma(2 * len(underlyings), decay)
    missing = [ticker for ticker in underlyings if ticker not in config.garch]
    if missing:
        raise ConfigError(
            f"garch: got none for {', '.join(missing)}; allowed: parameters of every ticker of "
            "the history, where the method is 'filtered_garch'"
        )
    returns = VarianceFilter.from_percent_fits([config.garch[t] for t in underlyings])
    return returns.followed_by(VarianceFilter.ewma(len(underlyings), decay))


def _elapsed_years(sessions: Sessions, now: int, horizon: int) -> float | None:
    """Calendar time to the same clock position `horizon` sessions on; None beyond the calendar."""
    try:
        start, end = sessions.close_after(now, 0), sessions.close_after(now, horizon)
    except CalendarRangeError:
        return None
    return (end - start) / NS_PER_YEAR


def _jump_block(underlyings: tuple[str, ...], jumps: Sequence[GapJump]) -> FloatArray:
    block = np.zeros((2 * len(underlyings), len(jumps)))
    for column, jump in enumerate(jumps):
        for u, ticker in enumerate(underlyings):
            if not jump.symbols or ticker in jump.symbols:
                block[u, column] = jump.log_return
                block[len(underlyings) + u, column] = jump.log_vol_change
    return block


def unknown_beyond(moves: FloatArray, lacking: tuple[str, ...]) -> FloatArray:
    """Moves of the tickers of a history, and NaN of those that it lacks."""
    if not lacking:
        return moves
    own, unknown = len(moves) // 2, np.full((len(lacking), moves.shape[1]), np.nan)
    return np.concatenate([moves[:own], unknown, moves[own:], unknown])


def book_tails(scenarios: ScenarioSet | None, config: VarConfig, history: bool = True) -> BookTails:
    """Where the measures of a book lie among the scenarios, and what each scenario weighs.

    Args:
        history: whether moves and jumps could be drawn at all.
    """
    horizons = len(HORIZONS)
    p, gap_weight = config.tail_probability, config.gap_weight
    if scenarios is None:
        blocks = np.zeros(horizons + 2, dtype=np.int64)
        return BookTails(
            blocks, np.ones(horizons, np.int64), p, np.zeros(horizons + 1, np.int64), np.empty(0),
            np.empty(0), False,
        )  # fmt: skip
    bounds = scenarios.bounds
    blocks = bounds[: horizons + 2].copy()
    sizes = np.diff(blocks)
    counts = np.array([tail_count(int(size), p) for size in sizes[:horizons]], dtype=np.int64)
    stress = np.full(horizons + 1, blocks[-1])
    if len(bounds) > horizons + 2:
        stress = bounds[horizons + 1 :: 2].copy()  # of each horizon at once, then later
    jumps = int(sizes[horizons])
    mixed: list[FloatArray] = []
    if gap_weight > 0.0 and jumps:
        for h, size in enumerate(sizes[:horizons].tolist()):
            alone = np.full(size, 1.0 / max(size, 1))
            if scenarios.weights.size:
                alone = scenarios.weights[blocks[h] : blocks[h + 1]]
            mixed += [(1.0 - gap_weight) * alone, np.full(jumps, gap_weight / jumps)]
    return BookTails(
        blocks, counts, p, stress, scenarios.weights,
        np.concatenate(mixed) if mixed else np.empty(0), history,
    )  # fmt: skip
