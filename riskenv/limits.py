"""Risk limits: hard caps per measure and the levels around them; degenerate ones are refused."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationInfo, field_validator

from riskenv.canonical import digest
from riskenv.config import Config
from riskenv.expiry_buckets import EXPIRY_BUCKETS
from riskenv.margin import MarginRule
from riskenv.measures import ACCOUNT, GAP, GROSS, MEASURES, ONE_SIDED, STRESS, TAIL
from riskenv.order_limits import OrderLimits
from riskenv.quote_rules import DEFAULT_RULES, QuoteRules

_Cap = Field(default=None, gt=0.0)


class Amounts(Config):
    """Amounts of the sums over positions, each above 0; a missing one means no cap.

    delta in share-equivalents summed over tickers, dollar_delta in currency, gamma in delta per
    currency unit of spot, dollar_gamma in dollar delta per 1 % move, theta in currency of decay
    paid per calendar day (one-sided), vega in currency per vol point, rho in currency per 1 % of
    rate, vanna in delta and volga in vega per vol point, charm in delta per calendar day,
    beta_delta in units of the index (`riskenv.exposures`). gross_delta, gross_dollar_delta and
    notional are sums of sizes, contracts counts options and futures, margin is in currency
    (`riskenv.gross_measures`).
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
    gross_delta: float | None = _Cap
    gross_dollar_delta: float | None = _Cap
    notional: float | None = _Cap
    contracts: float | None = _Cap
    margin: float | None = _Cap


# Caps that are amounts of money, and so may be a share of the equity.
_OF_EQUITY = frozenset(
    {
        "dollar_delta",
        "dollar_gamma",
        "theta",
        "vega",
        "rho",
        "volga",
        "gross_dollar_delta",
        "notional",
        "margin",
        *TAIL,
        *GAP,
        *STRESS,
        *ACCOUNT,
    }
)


def _refuse_shares_of_no_money(shares: Amounts) -> None:
    given = [name for name in type(shares).model_fields if getattr(shares, name) is not None]
    wrong = [name for name in given if name not in _OF_EQUITY]
    if wrong:
        raise ValueError(
            f"no amount of money: {', '.join(f'of_equity.{name}' for name in wrong)}; "
            f"allowed: {', '.join(sorted(_OF_EQUITY))}"
        )


class ScopeCaps(Amounts):
    """Caps within a scope, absolute and as a share of the account's equity.

    Attributes:
        of_equity: as `RiskLimits.of_equity`: a share of the whole account's equity, of measures
            that are money; where both are given the lower one holds.

    Example:
        >>> ScopeCaps(vega=500, of_equity=Amounts(notional=0.5)).of_equity.notional
        0.5
    """

    of_equity: Amounts = Amounts()

    @field_validator("of_equity")
    @classmethod
    def _shares_of_money(cls, of_equity: Amounts) -> Amounts:
        _refuse_shares_of_no_money(of_equity)
        return of_equity


class Caps(Amounts):
    """Caps on the whole book: those of `Amounts`, and losses, each in currency.

    var and es over 1, 3 and 5 sessions, gap_loss over the scheduled jumps, stress over the stress
    grids in use (`VarConfig.stress`) with 1, 3 and 5 sessions of decay, day_loss since the session
    before, drawdown from the high-water mark.
    """

    var_1d: float | None = _Cap
    es_1d: float | None = _Cap
    var_3d: float | None = _Cap
    es_3d: float | None = _Cap
    var_5d: float | None = _Cap
    es_5d: float | None = _Cap
    gap_loss: float | None = _Cap
    stress_1d: float | None = _Cap
    stress_3d: float | None = _Cap
    stress_5d: float | None = _Cap
    day_loss: float | None = _Cap
    drawdown: float | None = _Cap


