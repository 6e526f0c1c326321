"""The market model in one place: every parameter, its unit, what is allowed, where it is from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from riskenv.config import Config

SHIPPED_MARKET = Path(__file__).with_name("market.yaml")

_Rate = Annotated[float, Field(ge=-0.05, le=0.25)]


class MarketConfig(Config):
    """How option markets are built over the bundled closes; `market.yaml` says why each value.

    Attributes:
        rate: continuous risk-free rate per year, the same for every day and maturity.
        dividend_yield: ticker -> continuous yield per year.
        first_tradable_year: the market opens with this year's first session; the years before
            are burn-in for the first fit.
        future_years: whole years of calendar beyond the last close, for expiries and horizons.
        volatility_model: "gjr" (Glosten, Jagannathan and Runkle 1993) or "garch" (Bollerslev 1986).
        innovations: "skewt" (Hansen 1994) or "t" (standardised Student-t).
        forecast_sessions: sessions the variance forecast is averaged over; 21 is about 30
            calendar days.
        refit_blend_sessions: sessions over which a January's new parameters are phased in.
        variance_premium: implied variance = (1 + this) * forecast variance.
        vix_to_atm: at-the-money 30-day volatility of SPX = this * VIX / 100.
        mean_reversion: speed, per year, at which variance returns to its long-run level.
        short_variance_floor: instantaneous variance is at least this fraction of the 30-day one.
        skew_slope: relative change of volatility per unit of standardised log-moneyness, at the
            money; negative: low strikes are dearer.
        skew_curvature: relative change per squared unit.
        skew_wing: standardised log-moneyness at which the smile has flattened.

    Example:
        >>> MarketConfig().vix_to_atm < 1.0
        True
        >>> from riskenv.config import load_config
        >>> load_config(MarketConfig, {"skew_wing": 40.0})
        Traceback (most recent call last):
            ...
        riskenv.config.ConfigError: MarketConfig is not valid:
          skew_wing: got 40.0; input should be less than or equal to 6
    """

    rate: _Rate = 0.02
    dividend_yield: dict[str, _Rate] = Field(default_factory=lambda: {"IXIC": 0.008, "SPX": 0.018})
    first_tradable_year: int = Field(default=2001, ge=2001, le=2018)
    future_years: int = Field(default=3, ge=2, le=5)
    volatility_model: Literal["gjr", "garch"] = "gjr"
    innovations: Literal["skewt", "t"] = "skewt"
    forecast_sessions: int = Field(default=21, ge=1, le=252)
    refit_blend_sessions: int = Field(default=63, ge=0, le=126)
    variance_premium: float = Field(default=0.035, ge=-0.5, le=2.0)
    vix_to_atm: float = Field(default=0.925, gt=0.5, le=1.2)
    mean_reversion: float = Field(default=4.0, gt=0.0, le=20.0)
    short_variance_floor: float = Field(default=0.5, gt=0.0, le=1.0)
    skew_slope: float = Field(default=-0.18, ge=-0.3, le=0.3)
    skew_curvature: float = Field(default=0.03, ge=0.0, le=0.1)
    skew_wing: float = Field(default=3.0, ge=0.5, le=6.0)

    @model_validator(mode="after")
    def _smile_stays_positive(self) -> Self:
        # The smile is a parabola in a variable that stays inside (-wing, wing).
        lowest = 1.0 - abs(self.skew_slope) * self.skew_wing
        if self.skew_curvature > 0.0:
            vertex = min(abs(self.skew_slope) / (2.0 * self.skew_curvature), self.skew_wing)
            lowest = 1.0 - abs(self.skew_slope) * vertex + self.skew_curvature * vertex**2
        if not lowest >= 0.2:
            raise ValueError(
                f"skew_slope, skew_curvature, skew_wing: the lowest point of the smile is "
                f"{lowest:.3f} times the at-the-money volatility; allowed: at least 0.2"
            )
        return self
