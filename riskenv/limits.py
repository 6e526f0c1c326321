"""Risk limits: hard caps per measure and the levels around them; degenerate ones are refused."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from riskenv.config import Config
from riskenv.measures import ACCOUNT, MEASURES, ONE_SIDED
from riskenv.quote_rules import QuoteRules

_Cap = Field(default=None, gt=0.0)


class Caps(Config):
    """Hard caps, each an absolute amount above 0; a missing one means no cap.

    delta in share-equivalents summed over tickers, dollar_delta in currency, gamma in delta per
    currency unit of spot, dollar_gamma in dollar delta per 1 % move, theta in currency of decay
    paid per calendar day (one-sided), vega in currency per vol point, rho in currency per 1 % of
    rate, vanna in delta and volga in vega per vol point, charm in delta per calendar day,
    beta_delta in units of the index (`riskenv.exposures`); var, es, gap_loss, day_loss and drawdown
    in currency of loss.
    """

    delta: float | None = _Cap
    dollar_delta: float | None = _Cap
    gamma: float | None = _Cap
    dollar_gamma: float | None = _Cap
    theta: float | None = _Cap
    vega: float | None = _Cap
    rho: float | None = _Cap
    vanna: float | None = _Cap
    volga: float | None = _Cap
    charm: float | None = _Cap
    beta_delta: float | None = _Cap
    var_1d: float | None = _Cap
    es_1d: float | None = _Cap
    var_3d: float | None = _Cap
    es_3d: float | None = _Cap
    var_5d: float | None = _Cap
    es_5d: float | None = _Cap
    gap_loss: float | None = _Cap
    day_loss: float | None = _Cap
    drawdown: float | None = _Cap


class ConfirmRule(Config):
    """How often a loss must be seen before it closes the book: one bad tick is not a crash.

    A book that is assessed once a session wants k = n = 1: a day's loss is gone the next day.

    Attributes:
        k, n: an extreme day_loss or drawdown flattens once k of the last n observations show it.
            Until then it only blocks new risk, at the first sight of it.
        seconds: of session time that observations lie apart at least.

    Example:
        >>> from riskenv.config import load_config
        >>> load_config(ConfirmRule, {"k": 4, "n": 3})
        Traceback (most recent call last):
            ...
        riskenv.config.ConfigError: ConfirmRule is not valid:
          (whole): got {'k': 4, 'n': 3}; k: got 4; allowed: at most n (3)
    """

    k: int = Field(default=2, ge=1)
    n: int = Field(default=3, ge=1)
    seconds: int = Field(default=60, ge=1)

    @model_validator(mode="after")
    def _k_within_n(self) -> ConfirmRule:
        if self.k > self.n:
            raise ValueError(f"k: got {self.k}; allowed: at most n ({self.n})")
        return self


class RiskLimits(Config):
    """Caps and the levels of the circuit breaker around them.

    Attributes:
        caps: the hard caps.
        warn: share of a cap at which the rung becomes WARN.
        extreme: share of a cap at which positions are reduced (an exposure) or everything is
            closed (day_loss, drawdown, once `confirm` is satisfied).
        release: share of a cap that a forced reduction brings the measure back to, and below
            which a rung is left; the gap to 1 is the band that keeps the breaker from flapping.
        dwell_sessions: sessions a rung is held at least.
        confirm: how an extreme loss is confirmed; exposures need no confirmation.
        operator_token_sha256: sha256 (hex) of the token that resumes a halted book; without one a
            halt is final.

    Example:
        >>> from riskenv.config import load_config
        >>> limits = load_config(RiskLimits, {"caps": {"delta": 500, "theta": 300}})
        >>> low, high = limits.bounds()
        >>> float(low[0]), float(high[0]), float(low[4]), float(high[4])
        (-500.0, 500.0, -300.0, inf)
        >>> load_config(RiskLimits, {"caps": {"delta": -1}})
        Traceback (most recent call last):
            ...
        riskenv.config.ConfigError: RiskLimits is not valid:
          caps.delta: got -1; input should be greater than 0
    """

    caps: Caps
    warn: float = Field(default=0.8, gt=0.0, lt=1.0)
    extreme: float = Field(default=1.25, gt=1.0)
    release: float = Field(default=0.9, gt=0.0, lt=1.0)
    dwell_sessions: int = Field(default=1, ge=0)
    confirm: ConfirmRule = ConfirmRule()
    operator_token_sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    quotes: QuoteRules = QuoteRules()

    @model_validator(mode="after")
    def _release_above_warn(self) -> RiskLimits:
        if not self.warn <= self.release:
            raise ValueError(
                f"release: got {self.release}; allowed: at least warn ({self.warn}), below 1"
            )
        return self

    def bounds(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(M,) lowest and (M,) highest allowed value of each measure; infinite where uncapped."""
        return self._bounds_of(MEASURES)

    def account_bounds(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The same for `riskenv.measures.ACCOUNT`."""
        return self._bounds_of(ACCOUNT)

    def _bounds_of(self, names: tuple[str, ...]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        caps = [getattr(self.caps, name) for name in names]
        low = np.array([-np.inf if cap is None else -cap for cap in caps])
        high = np.array(
            [
                np.inf if cap is None or name in ONE_SIDED else cap
                for name, cap in zip(names, caps, strict=True)
            ]
        )
        return low, high
