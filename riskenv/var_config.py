"""How scenarios are drawn, and which loss in them is the VaR."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from riskenv.bootstrap import BootstrapConfig
from riskenv.config import Config
from riskenv.filtered_history import FilterConfig
from riskenv.gap_scenarios import HistoryJumps
from riskenv.proxies import Proxy
from riskenv.stress_scenarios import StressConfig


class GarchParameters(Config):
    """A GARCH(1,1), or with gamma that of Glosten, Jagannathan and Runkle, on percent log returns.

    Those of `riskenv.data.garch.GarchFit`, as plain numbers. Fitted on days after those that VaR is
    computed for, they look ahead.

    Attributes:
        mean: a session, percent; omega, alpha, gamma, beta: of the variance
            (`riskenv.filtered_history`), percent squared; first_variance: of the first move.
    """

    mean: float = Field(allow_inf_nan=False)
    omega: float = Field(ge=0.0, allow_inf_nan=False)
    alpha: float = Field(ge=0.0, allow_inf_nan=False)
    gamma: float = Field(default=0.0, allow_inf_nan=False)
    beta: float = Field(ge=0.0, allow_inf_nan=False)
    first_variance: float = Field(gt=0.0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _variance_stays_above_zero(self) -> GarchParameters:
        if not self.alpha + self.gamma >= 0.0:
            raise ValueError(f"gamma: got {self.gamma}; allowed: at least -alpha ({-self.alpha})")
        return self


class VarConfig(Config):
    """How VaR is computed.

    Attributes:
        method: where the moves of 1, 3 and 5 sessions come from: overlapping windows of history as
            they were; those windows with each day's shock put back at today's volatility, filtered
            by an exponentially weighted average or by `garch`; or paths of a stationary bootstrap.
        window: sessions of history that scenarios are drawn from.
        min_scenarios: fewer usable scenarios than this make VaR Unknown; a tail of 1 % needs 100
            to hold a single observation. Of a bootstrap, days of history.
        max_history_age: sessions that may have closed since the last day of the history; beyond
            it VaR is Unknown. A filter at "today's" volatility deserves a lower one.
        tail_probability: p, literal.
        vol_shocks: "relative": a scenario multiplies each contract's own implied volatility;
            "sticky_moneyness": it multiplies the one that the smile of the contract's expiry has
            at the moneyness after the move of spot (`riskenv.smiles`).
        revaluation: how scenarios are priced. "full": every option by its model in every scenario,
            which takes an American one some twenty times as long; "mixed": that, with the exercise
            boundary of American options interpolated where that is close enough; "fast": European
            ones in single precision besides (`riskenv.scenario_grid`). A report says how far the
            P&L of a book can be from "full".
        decay_half_life: sessions after which a window of history weighs half; None = all alike. So
            long that the tail still holds half a scenario: (1 + d) / (1 - d), for a factor d a
            session, is how many equal ones the weights are worth (Kish), of which p is the tail.
        filter, garch, bootstrap: parameters of the methods. Of GARCH every ticker of the history
            needs its own; volatilities are filtered by the average.
        gap_weight: probability that a horizon holds one of the jumps (of events due, and of
            `history_jumps`), each as likely. Then VaR and ES are the worse of those of the moves
            alone and of moves and jumps together.
        history_jumps: which days of history are jumps; None = none.
        stress: the grids that the worst stress is taken over.
        proxies: ticker -> what moves it where it has no history.

    Example:
        >>> VarConfig(method="filtered_ewma", gap_weight=0.02).window
        500
    """

    method: Literal["historical", "filtered_ewma", "filtered_garch", "bootstrap"] = "historical"
    window: int = Field(default=500, ge=100, le=5000)
    min_scenarios: int = Field(default=250, ge=100)
    max_history_age: int = Field(default=63, ge=0)
    tail_probability: float = Field(default=0.01, gt=0.0, lt=0.5)
    vol_shocks: Literal["relative", "sticky_moneyness"] = "relative"
    revaluation: Literal["full", "mixed", "fast"] = "mixed"
    decay_half_life: float | None = Field(default=None, ge=1.0, le=1e6)
    filter: FilterConfig = FilterConfig()
    garch: dict[str, GarchParameters] = {}
    bootstrap: BootstrapConfig = BootstrapConfig()
    gap_weight: float = Field(default=0.0, ge=0.0, lt=1.0)
    history_jumps: HistoryJumps | None = None
    stress: StressConfig = StressConfig()
    proxies: dict[str, Proxy] = {}

    @model_validator(mode="after")
    def _paths_have_no_age(self) -> VarConfig:
        if self.method == "bootstrap" and self.decay_half_life is not None:
            raise ValueError(
                f"decay_half_life: got {self.decay_half_life}; allowed: None where paths are "
                "drawn, which have no age"
            )
        return self

    @model_validator(mode="after")
    def _enough_to_draw_from(self) -> VarConfig:
        if self.min_scenarios > self.window:
            raise ValueError(
                f"min_scenarios: got {self.min_scenarios}; allowed: at most the window, "
                f"{self.window}, or VaR is never known"
            )
        if self.decay_half_life is not None:
            decay = 0.5 ** (1.0 / self.decay_half_life)
            worth = (1.0 + decay) / (1.0 - decay)
            if not worth * self.tail_probability >= 0.5:
                raise ValueError(
                    f"decay_half_life: got {self.decay_half_life}, which is worth {worth:.0f} "
                    f"scenarios; allowed: half of one in a tail of {self.tail_probability}"
                )
        return self

    def __hash__(self) -> int:
        # By what it says: pydantic's own hash stops at the mappings.
        return hash(self.model_dump_json())
