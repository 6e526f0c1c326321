"""The independent auditor: did any action cause an active breach of a hard cap?

It shares no code with the risk layer. It walks over the positions an env really held, prices them
with vollib's Greeks and its own full revaluation, and compares each capped measure before and
after the trade with the cap. A fault in the layer therefore cannot hide itself here.

Definitions. A breach is *active* when a non-empty trade leaves a measure outside its cap and
further out than before, both books at the market of the decision; crossing from outside one side
to outside the other is active too. Everything else that is outside a cap is *drift*: the market
moved, or an event tightened the cap. What cannot be computed is *unauditable*, never fine.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

# ndtr is the function behind scipy.stats.norm.cdf, without its overhead.
from scipy.special import ndtr  # type: ignore[import-untyped, unused-ignore]
from vollib.black_scholes_merton.greeks import analytical

GREEKS = ("delta", "dollar_delta", "gamma", "dollar_gamma", "theta", "vega")
TAILS = {f"{name}_{days}d": (name, days) for name in ("var", "es") for days in (1, 3, 5)}
GAP = 0  # the "horizon" of scheduled jumps, over which no time passes
TAILS["gap_loss"] = ("gap", GAP)
MEASURES = (*GREEKS, *TAILS)

TAIL_PROBABILITY = 0.01
_KEPT = 20  # breaches kept in full; the counts are always complete
# A unit's Greeks and P&L depend on the market and the contract alone, so books that meet at one
# close share them. This many are kept, the least used go first; P&L of 500 scenarios takes 4 kB.
_UNIT_GREEKS, _UNIT_PNLS = 1 << 18, 1 << 14


@dataclass(frozen=True)
class AuditedContract:
    """One contract and what the env's own ledger held of it before and after the trade.

    Attributes:
        underlying: ticker.
        right: "C", "P", or "" for the underlying itself.
        strike: currency; ignored for the underlying, as are years and vol.
        years: seconds to settlement / (365 * 86400).
        multiplier: currency per point, per contract.
        vol: implied volatility per year.
        before, after: signed contracts, long > 0.

    Raises:
        ValueError: another right.
    """

    underlying: str
    right: str
    strike: float
    years: float
    multiplier: float
    vol: float
    before: float
    after: float

    def __post_init__(self) -> None:
        if self.right not in ("C", "P", ""):
            raise ValueError(f"right: got {self.right!r}; allowed: 'C', 'P', ''")


@dataclass(frozen=True, eq=False)
class HorizonShocks:
    """The S equally likely scenarios of one horizon, by ticker.

    Attributes:
        log_return: ticker -> (S,) log change of spot.
        log_vol_change: ticker -> (S,) log change of implied volatility.
        years_elapsed: calendar time that passes over the horizon, in years of 365 days.

    Raises:
        ValueError: arrays that are empty or of different lengths.
    """

    log_return: Mapping[str, NDArray[np.float64]]
    log_vol_change: Mapping[str, NDArray[np.float64]]
    years_elapsed: float

    def __post_init__(self) -> None:
        shapes = {np.shape(x) for x in (*self.log_return.values(), *self.log_vol_change.values())}
        if len(shapes) != 1 or len(next(iter(shapes))) != 1 or (0,) in shapes:
            raise ValueError(f"shocks: got shapes {sorted(shapes)}; allowed: one (S,) with S >= 1")

    @property
    def size(self) -> int:
        return len(next(iter(self.log_return.values())))


@dataclass(frozen=True, eq=False)
class AuditedStep:
    """One decision: the market, every contract held before or after it, and the caps in force.

    Attributes:
        time: for the reader of a breach.
        spot: ticker -> price.
        rate: continuous, per year.
        dividend_yield: ticker -> continuous, per year.
        contracts: every contract that is held before or after.
        caps: measure -> (lowest, highest) allowed now, events included; an infinity is no cap.
        shocks: horizon in sessions (1, 3, 5, or `GAP`) -> its scenarios; None where no tail is
            capped.

    Raises:
        ValueError: a cap on a measure that this auditor does not know.
    """

    time: str
    spot: Mapping[str, float]
    rate: float
    dividend_yield: Mapping[str, float]
    contracts: tuple[AuditedContract, ...]
    caps: Mapping[str, tuple[float, float]]
    shocks: Mapping[int, HorizonShocks] | None = None

    def __post_init__(self) -> None:
        unknown = sorted(set(self.caps) - set(MEASURES))
        if unknown:
            raise ValueError(f"caps: got {unknown}; allowed: {', '.join(MEASURES)}")


@dataclass(frozen=True)
class Finding:
    """One measure at one step, as it was found; NaN where it could not be computed."""

    time: str
    measure: str
    before: float
    after: float
    cap: tuple[float, float]


@dataclass
class AuditResult:
    """What the auditor saw.

    Attributes:
        steps, steps_with_trade: how many were walked, how many changed the book.
        checks: measures compared with a cap, over all steps; 0 means that nothing was audited.
        active: measure -> number of active breaches.
        drift: measure -> number of steps whose book was outside the cap before any trade.
        unauditable: measure -> number of steps at which it, or its cap, could not be computed.
        max_utilisation: measure -> largest share of its cap used by the book after the trade;
            1.0 is at the cap, inf is any use of a cap of 0, NaN is never computed.
        first_active, first_unauditable: the first findings of each kind, in order of time.
    """

    steps: int = 0
    steps_with_trade: int = 0
    checks: int = 0
    active: Counter[str] = field(default_factory=Counter)
    drift: Counter[str] = field(default_factory=Counter)
    unauditable: Counter[str] = field(default_factory=Counter)
    max_utilisation: dict[str, float] = field(default_factory=dict)
    first_active: list[Finding] = field(default_factory=list)
    first_unauditable: list[Finding] = field(default_factory=list)

    @property
    def active_breaches(self) -> int:
        return self.active.total()

    @property
    def drift_breaches(self) -> int:
        return self.drift.total()

    @property
    def passed(self) -> bool:
        """Something was audited, all of it could be, and no action caused a breach."""
        return self.checks > 0 and not self.active.total() and not self.unauditable.total()


def audit(steps: Iterable[AuditedStep], tolerance: float = 1e-9) -> AuditResult:
    """Walk over an env's decisions and count the breaches.

    Args:
        steps: in order of time.
        tolerance: relative to the larger of the cap and the gross exposure (the sum of absolute
            contributions), because that is what rounding in a sum scales with.

    Example:
        >>> share = AuditedContract("SPX", "", 0.0, 0.0, 1.0, 0.0, before=90.0, after=110.0)
        >>> step = AuditedStep("10:30", {"SPX": 100.0}, 0.0, {"SPX": 0.0}, (share,),
        ...                    {"delta": (-100.0, 100.0)})
        >>> result = audit([step])
        >>> result.active_breaches, result.max_utilisation, result.passed
        (1, {'delta': 1.1}, False)
    """
    result = AuditResult()
    for step in steps:
        # Garbage turns into NaN or infinity without a warning, and is counted as unauditable.
        with np.errstate(all="ignore"):
            _audit_step(result, step, tolerance)
    return result


def _audit_step(result: AuditResult, step: AuditedStep, tolerance: float) -> None:
    traded = has_trade(step.contracts)
    result.steps += 1
    result.steps_with_trade += traded
    revaluation = _Revaluation(step)
    for measure, cap in step.caps.items():
        values = revaluation.tail(*TAILS[measure]) if measure in TAILS else _greek(step, measure)
        _judge(result, step.time, measure, values, cap, traded, tolerance)


def has_trade(contracts: Iterable[AuditedContract]) -> bool:
    """Whether the book changed; lots of one contract that net to nothing are no trade."""
    net: dict[tuple[str, str, float, float, float], float] = {}
    for c in contracts:
        key = (c.underlying, c.right, c.strike, c.years, c.multiplier)
        net[key] = net.get(key, 0.0) + (c.after - c.before)
    return any(change != 0.0 for change in net.values())  # NaN counts as a trade


def _judge(
    result: AuditResult,
    time: str,
    measure: str,
    values: tuple[float, float, float],
    cap: tuple[float, float],
    traded: bool,
    tolerance: float,
) -> None:
    """Compare one measure with its cap and write the outcome into `result`."""
    before, after, gross = values
    lowest, highest = cap
    result.checks += 1
    result.max_utilisation.setdefault(measure, math.nan)
    finding = Finding(time, measure, before, after, cap)
    # The empty book must be allowed, so a cap holds 0; a NaN fails this too.
    known = lowest <= 0.0 <= highest and all(map(math.isfinite, values))
    if not known:
        result.unauditable[measure] += 1
        if len(result.first_unauditable) < _KEPT:
            result.first_unauditable.append(finding)
        return

    was_outside = moved_further_out = False
    for bound, excess_before, excess_after in (
        (highest, before - highest, after - highest),
        (lowest, lowest - before, lowest - after),
    ):
        if math.isinf(bound):
            continue
        slack = tolerance * max(abs(bound), gross)
        was_outside |= not (excess_before <= slack)
        moved_further_out |= not (max(excess_after, 0.0) - max(excess_before, 0.0) <= slack)

    if was_outside:
        result.drift[measure] += 1
    if traded and moved_further_out:
        result.active[measure] += 1
        if len(result.first_active) < _KEPT:
            result.first_active.append(finding)
    used = _utilisation(after, lowest, highest, tolerance * gross)
    result.max_utilisation[measure] = float(np.fmax(result.max_utilisation[measure], used))


def _utilisation(value: float, lowest: float, highest: float, slack: float) -> float:
    bound = highest if value >= 0.0 else lowest
    if bound == 0.0:
        return 0.0 if abs(value) <= slack else math.inf
    return value / bound


def _greek(step: AuditedStep, measure: str) -> tuple[float, float, float]:
    """The book's Greek before and after the trade, and the gross exposure of the larger book."""
    before = after = gross = 0.0
    for contract in step.contracts:
        if contract.before == contract.after == 0.0:
            continue
        unit = contract.multiplier * _greek_per_unit(step, contract, measure)
        before += contract.before * unit
        after += contract.after * unit
        gross += max(abs(contract.before), abs(contract.after)) * abs(unit)
    return before, after, gross


