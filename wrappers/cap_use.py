"""How far each cap is used, as a vector of fixed length and order: what agents and trainers see."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from riskenv.assessment import Assessment
from riskenv.limits import RiskLimits
from riskenv.measures import ACCOUNT, MEASURES

FloatArray = NDArray[np.float64]


class CapUse:
    """The shares of the caps in use.

    A cap on the whole book has an entry of its own; those within scopes (tickers, expiries,
    strategies), whose number depends on the market, have one together, and so have those on the
    account's losses: the share of whichever is used most.

    Args:
        limits: the limits.

    Example:
        >>> from riskenv.limits import Caps, ScopeCaps
        >>> each = {"*": ScopeCaps(vega=100.0)}
        >>> limits = RiskLimits(caps=Caps(delta=500.0, day_loss=1e4), by_underlying=each)
        >>> CapUse(limits).names
        ('delta', 'scoped', 'account')
    """

    def __init__(self, limits: RiskLimits) -> None:
        self._limits = limits
        self._whole = np.flatnonzero(limits.capped())
        self._scoped = bool(limits.by_underlying or limits.by_expiry or limits.by_strategy)
        self._account = any(
            getattr(caps, name) is not None
            for caps in (limits.caps, limits.of_equity)
            for name in ACCOUNT
        )
        self.names: tuple[str, ...] = (
            *(MEASURES[j] for j in self._whole),
            *(("scoped",) if self._scoped else ()),
            *(("account",) if self._account else ()),
        )

    def of(self, a: Assessment) -> FloatArray:
        """(C,) shares >= 0 of the book as it stands; NaN = Unknown. The caller's to keep."""
        out = np.empty(len(self.names))
        count = len(self._whole)
        out[:count] = a.used[self._whole]
        if self._scoped:
            out[count] = a.used[len(MEASURES) :].max(initial=0.0)
        if self._account:
            out[-1] = self._limits.account_used(a.day_loss, a.drawdown, a.equity)
        return out
