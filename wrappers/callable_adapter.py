"""The adapter protocol as plain functions, for an env that none of the shipped forms fits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from riskenv.wrappers.adapter import Adapter, LinearTrades, Protection, Traits

from riskenv.config import ConfigError
from riskenv.factor_history import FactorHistory
from riskenv.market import Market
from riskenv.portfolio import Portfolio
from riskenv.sessions import Sessions


class CallableAdapter(Adapter):
    """The protocol, each question answered by a function or left open.

    Functions are handed the env as the layer holds it, its inner wrappers on. What is given sets
    the protection. Where trades are linear in the action, `linear` alone is enough: the preview
    is the product, cut to whole contracts unless the traits say otherwise, and an action that
    trades what the layer wants is found by it.

    Args:
        snapshot: (env, obs, info) -> (portfolio, market).
        preview: (env, action) -> (n,) trades, or None where they cannot be known.
        preview_all: env -> (A, n) trades of a whole menu.
        linear: env -> `LinearTrades`.
        encode: (env, trades, proposed) -> an action, or None.
        fallbacks: env -> known safe actions, or a list of them.
        sessions, history, traits: as in `Adapter`.

    Raises:
        ConfigError: what is given is no function, or `preview_all` stands without `preview`.

    Example:
        >>> from types import SimpleNamespace
        >>> from riskenv import Instrument, Portfolio
        >>> from riskenv.wrappers import delta_one_market, delta_one_table
        >>> table = delta_one_table("SPY")
        >>> def snapshot(env, obs, info):
        ...     market = delta_one_market(table, 0, [env.price], half_spread=0.01)
        ...     return Portfolio(table, np.array([env.shares]), env.cash), market
        >>> adapter = CallableAdapter(
        ...     snapshot, linear=lambda env: LinearTrades(np.array([[100.0]]), np.zeros(1)))
        >>> adapter.protection.name, adapter.preview(SimpleNamespace(), [0.25]).tolist()
        ('ENCODE', [25.0])
    """

    def __init__(
        self,
        snapshot: Callable[[Any, Any, Any], tuple[Portfolio, Market]],
        *,
        preview: Callable[[Any, Any], NDArray[np.float64] | None] | None = None,
        preview_all: Callable[[Any], NDArray[np.float64] | None] | None = None,
        linear: Callable[[Any], LinearTrades | None] | None = None,
        encode: Callable[[Any, NDArray[np.float64], Any], Any | None] | None = None,
        fallbacks: Callable[[Any], list[Any]] | list[Any] | None = None,
        sessions: Sessions | None = None,
        history: FactorHistory | None = None,
        traits: Traits | None = None,
    ) -> None:
        given = {"preview": preview, "preview_all": preview_all, "linear": linear, "encode": encode}
        for name, function in ({"snapshot": snapshot} | given).items():
            if not callable(function) and (name == "snapshot" or function is not None):
                raise ConfigError(f"{name}: got {function!r}; allowed: a function")
        if preview is None and linear is None and (preview_all or encode):
            raise ConfigError(
                "preview: got None beside preview_all or encode; allowed: a function, since what "
                "those say is checked against it"
            )
        self._snapshot = snapshot
        self._preview = preview
        self._preview_all = preview_all
        self._linear = linear
        self._encode = encode
        self._fallbacks = fallbacks
        self._sessions = sessions
        self._history = history
        self.traits = Traits() if traits is None else traits

    @property
    def protection(self) -> Protection:
        if self._preview is None and self._linear is None:
            return Protection.READ
        encodes = self._encode is not None or self._linear is not None
        return Protection.ENCODE if encodes else Protection.PREVIEW

    def snapshot(self, env: Any, obs: Any, info: Any) -> tuple[Portfolio, Market]:
        return self._snapshot(env, obs, info)

    def preview(self, env: Any, action: Any) -> NDArray[np.float64] | None:
        if self._preview is not None:
            return self._preview(env, action)
        linear = self.linear(env)
        if linear is None:
            return None
        trades = linear.of(action)
        return np.rint(trades) + 0.0 if self.traits.whole_lots else trades

    def preview_all(self, env: Any) -> NDArray[np.float64] | None:
        return None if self._preview_all is None else self._preview_all(env)

    def linear(self, env: Any) -> LinearTrades | None:
        return None if self._linear is None else self._linear(env)

    def encode(self, env: Any, trades: NDArray[np.float64], proposed: Any) -> Any | None:
        if self._encode is None:
            return super().encode(env, trades, proposed)
        return self._encode(env, trades, proposed)

    def fallbacks(self, env: Any) -> list[Any]:
        if self._fallbacks is None:
            return []
        return self._fallbacks(env) if callable(self._fallbacks) else list(self._fallbacks)

    def sessions(self, env: Any) -> Sessions | None:
        return self._sessions

    def factor_history(self, env: Any) -> FactorHistory | None:
        return self._history
