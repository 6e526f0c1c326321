"""What a broker asks per contract: a rule simple enough to be re-checked, and on the safe side."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from riskenv.config import Config


class MarginRule(Config):
    """Margin of one contract held alone: nothing nets against anything.

    A short option asks for its price and short_option of the spot less what it is out of the
    money, and at least short_option_least of the spot (a call) or the strike (a put). A long
    option is paid in full and asks nothing more.

    The defaults are the minimum margins of Cboe Rule 10.3 and Regulation T for equities (20 %,
    10 %, 50 %; a broad index asks 15 %); a future's is its exchange's, here a tenth.

    Attributes:
        short_option, short_option_least: shares of the spot, or of the strike.
        shares: share of the value of shares, long or short.
        futures: share of the notional value of a future, long or short.
    """

    short_option: float = Field(default=0.20, ge=0.0, le=1.0)
    short_option_least: float = Field(default=0.10, ge=0.0, le=1.0)
    shares: float = Field(default=0.50, ge=0.0, le=1.0)
    futures: float = Field(default=0.10, ge=0.0, le=1.0)

    def shares_asked(self) -> NDArray[np.float64]:
        """(4,) of an option, of one at least, of shares, of futures, for compiled loops."""
        return np.array([self.short_option, self.short_option_least, self.shares, self.futures])