def _greek_per_unit(step: AuditedStep, contract: AuditedContract, measure: str) -> float:
    """One Greek of one unit (multiplier 1); NaN where the market does not define it.

    vollib's conventions, read in its source: theta is per calendar day (annual / 365) and
    negative for decay paid, vega is per 0.01 of volatility, delta and gamma per 1.
    """
    spot = step.spot.get(contract.underlying, math.nan)
    dividend_yield = step.dividend_yield.get(contract.underlying, math.nan)
    if not 0.0 < spot < math.inf:
        return math.nan
    if contract.right == "":
        return {"delta": 1.0, "dollar_delta": spot}.get(measure, 0.0)
    if not _prices(contract, step.rate, dividend_yield):
        return math.nan
    return _option_greek(
        measure, contract.right, spot, contract.strike, contract.years, step.rate, contract.vol,
        dividend_yield,
    )  # fmt: skip


@lru_cache(maxsize=_UNIT_GREEKS)
def _option_greek(
    measure: str,
    right: str,
    spot: float,
    strike: float,
    years: float,
    rate: float,
    vol: float,
    dividend_yield: float,
) -> float:
    arguments = (right.lower(), spot, strike, years, rate, vol, dividend_yield)
    if measure in ("delta", "dollar_delta"):
        value = analytical.delta(*arguments) * (spot if measure == "dollar_delta" else 1.0)
    elif measure in ("gamma", "dollar_gamma"):
        value = analytical.gamma(*arguments)
        value *= spot**2 / 100.0 if measure == "dollar_gamma" else 1.0
    elif measure == "theta":
        value = analytical.theta(*arguments)
    else:
        value = analytical.vega(*arguments)
    return float(value)


