"""Filtered historical simulation: yesterday's shocks at today's volatility.

Each day's move is divided by the volatility that was forecast for it the day before, and what is
left, the day's shock, is multiplied by the volatility forecast for tomorrow (Hull and White 1998,
"Incorporating volatility updating into the historical simulation method", equation 1;
Barone-Adesi, Giannopoulos and Vosper 1999, "VaR without correlations", equations 2 to 6). Every
factor has a filter of its own, and the shocks of a day stay together, so that their dependence is
kept without a correlation being estimated.

One recursion serves all filters: e(t) = x(t) - mean, and
h(t + 1) = omega + (alpha + gamma 1[e(t) < 0]) e(t)^2 + beta h(t). With omega = gamma = mean = 0,
alpha = 1 - decay and beta = decay it is the exponentially weighted average of RiskMetrics (1996),
with gamma = 0 GARCH(1,1), else that of Glosten, Jagannathan and Runkle (1993).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from riskenv.compilation import jit
from riskenv.config import Config
from riskenv.factor_history import FactorHistory

FloatArray = NDArray[np.float64]


class FilterConfig(Config):
    """How volatility is filtered out of history and put back in.

    Attributes:
        ewma_decay: weight of yesterday's variance in an exponentially weighted average;
            RiskMetrics (1996, section 5.3.2) uses 0.94 for daily data.
        warm_up: first so many known moves of a factor that only start its filter. Their days are
            no scenarios. At 0.94 the start then has less than 3 % of the weight.
        variance_path: over several sessions, "updated" lets each day's rescaled move change the
            variance of the next, as a path of the model would; "held" leaves it at tomorrow's.
    """

    ewma_decay: float = Field(default=0.94, gt=0.0, lt=1.0)
    warm_up: int = Field(default=60, ge=10, le=1000)
    variance_path: Literal["updated", "held"] = "updated"


class PercentFit(Protocol):
    """Parameters fitted on percent returns, such as `riskenv.data.garch.GarchFit`."""

    @property
    def mean(self) -> float: ...
    @property
    def omega(self) -> float: ...
    @property
    def alpha(self) -> float: ...
    @property
    def gamma(self) -> float: ...
    @property
    def beta(self) -> float: ...
    @property
    def first_variance(self) -> float: ...


@dataclass(frozen=True, eq=False)
class VarianceFilter:
    """Parameters of the recursion, for F factors.

    Attributes:
        mean: (F,) expected move per session, log units.
        omega: (F,) constant of the variance, log units squared.
        alpha, gamma, beta: (F,) as in the module's docstring; alpha, alpha + gamma and beta are
            zero or above.
        first_variance: (F,) variance of a factor's first known move; NaN = the mean square of the
            warm-up's moves, from the end of the warm-up on.

    Raises:
        ValueError: shapes that differ, or a parameter outside what is allowed.
    """

    mean: FloatArray
    omega: FloatArray
    alpha: FloatArray
    gamma: FloatArray
    beta: FloatArray
    first_variance: FloatArray

    def __post_init__(self) -> None:
        names = ("mean", "omega", "alpha", "gamma", "beta", "first_variance")
        for name in names:
            array = np.array(getattr(self, name), dtype=np.float64)
            if array.ndim != 1 or array.shape != np.shape(self.mean):
                raise ValueError(f"{name}: got shape {array.shape}; allowed: (F,), equal for all")
            object.__setattr__(self, name, array)
        for name in names[:-1]:
            if not np.isfinite(getattr(self, name)).all():
                raise ValueError(f"{name}: got {getattr(self, name)}; allowed: finite numbers")
        for name, least in (
            ("omega", self.omega),
            ("alpha", self.alpha),
            ("alpha + gamma", self.alpha + self.gamma),
            ("beta", self.beta),
        ):
            if not (least >= 0.0).all():
                raise ValueError(f"{name}: got {least}; allowed: zero or above")
        first = self.first_variance
        if not (np.isnan(first) | ((first > 0.0) & (first < np.inf))).all():
            raise ValueError(f"first_variance: got {first}; allowed: above 0, or NaN")

    @classmethod
    def ewma(cls, factors: int, decay: float = 0.94) -> Self:
        """Exponentially weighted averages of squared moves, of one decay.

        Example:
            >>> VarianceFilter.ewma(2).beta.tolist()
            [0.94, 0.94]
        """
        zero, one = np.zeros(factors), np.ones(factors)
        return cls(zero, zero, (1.0 - decay) * one, zero, decay * one, np.nan * one)

    @classmethod
    def from_percent_fits(cls, fits: Sequence[PercentFit]) -> Self:
        """Filters from fits on percent returns, one a factor."""
        columns = {
            name: np.array([getattr(fit, name) for fit in fits])
            for name in ("mean", "omega", "alpha", "gamma", "beta", "first_variance")
        }
        columns["mean"] = columns["mean"] / 1e2
        for name in ("omega", "first_variance"):
            columns[name] = columns[name] / 1e4
        return cls(**columns)

    def followed_by(self, other: VarianceFilter) -> VarianceFilter:
        """These factors, then those of another filter: returns by GARCH, volatility by EWMA."""
        return VarianceFilter(
            *(np.concatenate(pair) for pair in zip(self.columns, other.columns, strict=True))
        )

    @property
    def columns(self) -> tuple[FloatArray, ...]:
        return (self.mean, self.omega, self.alpha, self.gamma, self.beta, self.first_variance)


# Least share of a factor's mean square that its variance may fall to: a tenth of its usual
# volatility (the S&P 500 of 2017 had a quarter), to which an average of decay 0.94 falls in 75
# sessions of no move.
_STILL = 0.01


@jit
def _shocks(moves, mean, omega, alpha, gamma, beta, first, warm_up, z, variance):  # type: ignore[no-untyped-def]
    """z[t, u] = move t over the deviation known before it; variance[u] = of the next move."""
    seen = np.zeros(variance.size, dtype=np.int64)
    squares, every = np.zeros(variance.size), np.zeros(variance.size)
    variance[:] = first
    for t in range(moves.shape[0]):
        for u in range(variance.size):
            e = moves[t, u] - mean[u]
            if not abs(e) < np.inf:
                # Nothing was observed: the forecast stands.
                z[t, u] = np.nan
                continue
            h = variance[u]
            z[t, u] = e / np.sqrt(h) if seen[u] >= warm_up else np.nan
            seen[u] += 1
            every[u] += e * e
            g = gamma[u]
            variance[u] = omega[u] + (alpha[u] + (g if e < 0.0 else 0.0)) * e * e + beta[u] * h
            if first[u] != first[u] and seen[u] <= warm_up:
                squares[u] += e * e
                if seen[u] == warm_up:
                    variance[u] = squares[u] / warm_up
    for u in range(variance.size):
        # A variance of next to 0 would make every scenario a move of next to 0.
        still = not variance[u] > _STILL * (every[u] / max(seen[u], 1))
        if still or not (seen[u] >= warm_up and variance[u] < np.inf):
            variance[u] = np.nan


@jit
def _rescaled(z, rows, variance, mean, omega, alpha, gamma, beta, updated, out):  # type: ignore[no-untyped-def]
    """out[k, u] = sum over j of the rescaled move z[rows[k, j], u], in order of j."""
    h = np.empty(variance.size)
    out[:] = 0.0
    for k in range(rows.shape[0]):
        h[:] = variance
        for j in range(rows.shape[1]):
            shocks, total = z[rows[k, j]], out[k]
            # Factors side by side, so that the loop becomes vector code.
            for u in range(variance.size):
                e = shocks[u] * np.sqrt(h[u])
                total[u] += mean[u] + e
                g = gamma[u]
                following = omega[u] + (alpha[u] + (g if e < 0.0 else 0.0)) * e * e + beta[u] * h[u]
                h[u] = following if updated else h[u]


@dataclass(frozen=True, eq=False)
class FilteredHistory:
    """The shocks of the D days known at an instant, and the volatility they are put back into.

    Attributes:
        shocks: (D, 2 U) standardised moves, returns first and then volatility changes; NaN in the
            warm-up, in gaps, and where nothing had moved before.
        usable: (D,) days on which every factor has a shock.
        variance: (2 U,) forecast for the session after the last known one, log units squared; NaN
            where a factor has no more than its warm-up.
        variance_filter: what they were filtered with.
    """

    shocks: FloatArray
    usable: NDArray[np.bool_]
    variance: FloatArray
    variance_filter: VarianceFilter

    def windows(self, horizon: int, window: int) -> NDArray[np.int64]:
        """The overlapping windows of consecutive usable days that end in the last `window` days.

        Returns:
            (K, horizon) days, oldest window first; none where a factor has no forecast.
        """
        days = len(self.usable)
        ends = np.arange(max(horizon - 1, days - window), days, dtype=np.int64)
        rows = ends[:, None] + np.arange(1 - horizon, 1, dtype=np.int64)
        if not np.isfinite(self.variance).all():
            rows = rows[:0]
        usable: NDArray[np.int64] = rows[self.usable[rows].all(axis=1)]
        return usable

    def moves(self, rows: NDArray[np.int64], path: str = "updated") -> FloatArray:
        """Factor moves over paths of days, at today's volatility.

        Args:
            rows: (K, h) days whose shocks follow each other: `windows`, or days that a bootstrap
                draws from the usable ones, as Barone-Adesi, Giannopoulos and Vosper do.
            path: "updated" or "held"; see `FilterConfig.variance_path`.

        Returns:
            (2 U, K) summed log returns, then summed log volatility changes.

        Raises:
            ValueError: another path.
        """
        if path not in ("updated", "held"):
            raise ValueError(f"path: got {path!r}; allowed: 'updated', 'held'")
        out = np.empty((len(rows), self.shocks.shape[1]))
        parameters = self.variance_filter.columns[:-1]
        _rescaled(self.shocks, rows, self.variance, *parameters, path == "updated", out)
        return np.ascontiguousarray(out.T)


def filter_history(
    history: FactorHistory,
    now: int,
    variance_filter: VarianceFilter,
    warm_up: int = FilterConfig().warm_up,
) -> FilteredHistory:
    """Standardise every move known at `now`; nothing dated after it is looked at.

    A gap in one factor keeps that day out of the scenarios of all, and leaves that factor's
    variance as it was; the other factors' filters still learn from the day. A factor that has
    not moved for long has a tiny variance, so its next move is a huge shock, and every scenario
    after it is tiny: quotes that stand still belong in the history as NaN, and a forecast below a
    hundredth of the mean square of all its moves is taken for such a standstill, and is Unknown.

    Args:
        variance_filter: of the 2 U factors: the U log returns, then the U log volatility changes.
            Its parameters must be known at `now` as well: fitted on later days they look ahead.
        warm_up: as in `FilterConfig`.

    Raises:
        ValueError: a filter for another number of factors, or a warm-up below 1.

    Example:
        Two quiet moves, then a turmoil that is over: the filter forgets half of it a day.

        >>> times, moves = np.arange(1, 6), np.array([[0.01], [-0.01], [0.04], [0.0], [0.0]])
        >>> history = FactorHistory(("A",), times, moves, moves)
        >>> filtered = filter_history(history, 5, VarianceFilter.ewma(2, decay=0.5), warm_up=2)
        >>> filtered.shocks[:, 0].round(2).tolist()
        [nan, nan, 4.0, 0.0, 0.0]
        >>> filtered.moves(filtered.windows(horizon=1, window=3))[0].round(4).tolist()
        [0.0583, 0.0, 0.0]
    """
    factors = 2 * len(history.underlyings)
    if len(variance_filter.mean) != factors:
        raise ValueError(
            f"variance_filter: got {len(variance_filter.mean)} factors; allowed: {factors}, "
            f"two for each of {', '.join(history.underlyings)}"
        )
    if warm_up < 1:
        raise ValueError(f"warm_up: got {warm_up}; allowed: 1 and above")
    known = int(np.searchsorted(history.times, now, side="right"))
    moves = np.concatenate([history.log_return[:known], history.log_vol_change[:known]], axis=1)
    shocks, variance = np.empty_like(moves), np.empty(factors)
    _shocks(moves, *variance_filter.columns, warm_up, shocks, variance)
    return FilteredHistory(shocks, np.isfinite(shocks).all(axis=1), variance, variance_filter)


@jit
def _decayed(age, youngest, decay, power, out):  # type: ignore[no-untyped-def]
    """out[k] = decay ** (age[k] - youngest), by multiplication, over their sum in order."""
    power[0] = 1.0
    for k in range(1, power.size):
        power[k] = power[k - 1] * decay
    total = 0.0
    for k in range(age.size):
        out[k] = power[age[k] - youngest]
        total += out[k]
    for k in range(age.size):
        out[k] /= total


def age_weights(age: NDArray[np.int64], decay: float) -> FloatArray:
    """Weights that fall with age: decay ** age, scaled to add up to 1.

    Boudoukh, Richardson and Whitelaw (1998), "The best of both worlds", step 2; they use decays of
    0.97 and 0.99 a session.

    Args:
        age: (S,) sessions since each scenario ended, zero or above.
        decay: in (0, 1]; 1 weighs all alike.

    Raises:
        ValueError: an age below 0, or a decay outside (0, 1].

    Example:
        >>> age_weights(np.array([2, 1, 0]), decay=0.5).round(4).tolist()
        [0.1429, 0.2857, 0.5714]
    """
    age = np.ascontiguousarray(age, dtype=np.int64)
    if not 0.0 < decay <= 1.0:
        raise ValueError(f"decay: got {decay}; allowed: above 0 and at most 1")
    out = np.empty(len(age))
    if not len(age):
        return out
    youngest = int(age.min())
    if youngest < 0:
        raise ValueError(f"age: got {youngest}; allowed: zero or above")
    _decayed(age, youngest, decay, np.empty(int(age.max()) - youngest + 1), out)
    return out
