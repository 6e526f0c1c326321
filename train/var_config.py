"""Every parameter of the VaR study on real history, fixed on years that are not judged."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator
from riskenv.data.market_config import MarketConfig

from riskenv.canonical import digest
from riskenv.config import Config
from riskenv.filtered_history import FilterConfig
from riskenv.var_config import VarConfig

SHIPPED_STUDY = Path(__file__).parent / "configs" / "var_study.yaml"


class LegConfig(Config):
    """One leg of a book.

    Attributes:
        right: "C" or "P".
        contracts: signed, long > 0.
        moneyness: ln(strike / forward) in standard deviations to the leg's own expiry, at the
            at-the-money volatility; 0 is at the forward.
        expiry: 1 = the first monthly expiry that is far enough away, 2 = the one after it.
    """

    right: Literal["C", "P"]
    contracts: float = Field(ge=-100.0, le=100.0)
    moneyness: float = Field(ge=-3.0, le=3.0)
    expiry: int = Field(default=1, ge=1, le=3)


class BookConfig(Config):
    """A book that is opened anew, whole, at the close on which its first leg expires.

    Attributes:
        name: of the book.
        min_days: calendar days that its first expiry is away, at least.
        legs: what it holds.
    """

    name: str = Field(pattern=r"^[a-z][a-z_]*$")
    min_days: int = Field(default=25, ge=1, le=180)
    legs: tuple[LegConfig, ...] = Field(min_length=1, max_length=8)


class GapConfig(Config):
    """A jump of spot and volatility that may come with the next session, of every index at once.

    Attributes:
        log_return, log_vol_change: the move.
        probability: of it in a session.
    """

    log_return: float = Field(ge=-0.5, le=0.5)
    log_vol_change: float = Field(ge=-2.0, le=2.0)
    probability: float = Field(gt=0.0, lt=0.05)


class TailConfig(Config):
    """What the study takes of the layer's `riskenv.var_config.VarConfig`, under the same names.

    A later setting of the layer is none of the study's, so results stay filed under one digest.
    """

    window: int = Field(ge=100, le=5000)
    min_scenarios: int = Field(ge=100)
    tail_probability: float = Field(gt=0.0, lt=0.5)

    @property
    def layer(self) -> VarConfig:
        """The layer's configuration with these and its own defaults."""
        return VarConfig(**self.model_dump())


class VarStudyConfig(Config):
    """The study: books, market, forecasts and the span that is judged.

    Attributes:
        first_forecast: first day that a forecast is made on; the days before are its window.
        fixed_until: last day that was looked at when all this was fixed; a run on these years
            sees no price after it.
        judged_from, judged_to: days whose P&L is judged.
        market: of which the rate, the yields, `vix_to_atm` and the surface are used; its
            volatility model is not, volatilities come from VIX.
        ratio_decay: weight of yesterday's variance in the averages whose ratio scales VIX to an
            index that has no volatility index here.
        ratio_warm_up: first returns of which the mean square starts those averages.
        strike_step: index -> points that strikes are rounded to.
        books: the books, each of them held on every index.
        var: window and tail, as the layer's own.
        filter: of filtered historical simulation, for returns and volatility changes alike.
        gaps: scenarios added to it, with their probabilities.
        level: of each test.

    Example:
        >>> from riskenv.config import load_config
        >>> study = load_config(VarStudyConfig, SHIPPED_STUDY)
        >>> [book.name for book in study.books]
        ['short_strangle', 'calendar', 'long_put_spread']
        >>> study.judged_from.year, study.judged_to.year, len(study.digest)
        (2007, 2018, 64)
    """

    first_forecast: datetime.date
    fixed_until: datetime.date
    judged_from: datetime.date
    judged_to: datetime.date
    market: MarketConfig
    ratio_decay: float = Field(gt=0.9, lt=1.0)
    ratio_warm_up: int = Field(ge=20, le=250)
    strike_step: dict[str, float]
    books: tuple[BookConfig, ...] = Field(min_length=1)
    var: TailConfig
    filter: FilterConfig
    gaps: tuple[GapConfig, ...]
    level: float = Field(gt=0.0, lt=0.5)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.first_forecast < self.fixed_until < self.judged_from <= self.judged_to:
            raise ValueError(
                f"first_forecast, fixed_until, judged_from, judged_to: got {self.first_forecast}, "
                f"{self.fixed_until}, {self.judged_from}, {self.judged_to}; allowed: in this order"
            )
        names = [book.name for book in self.books]
        if len(set(names)) != len(names):
            raise ValueError(f"books: got the names {names}; allowed: each once")
        if not sum(gap.probability for gap in self.gaps) < 0.5:
            raise ValueError("gaps: probabilities must add up to less than 0.5")
        if any(leg.contracts == 0.0 for book in self.books for leg in book.legs):
            raise ValueError("books: a leg of 0 contracts; allowed: any other number")
        return self

    @property
    def digest(self) -> str:
        """sha256 of all of it, hex: what results are filed under."""
        return digest(self.model_dump(mode="json"))