def _prices(contract: AuditedContract, rate: float, dividend_yield: float) -> bool:
    """Whether an option's own numbers give it a price; an expired one has no Greeks."""
    positive = (contract.strike, contract.years, contract.vol)
    return all(0.0 < x < math.inf for x in positive) and math.isfinite(rate + dividend_yield)


class _Revaluation:
    """Full revaluation of one step's book; each horizon is priced once for VaR and ES."""

    def __init__(self, step: AuditedStep) -> None:
        self._step = step
        self._by_horizon: dict[int, tuple[NDArray[np.float64], NDArray[np.float64], float]] = {}

    def tail(self, name: str, days: int) -> tuple[float, float, float]:
        """VaR or ES of the book before and after, and the gross of the P&L it is made of."""
        if days not in self._by_horizon:
            self._by_horizon[days] = self._book_pnl(days)
        before, after, gross = self._by_horizon[days]
        measure = _TAIL_MEASURES[name]
        return measure(before), measure(after), gross

    def _book_pnl(self, days: int) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
        """(S,) P&L of the book before and after the trade, losses negative."""
        step = self._step
        shocks = (step.shocks or {}).get(days)
        if shocks is None:
            nothing = np.empty(0)
            return nothing, nothing, math.nan
        before, after, gross = np.zeros(shocks.size), np.zeros(shocks.size), 0.0
        for contract in step.contracts:
            if contract.before == contract.after == 0.0:
                continue
            pnl = contract.multiplier * _contract_pnl(step, contract, shocks)
            before = before + contract.before * pnl
            after = after + contract.after * pnl
            gross += max(abs(contract.before), abs(contract.after)) * float(np.abs(pnl).max())
        return before, after, gross


