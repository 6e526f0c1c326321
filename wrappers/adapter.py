"""What the layer asks of an env: what is held, what an action trades, which action trades it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from riskenv.config import ConfigError
from riskenv.factor_history import FactorHistory
from riskenv.market import Market
from riskenv.portfolio import Portfolio
from riskenv.sessions import Sessions

FILLS = ("now", "next")
UNITS = ("contracts", "fraction_of_equity")


class Protection(Enum):
    """How far the layer can protect an env, by what its adapter can answer.

    READ: the account alone. What an action would trade is unknown, so an action is only refused
    after the fact: once caps are broken, known fallbacks are done in its place.
    PREVIEW: an action is judged before it is done, masked or blocked.
    ENCODE: also trades that the layer chose can be put into an action.

    Example:
        >>> Protection.READ.words
        'READ: the account is watched; actions are replaced only once a cap is broken'
    """

    READ = "the account is watched; actions are replaced only once a cap is broken"
    PREVIEW = "actions are judged before they are done, masked or blocked"
    ENCODE = "actions are judged, and trades of the layer's own choice are put into actions"

    @property
    def words(self) -> str:
        return f"{self.name}: {self.value}"


@dataclass(frozen=True)
class Traits:
    """What cannot be inferred from an env and has to be declared.

    Attributes:
        fills: "now": trades fill at the quotes of the snapshot; "next": the market moves first.
        unasked: changes of the book that no action asked for ("expiry", "assignment",
            "margin_call", "stop", "client_flow", ...).
        whole_lots: whether trades are whole contracts, and whole shares.
        units: "contracts": the size of a trade is known when it is decided;
            "fraction_of_equity": the env works it out at the fill, so where fills is "next" a
            preview is a size at today's price.

    Raises:
        ConfigError: naming the trait, the value received and what is allowed.

    Example:
        >>> Traits(fills="later")
        Traceback (most recent call last):
            ...
        riskenv.config.ConfigError: fills: got 'later'; allowed: 'now', 'next'
    """

    fills: str = "now"
    unasked: tuple[str, ...] = ()
    whole_lots: bool = True
    units: str = "contracts"

    def __post_init__(self) -> None:
        for name, allowed in (("fills", FILLS), ("units", UNITS)):
            value = getattr(self, name)
            if value not in allowed:
                raise ConfigError(
                    f"{name}: got {value!r}; allowed: {', '.join(map(repr, allowed))}"
                )
        if isinstance(self.unasked, str):
            raise ConfigError(f"unasked: got {self.unasked!r}; allowed: a tuple of names")
        object.__setattr__(self, "unasked", tuple(self.unasked))


@dataclass(frozen=True, eq=False)
class LinearTrades:
    """Trades that are linear in a continuous action: `action @ matrix + offset`.

    Where there is one, a trade of the layer's own choice is put into an action by it
    (`action_for`); whole lots are cut after it, which `Adapter.preview` knows of.

    Attributes:
        matrix: (d, n) signed contracts per unit of each component of the flattened action.
        offset: (n,) contracts that an action of zeros trades.

    Raises:
        ValueError: shapes that do not match, or a number that is not finite.

    Example:
        >>> LinearTrades(np.array([[10.0, 0.0], [0.0, 5.0]]), np.zeros(2)).of([0.5, -1.0]).tolist()
        [5.0, -5.0]
    """

    matrix: NDArray[np.float64]
    offset: NDArray[np.float64]

    def __post_init__(self) -> None:
        matrix = np.array(self.matrix, dtype=np.float64)
        offset = np.array(self.offset, dtype=np.float64)
        if matrix.ndim != 2 or offset.shape != matrix.shape[1:]:
            raise ValueError(
                f"matrix, offset: got shapes {matrix.shape}, {offset.shape}; allowed: (d, n), (n,)"
            )
        if not (np.isfinite(matrix).all() and np.isfinite(offset).all()):
            raise ValueError("matrix, offset: got a number that is not finite")
        object.__setattr__(self, "matrix", matrix)
        object.__setattr__(self, "offset", offset)

    def of(self, action: Any) -> NDArray[np.float64]:
        """(n,) the trades of an action; sums run over the action's components in order."""
        trades = self.offset.copy()
        components = np.asarray(action, dtype=np.float64).ravel()
        for component, row in zip(components, self.matrix, strict=True):
            trades += component * row
        return trades

    def action_for(self, trades: NDArray[np.float64], proposed: Any) -> NDArray[np.float64]:
        """The action nearest to the proposed one, of its shape, whose trades are these; by least
        squares where no action has them.

        Example:
            >>> pair = LinearTrades(np.array([[10.0, -10.0], [0.0, 5.0]]), np.zeros(2))
            >>> pair.action_for(np.array([5.0, 0.0]), [1.0, 0.0]).round(6).tolist()
            [0.5, 1.0]
        """
        components = np.asarray(proposed, dtype=np.float64)
        missing = np.asarray(trades, dtype=np.float64) - self.of(components)
        change = np.linalg.lstsq(self.matrix.T, missing, rcond=None)[0]
        return components + change.reshape(components.shape)


