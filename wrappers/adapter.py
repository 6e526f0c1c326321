"""What the layer asks of an env: what is held, what an action trades, which action trades it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from riskenv.factor_history import FactorHistory
from riskenv.market import Market
from riskenv.portfolio import Portfolio
from riskenv.sessions import Sessions


@dataclass(frozen=True)
class Traits:
    """What cannot be inferred from an env and has to be declared.

    Attributes:
        fills: "now": trades fill at the quotes of the snapshot; "next": at the next ones.
        unasked: changes of the book that no action asked for ("expiry", "margin_call", ...).
        whole_lots: whether options trade in whole contracts.
    """

    fills: str = "now"
    unasked: tuple[str, ...] = ()
    whole_lots: bool = True


class Adapter(ABC):
    """Subclass this for an env of your own. No method may change anything in the env.

    `snapshot` and `preview` are required; the more of the rest is answered, the more the layer
    can do: without `encode` a reduction and a request cannot be put into one action, without
    `fallbacks` a continuous action can only be scaled down.
    """

    traits = Traits()

    @abstractmethod
    def snapshot(self, env: Any, obs: Any, info: Any) -> tuple[Portfolio, Market]:
        """What is held and at what market, when the next action is chosen."""

    @abstractmethod
    def preview(self, env: Any, action: Any) -> NDArray[np.float64]:
        """(n,) signed contracts that the action would trade, in the order of the last snapshot's
        table."""

    def preview_all(self, env: Any) -> NDArray[np.float64] | None:
        """(A, n) the same for every action of a menu at once; None where there is no such path."""
        return None

    def encode(self, env: Any, trades: NDArray[np.float64], proposed: Any) -> Any | None:
        """An action that trades this; None where none does. Its preview is checked, not trusted."""
        return None

    def fallbacks(self, env: Any) -> list[Any]:
        """Known safe actions, mildest first: hold, then reductions."""
        return []

    def sessions(self, env: Any) -> Sessions | None:
        """The exchange calendar, where the env knows it."""
        return None

    def factor_history(self, env: Any) -> FactorHistory | None:
        """The history that VaR is drawn from, where the env knows it."""
        return None
