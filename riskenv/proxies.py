"""Underlyings without a history of their own, moved by that of another."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from pydantic import Field

from riskenv.config import Config, ConfigError
from riskenv.factor_history import FactorHistory


class Proxy(Config):
    """What stands in for a ticker's moves where it has none.

    Attributes:
        of: the ticker whose moves are taken; it has a history of its own.
        beta: factor on its log returns. Volatility moves as that of the proxy does.
    """

    of: str = Field(min_length=1)
    beta: float = Field(allow_inf_nan=False)


def with_proxies(history: FactorHistory, proxies: Mapping[str, Proxy]) -> FactorHistory:
    """The history with the moves of proxies where a ticker has none of its own.

    A ticker that the history lacks gets all its moves from the proxy; one that was listed lately,
    or has gaps, the moves of the days on which one of its two is NaN.

    Raises:
        ConfigError: a proxy that the history lacks, or that has a proxy itself.

    Example:
        >>> history = FactorHistory(
        ...     ("A",), np.array([1, 2]), np.array([[0.01], [-0.02]]), np.array([[0.0], [0.1]]))
        >>> both = with_proxies(history, {"NEW": Proxy(of="A", beta=1.5)})
        >>> both.underlyings, both.log_return[:, 1].tolist(), both.log_vol_change[:, 1].tolist()
        (('A', 'NEW'), [0.015, -0.03], [0.0, 0.1])
    """
    if not proxies:
        return history
    overnight = history.overnight
    nothing = np.full(len(history.times), np.nan)
    moves = {
        ticker: (
            history.log_return[:, u], history.log_vol_change[:, u],
            nothing if overnight is None else overnight[:, u],
        )
        for u, ticker in enumerate(history.underlyings)
    }  # fmt: skip
    joined = dict(moves)
    for ticker, proxy in proxies.items():
        if proxy.of not in moves or proxy.of in proxies:
            raise ConfigError(
                f"proxies.{ticker}.of: got {proxy.of!r}; allowed: a ticker with a history and "
                f"no proxy of its own: {', '.join(t for t in moves if t not in proxies)}"
            )
        spot, vol, night = moves.get(ticker, (nothing, nothing, nothing))
        missing = ~(np.isfinite(spot) & np.isfinite(vol))
        of_spot, of_vol, of_night = moves[proxy.of]
        joined[ticker] = (
            np.where(missing, proxy.beta * of_spot, spot), np.where(missing, of_vol, vol),
            np.where(missing | ~np.isfinite(night), proxy.beta * of_night, night),
        )  # fmt: skip
    tickers = tuple(sorted(joined))
    spots, vols, nights = (np.stack([joined[t][k] for t in tickers], axis=1) for k in range(3))
    return FactorHistory(tickers, history.times, spots, vols, None if overnight is None else nights)