class Adapter(ABC):
    """Subclass this for an env of your own. No method may change anything in the env.

    Only `snapshot` is required; the more of the rest is answered, the more the layer can do (see
    `protection`): without `preview` an action is judged after the fact, without `encode` or
    `linear` a reduction and a request cannot be put into one action and a continuous action can
    only be scaled down. Actions are handed over as copies, and answers are copied.

    Example:
        >>> from types import SimpleNamespace
        >>> from riskenv.wrappers import delta_one_market, delta_one_table
        >>> table = delta_one_table("SPY")
        >>> class OneShare(Adapter):
        ...     def snapshot(self, env, obs, info):
        ...         market = delta_one_market(table, 0, [env.price], half_spread=0.01)
        ...         return Portfolio(table, np.array([env.shares]), env.cash), market
        ...
        ...     def preview(self, env, action):
        ...         return np.array([100.0 * action - env.shares])
        >>> env = SimpleNamespace(shares=30.0, cash=1e5, price=400.0)
        >>> OneShare().preview(env, 0.5), OneShare().protection.name
        (array([20.]), 'PREVIEW')
    """

    traits = Traits()

    @abstractmethod
    def snapshot(self, env: Any, obs: Any, info: Any) -> tuple[Portfolio, Market]:
        """What is held and at what market, when the next action is chosen."""

    def preview(self, env: Any, action: Any) -> NDArray[np.float64] | None:
        """(n,) signed contracts that the action would trade, in the order of the last snapshot's
        table; None where that cannot be known."""
        return None

    def preview_all(self, env: Any) -> NDArray[np.float64] | None:
        """(A, n) the same for every action of a menu at once; None where there is no such path."""
        return None

    def linear(self, env: Any) -> LinearTrades | None:
        """The trades of a continuous action as a matrix; None where they are not linear in it."""
        return None

    def encode(self, env: Any, trades: NDArray[np.float64], proposed: Any) -> Any | None:
        """An action that trades this; None where none does. Its preview is checked, not trusted.

        By default, what `linear` makes of it.
        """
        linear = self.linear(env)
        return None if linear is None else linear.action_for(trades, proposed)

    def fallbacks(self, env: Any) -> list[Any]:
        """Known safe actions, mildest first: hold, then reductions. Each has a preview.

        Where none is named the zeros of the space (the start of each choice) stand for a hold, and
        a reset refuses them if they trade.
        """
        return []

    def sessions(self, env: Any) -> Sessions | None:
        """The exchange calendar, where the env knows it."""
        return None

    def factor_history(self, env: Any) -> FactorHistory | None:
        """The history that VaR is drawn from, where the env knows it."""
        return None

    @property
    def protection(self) -> Protection:
        """What the layer can do for the env, by which methods are answered."""
        kind = type(self)
        if kind.preview is Adapter.preview:
            return Protection.READ
        encodes = kind.encode is not Adapter.encode or kind.linear is not Adapter.linear
        return Protection.ENCODE if encodes else Protection.PREVIEW