def _contract_pnl(
    step: AuditedStep, contract: AuditedContract, shocks: HorizonShocks
) -> NDArray[np.float64]:
    """(S,) model price after each shock minus the model price now, of one unit."""
    ticker = contract.underlying
    spot = step.spot.get(ticker, math.nan)
    dividend_yield = step.dividend_yield.get(ticker, math.nan)
    returns = shocks.log_return.get(ticker)
    vol_changes = shocks.log_vol_change.get(ticker)
    if returns is None or vol_changes is None or not 0.0 < spot < math.inf:
        return np.full(shocks.size, math.nan)
    if contract.right == "":
        return np.asarray(spot * np.expm1(returns))
    if not _prices(contract, step.rate, dividend_yield):
        return np.full(shocks.size, math.nan)
    return _option_pnl(
        shocks, ticker, contract.right, spot, contract.strike, contract.years, step.rate,
        contract.vol, dividend_yield,
    )  # fmt: skip


@lru_cache(maxsize=_UNIT_PNLS)
def _option_pnl(
    shocks: HorizonShocks,
    ticker: str,
    right: str,
    spot: float,
    strike: float,
    years: float,
    rate: float,
    vol: float,
    dividend_yield: float,
) -> NDArray[np.float64]:
    now = black_scholes_merton(
        right, np.array([spot]), strike, years, rate, np.array([vol]), dividend_yield
    )
    then = black_scholes_merton(
        right, spot * np.exp(shocks.log_return[ticker]), strike, years - shocks.years_elapsed,
        rate, vol * np.exp(shocks.log_vol_change[ticker]), dividend_yield,
    )  # fmt: skip
    pnl = np.asarray(then - now)
    pnl.setflags(write=False)
    return pnl


def black_scholes_merton(
    right: str,
    spot: NDArray[np.float64],
    strike: float,
    years: float,
    rate: float,
    vol: NDArray[np.float64],
    dividend_yield: float,
) -> NDArray[np.float64]:
    """(S,) price of a European option; its intrinsic value once years <= 0.

    Source: Merton (1973), "Theory of rational option pricing", with a continuous yield.

    Example (Hull, *Options, Futures, and Other Derivatives*, 8th ed., example 14.6: 4.76):
        >>> one = np.ones(1)
        >>> black_scholes_merton("C", 42.0 * one, 40.0, 0.5, 0.10, 0.2 * one, 0.0).round(2)
        array([4.76])
    """
    sign = 1.0 if right == "C" else -1.0
    if years <= 0.0:
        return np.maximum(sign * (spot - strike), 0.0)
    deviation = vol * math.sqrt(years)
    d1 = (np.log(spot / strike) + (rate - dividend_yield) * years) / deviation + 0.5 * deviation
    d2 = d1 - deviation
    paid = strike * math.exp(-rate * years) * ndtr(sign * d2)
    received = spot * math.exp(-dividend_yield * years) * ndtr(sign * d1)
    return np.asarray(sign * (received - paid))


def value_at_risk(pnl: NDArray[np.float64]) -> float:
    """min(0, the smallest of (S,) equally likely P&Ls whose cumulative weight >= 0.01 - 1e-9).

    Example:
        >>> value_at_risk(np.arange(-10.0, 490.0))   # 500 scenarios: the fifth smallest
        -6.0
    """
    if len(pnl) == 0 or not np.isfinite(pnl).all():
        return math.nan
    weights = np.arange(1, len(pnl) + 1) / len(pnl)
    row = int(np.argmax(weights >= TAIL_PROBABILITY - 1e-9))
    return min(0.0, float(np.sort(pnl)[row]))


def expected_shortfall(pnl: NDArray[np.float64]) -> float:
    """min(0, the mean of the worst 1 % of (S,) equally likely P&Ls, the last one in part).

    Example:
        >>> expected_shortfall(np.arange(-10.0, 240.0))   # (-10 - 9 - 8 / 2) / 2.5
        -9.2
    """
    if len(pnl) == 0 or not np.isfinite(pnl).all():
        return math.nan
    ordered = np.sort(pnl)
    atoms = TAIL_PROBABILITY * len(pnl)
    weights = np.clip(atoms - np.arange(len(pnl)), 0.0, 1.0)
    return min(0.0, float((weights * ordered).sum() / atoms))


def worst_loss(pnl: NDArray[np.float64]) -> float:
    """min(0, the smallest of (S,) P&Ls).

    Example:
        >>> worst_loss(np.array([3.0, -2.0]))
        -2.0
    """
    if len(pnl) == 0 or not np.isfinite(pnl).all():
        return math.nan
    return min(0.0, float(pnl.min()))


_TAIL_MEASURES = {"var": value_at_risk, "es": expected_shortfall, "gap": worst_loss}
