"""Variance forecasts that never look ahead: refitted on the past, then filtered forward.

New parameters are phased in. A switch in one day would move the forecast with no news in it: on
NASDAQ in January 2005 by a third.

Model (Glosten, Jagannathan and Runkle 1993), for daily log returns r in percent:
e(t) = r(t) - mean, h(t+1) = omega + (alpha + gamma 1[e(t) < 0]) e(t)^2 + beta h(t).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from arch import arch_model
from numpy.typing import NDArray

# Fits run on percent returns, where the optimiser's tolerances suit the numbers.
_PERCENT = 100.0


class FitError(RuntimeError):
    """The likelihood maximiser did not converge; no volatility is made up in its place."""


@dataclass(frozen=True, slots=True)
class GarchFit:
    """Parameters in units of percent returns.

    Attributes:
        mean: daily mean return.
        omega, alpha, gamma, beta: of the recursion in the module's docstring; gamma is 0 for a
            plain GARCH(1,1).
        downside: E[z^2 1(z < 0)] of the innovations; one half when they are symmetric.
        first_variance: h of the first observation.
        degrees_of_freedom: of the Student-t or skewed Student-t innovations.
        skewness: Hansen's lambda, in (-1, 1); 0 for "t".
    """

    mean: float
    omega: float
    alpha: float
    gamma: float
    beta: float
    downside: float
    first_variance: float
    degrees_of_freedom: float
    skewness: float

    @property
    def persistence(self) -> float:
        """E[h(t+2) | t] = omega + persistence * h(t+1)."""
        return self.alpha + self.gamma * self.downside + self.beta

    def next_variances(self, log_return: NDArray[np.float64]) -> NDArray[np.float64]:
        """Variance of the session after each one, from returns up to and including it.

        Args:
            log_return: (N,) natural log returns, the first of them the fit's first.

        Returns:
            (N,) squared percent.
        """
        h = self.first_variance
        out = []
        for e in (_PERCENT * log_return - self.mean).tolist():
            h = self.omega + (self.alpha + self.gamma * (e < 0.0)) * e * e + self.beta * h
            out.append(h)
        return np.array(out)

    def mean_forecast(
        self, next_variance: NDArray[np.float64], sessions: int
    ) -> NDArray[np.float64]:
        """Mean expected variance over the next `sessions` sessions, squared percent."""
        expected = next_variance.copy()
        total = next_variance.copy()
        for _ in range(sessions - 1):
            expected = self.omega + self.persistence * expected
            total += expected
        return total / sessions


def fit_garch(
    log_return: NDArray[np.float64],
    model: Literal["gjr", "garch"] = "gjr",
    innovations: Literal["skewt", "t"] = "skewt",
) -> GarchFit:
    """Maximum-likelihood fit by `arch`.

    Args:
        log_return: (N,) natural log returns per session, none of them NaN.

    Raises:
        ValueError: a return that is not finite.
        FitError: no convergence.
    """
    if not np.isfinite(log_return).all():
        raise ValueError("log_return: every return must be finite")
    fitted = arch_model(
        _PERCENT * log_return,
        mean="Constant",
        vol="GARCH",
        o=1 if model == "gjr" else 0,
        dist=innovations,
        rescale=False,
    ).fit(disp="off", show_warning=False)
    if fitted.convergence_flag != 0:
        raise FitError(
            f"{model} with {innovations} innovations did not converge on {len(log_return)} "
            f"returns: {fitted.optimization_result.message}"
        )
    values = {name: float(value) for name, value in fitted.params.items()}
    distribution = fitted.model.distribution
    shape = [values[name] for name in distribution.parameter_names()]
    return GarchFit(
        mean=values["mu"],
        omega=values["omega"],
        alpha=values["alpha[1]"],
        gamma=values.get("gamma[1]", 0.0),
        beta=values["beta[1]"],
        downside=float(distribution.partial_moment(2, 0.0, shape)),
        first_variance=float(fitted.conditional_volatility[0]) ** 2,
        degrees_of_freedom=shape[0],
        skewness=shape[1] if len(shape) > 1 else 0.0,
    )


def rolling_forecast(
    log_return: NDArray[np.float64],
    refit_rows: Sequence[int],
    sessions: int,
    blend: int,
    model: Literal["gjr", "garch"] = "gjr",
    innovations: Literal["skewt", "t"] = "skewt",
) -> NDArray[np.float64]:
    """Mean expected daily variance over the next `sessions` sessions, known at each close.

    Args:
        log_return: (D,) natural log returns; row 0 has none and is ignored.
        refit_rows: increasing rows; at each, parameters are fitted on the rows before it and
            used from it to the next.
        sessions: length of the forecast.
        blend: over this many rows after a refit the forecast moves, in equal steps, from that of
            the parameters before to that of the new ones; 0 switches at once.

    Returns:
        (D,) squared log returns per session. Rows from `refit_rows[0]` on use nothing later than
        themselves. Earlier rows are burn-in: filtered with the first fit, so they are known only
        from `refit_rows[0]` on. Row 0 is NaN.

    Raises:
        ValueError: no refit row, or one with fewer than 250 returns before it.
        FitError: a fit did not converge.
    """
    if not refit_rows or refit_rows[0] < 251:
        raise ValueError(
            f"refit_rows: got {list(refit_rows)[:1]}; allowed: a first row with at least "
            "250 returns before it"
        )
    returns = log_return[1:]
    forecast = np.full(len(log_return), np.nan)
    before: GarchFit | None = None
    for start, stop in pairwise([*refit_rows, len(log_return)]):
        fit = fit_garch(returns[: start - 1], model, innovations)
        first = 1 if before is None else start
        forecast[first:stop] = _forecast_rows(fit, returns, first, stop, sessions)
        if before is not None:
            end = min(start + blend, stop)
            old = _forecast_rows(before, returns, start, end, sessions)
            weight = np.arange(1, end - start + 1) / (blend + 1)
            forecast[start:end] = (1.0 - weight) * old + weight * forecast[start:end]
        before = fit
    return forecast


def _forecast_rows(
    fit: GarchFit, returns: NDArray[np.float64], start: int, stop: int, sessions: int
) -> NDArray[np.float64]:
    """Rows [start, stop) of one fit's forecast, squared log returns; returns[0] ends at row 1."""
    next_variance = fit.next_variances(returns[: stop - 1])[start - 1 :]
    return fit.mean_forecast(next_variance, sessions) / _PERCENT**2