# In `RiskLimits.by_underlying`: each ticker that has no caps of its own.
EACH = "*"


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
          n: got 3; allowed: at least k (4)
    """

    k: int = Field(default=2, ge=1)
    n: int = Field(default=3, ge=1)
    seconds: int = Field(default=60, ge=1)

    @field_validator("n")
    @classmethod
    def _k_within_n(cls, n: int, so_far: ValidationInfo) -> int:
        k = so_far.data.get("k", 0)  # missing where it is itself refused
        if k > n:
            raise ValueError(f"allowed: at least k ({k})")
        return n


class CorrectionRule(Config):
    """What is done in place of a request that may not pass, and what it is measured by.

    Attributes:
        method: "project" to the nearest admissible trade in whole lots; "radial" scales the
            request towards nothing, which is cheaper and further away.
        norm: how far two trades are apart: the sum over legs of weight x lots^2, a lot's weight
            being its half-spread ("spread_cost") or its notional.
        hedges: what a reduction may trade besides the positions it closes: nothing, or shares and
            futures of the underlyings.
        commission: currency a lot, added to the half-spread in the cost of a reduction.

    Example:
        >>> CorrectionRule(norm="notional").method
        'project'
    """

    method: Literal["project", "radial"] = "project"
    norm: Literal["spread_cost", "notional"] = "spread_cost"
    hedges: Literal["none", "underlyings"] = "none"
    commission: float = Field(default=0.0, ge=0.0)


class RiskLimits(Config):
    """Caps and the levels of the circuit breaker around them.

    Attributes:
        caps: the hard caps, absolute.
        of_equity: hard caps as a share of the account's equity (0.02 is 2 %), of measures that are
            money; where both are given the lower one holds. At or below an equity of 0, or where
            it is Unknown, such a cap is 0.
        by_underlying: ticker -> caps on its positions; "*" holds for each ticker without its own.
        by_expiry: bucket of `PortfolioGreeks.by_expiry` ("0-1d", "1-7d", ...) -> caps.
        by_strategy: tag -> caps on the positions of a strategy (`Portfolio.strategies`). Once it
            lists any, it lists all: another tag of a position or a trade is refused, so that a
            misspelt one is not a way past its caps. A strategy without caps is `tag: {}`.
        margin: what the margin measure asks per contract.
        warn: share of a cap at which the rung becomes WARN.
        extreme: share of a cap at which positions are reduced (an exposure) or everything is
            closed (day_loss, drawdown, once `confirm` is satisfied).
        release: share of a cap that a forced reduction brings the measure back to, and below
            which a rung is left; the gap to 1 is the band that keeps the breaker from flapping.
        dwell_sessions: whole sessions of exchange time that a rung is held at least.
        confirm: how an extreme loss is confirmed; exposures need no confirmation.
        correction: what stands in for a request that may not pass.
        operator_token_sha256: sha256 (hex) of the token that resumes a halted book and re-enables
            a strategy; without one both are final.
        quotes: which quotes are trusted; orders: what an order must keep to, to be sent.

    Example:
        >>> from riskenv.config import load_config
        >>> limits = load_config(RiskLimits, {"caps": {"delta": 500, "theta": 300}})
        >>> low, high = limits.bounds(equity=1e6)
        >>> float(low[0]), float(high[0]), float(low[4]), float(high[4])
        (-500.0, 500.0, -300.0, inf)
        >>> load_config(RiskLimits, {"caps": {"delta": -1}})
        Traceback (most recent call last):
            ...
        riskenv.config.ConfigError: RiskLimits is not valid:
          caps.delta: got -1; input should be greater than 0
    """

    caps: Caps
    of_equity: Caps = Caps()
    by_underlying: dict[str, ScopeCaps] = {}
    by_expiry: dict[str, ScopeCaps] = {}
    by_strategy: dict[str, ScopeCaps] = {}
    margin: MarginRule = MarginRule()
    warn: float = Field(default=0.8, gt=0.0, lt=1.0)
    extreme: float = Field(default=1.25, gt=1.0)
    release: float = Field(default=0.9, gt=0.0, lt=1.0)
    dwell_sessions: int = Field(default=1, ge=0)
    confirm: ConfirmRule = ConfirmRule()
    correction: CorrectionRule = CorrectionRule()
    operator_token_sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    quotes: QuoteRules = DEFAULT_RULES
    orders: OrderLimits = OrderLimits()

    # Rules between fields hang on the later of the two, so that they are reported together with
    # whatever else is wrong.
    @field_validator("release")
    @classmethod
    def _release_above_warn(cls, release: float, so_far: ValidationInfo) -> float:
        warn = so_far.data.get("warn", 0.0)  # missing where it is itself refused
        if not warn <= release:
            raise ValueError(f"allowed: at least warn ({warn}), below 1")
        return release

    @field_validator("of_equity")
    @classmethod
    def _shares_of_money(cls, of_equity: Caps) -> Caps:
        _refuse_shares_of_no_money(of_equity)
        return of_equity

    @field_validator("by_expiry")
    @classmethod
    def _known_buckets(cls, by_expiry: dict[str, ScopeCaps]) -> dict[str, ScopeCaps]:
        unknown = sorted(set(by_expiry) - set(EXPIRY_BUCKETS))
        if unknown:
            raise ValueError(
                f"no bucket: {', '.join(map(repr, unknown))}; allowed: {', '.join(EXPIRY_BUCKETS)}"
            )
        return by_expiry

    @field_validator("by_underlying", "by_strategy")
    @classmethod
    def _named_scopes(cls, scopes: dict[str, ScopeCaps]) -> dict[str, ScopeCaps]:
        if "" in scopes:
            raise ValueError("no name: ''; allowed: a ticker, a tag")
        return scopes

    @property
    def digest(self) -> str:
        """sha256 of all caps and levels, hex."""
        return digest(self.model_dump(mode="json"))

    def __hash__(self) -> int:
        # By what it says: pydantic's own hash stops at the mappings.
        return hash(self.model_dump_json())

    def bounds(self, equity: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(M,) lowest and (M,) highest allowed value of each measure; infinite where uncapped.

        Args:
            equity: of the account, for caps that are a share of it.
        """
        return self._bounds_of(MEASURES, equity)

    def capped(self) -> NDArray[np.bool_]:
        """(M,) measures with a cap on the whole book."""
        low, high = self.bounds(equity=1.0)
        return np.isfinite(low) | np.isfinite(high)

    def account_caps(self, equity: float) -> list[float]:
        """Highest loss allowed of each of `riskenv.measures.ACCOUNT`; infinite where uncapped."""
        if self._amounts[ACCOUNT][1] is None:
            return self._account_caps
        caps: list[float] = (-self._bounds_of(ACCOUNT, equity)[0]).tolist()
        return caps

    @cached_property
    def _account_caps(self) -> list[float]:
        """Those that are no share of equity."""
        caps: list[float] = (-self._bounds_of(ACCOUNT, math.nan)[0]).tolist()
        return caps

    def account_used(self, day_loss: float, drawdown: float, equity: float) -> float:
        """The larger share of its cap that a loss of the account (<= 0) uses; NaN where either is
        Unknown, capped or not."""
        most = 0.0
        for loss, cap in zip((day_loss, drawdown), self.account_caps(equity), strict=True):
            if math.isnan(loss):
                return math.nan
            if loss < 0.0:
                most = max(most, -loss / cap if cap > 0.0 else math.inf)
        return most

    @cached_property
    def _amounts(self) -> dict[tuple[str, ...], tuple[Any, ...]]:
        """Of the measures of the book and of the account: caps, shares of equity, and the signs
        that make a cap no bound below or above (infinite)."""
        out: dict[tuple[str, ...], tuple[Any, ...]] = {}
        for names in (MEASURES, ACCOUNT):
            caps, shares = (
                np.array([getattr(part, name) or np.inf for name in names])
                for part in (self.caps, self.of_equity)  # a cap is above 0, or None
            )
            below = np.array([name not in GROSS for name in names])
            above = np.array([name not in ONE_SIDED for name in names])
            if not np.isfinite(shares).any():  # the bounds themselves, whatever the equity
                low, high = np.where(below, -caps, -np.inf), np.where(above, caps, np.inf)
                low.flags.writeable = high.flags.writeable = False
                out[names] = (caps, None, low, high)
            else:
                out[names] = (caps, shares, below, above)
        return out

    def _bounds_of(
        self, names: tuple[str, ...], equity: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        caps, shares, below, above = self._amounts[names]
        if shares is None:
            return below, above
        money = equity if equity > 0.0 else 0.0  # NaN, too, is none
        given = np.isfinite(shares)
        with np.errstate(invalid="ignore"):  # of an equity without end, nothing is none
            amount = np.minimum(caps, np.where(given, np.where(given, shares, 0.0) * money, np.inf))
        return np.where(below, -amount, -np.inf), np.where(above, amount, np.inf)
