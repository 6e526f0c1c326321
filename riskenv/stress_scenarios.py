"""Which stress grids a book's worst stress is taken over, and their moves for its underlyings."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from riskenv.config import Config
from riskenv.stress import (
    GridConfig,
    SpanConfig,
    StressGrid,
    crisis_grid,
    price_vol_grid,
    span_grid,
)

# In the mappings of `StressConfig`: each ticker that is not named.
EACH = "*"


class StressConfig(Config):
    """The stress grids in use: none by default, and then there is no worst stress.

    A scenario counts at each horizon that is at least as long as the sessions that it takes, with
    the time decay of the horizon; one that takes none comes at once, before any time has passed, at
    each of them. What is told of no ticker is not known of it: its positions are
    Unknown under stress, and not free of it.

    Attributes:
        span: ticker -> parameters of SPAN's sixteen scenarios; "*" for each other ticker.
        grid: an even grid of price and volatility moves, with extended ones, for every ticker.
        crises: whether named crises are replayed (`riskenv.stress.CRISES`).
        crisis_beta: ticker -> factor on the index's log move in a crisis; "*" for each other.

    Example:
        >>> StressConfig().horizons
        (False, False, False)
        >>> StressConfig(grid=GridConfig(sessions=2)).horizons   # of 1, 3 and 5 sessions
        (False, True, True)
    """

    span: dict[str, SpanConfig] = {}
    grid: GridConfig | None = None
    crises: bool = False
    crisis_beta: dict[str, float] = Field(default={EACH: 1.0})

    @model_validator(mode="after")
    def _grids_can_be_made(self) -> StressConfig:
        if self.span:
            span_grid(self.span)
        if self.crises:
            crisis_grid(tuple(self.crisis_beta), self.crisis_beta)
        return self

    @property
    def named(self) -> tuple[str, ...]:
        """Tickers that have parameters of their own, sorted."""
        betas = self.crisis_beta if self.crises else {}
        return tuple(sorted({*self.span, *betas} - {EACH}))

    @property
    def horizons(self) -> tuple[bool, bool, bool]:
        """Whether there is a stress scenario at horizons of 1, 3 and 5 sessions."""
        grid = stress_grid(self, ())
        one, three, five = (
            grid is not None and bool((grid.sessions <= horizon).any()) for horizon in (1, 3, 5)
        )
        return one, three, five


def stress_grid(config: StressConfig, underlyings: tuple[str, ...]) -> StressGrid | None:
    """The configured grids, one after the other, for these tickers and for each other one ("*").

    Returns:
        Moves of U + 1 rows, NaN where the configuration says nothing of a ticker; None if no grid
        is configured.

    Example:
        >>> config = StressConfig(span={"SPX": SpanConfig(price_range=0.06, vol_range=0.35)})
        >>> grid = stress_grid(config, ("NDX", "SPX"))
        >>> grid.underlyings, np.exp(grid.log_return[:, 12]).round(2).tolist()
        (('NDX', 'SPX', '*'), [nan, 0.94, nan])
    """
    rows = (*underlyings, EACH)
    grids = []
    if config.span:
        known = {t: config.span.get(t, config.span.get(EACH)) for t in rows}
        given = {t: span for t, span in known.items() if span is not None}
        # Of none of these tickers anything is said: the scenarios are there all the same.
        grids.append(_spread(span_grid(given or config.span), rows))
    if config.grid is not None:
        grids.append(price_vol_grid(rows, config.grid))
    if config.crises:
        beta = {t: config.crisis_beta.get(t, config.crisis_beta.get(EACH, np.nan)) for t in rows}
        given_beta = {t: b for t, b in beta.items() if b == b}
        grids.append(_spread(crisis_grid(tuple(given_beta), given_beta), rows))
    if not grids:
        return None
    joined = grids[0]
    for grid in grids[1:]:
        joined = joined.followed_by(grid)
    return joined


def _spread(grid: StressGrid, rows: tuple[str, ...]) -> StressGrid:
    """The grid with a row for each ticker, NaN where it has none."""

    def of(moves: NDArray[np.float64]) -> NDArray[np.float64]:
        out = np.full((len(rows), moves.shape[1]), np.nan)
        for u, ticker in enumerate(rows):
            if ticker in grid.underlyings:
                out[u] = moves[grid.underlyings.index(ticker)]
        return out

    return StressGrid(
        grid.names, rows, of(grid.log_return), of(grid.log_vol_change), grid.fraction,
        grid.sessions,
    )  # fmt: skip
