"""The account of the options env: positions and cash at a close, and the move to the next one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from riskenv.train.contract_keys import expiry_of, sign_of, strike_of, underlying_of
from riskenv.train.listing import (
    COST,
    VALUE,
    DaySheet,
    Listing,
    requirement,
)

from riskenv.instruments import Instrument, InstrumentTable
from riskenv.market import Market

DUST = 1e-9  # a position below this many contracts is a rounding residue of fractional lots

Positions = tuple[NDArray[np.int64], NDArray[np.float64]]  # keys, signed contracts
NOTHING: Positions = (np.empty(0, dtype=np.int64), np.empty(0))


@dataclass(frozen=True)
class TradeReport:
    """What one step did to the book; every mapping is contract -> signed contracts.

    Attributes:
        now: the close at which the trades filled, int64 nanoseconds UTC.
        before: held before the trades.
        fills: traded, as the action asked.
        after_trade: held right after, at the market of the decision.
        settled: held to its settlement at the next close, and gone.
        liquidated: traded by the broker at the next close, on a margin call.
        costs: half-spreads and commissions of both, in currency.
    """

    now: int
    before: Mapping[Instrument, float]
    fills: Mapping[Instrument, float]
    after_trade: Mapping[Instrument, float]
    settled: Mapping[Instrument, float]
    liquidated: Mapping[Instrument, float]
    costs: float


class Book:
    """Cash and signed contracts in the columns of one close: its listed contracts, and the held.

    Attributes:
        day: index of the session whose close it is.
        keys: (n,) contracts, sorted; the order of `table`.
        quotes: (QUOTE_ROWS, n).
        quantity: (n,) signed contracts.
        cash, equity, requirement: currency; equity is cash and positions at mid, requirement the
            margin the broker asks for.
        listed_rows: where the listed contracts of the day's sheet are in `keys`.
        slot_rows: (U * 12,) column of the contract in each slot.
        underlying_rows: (U,) column of each underlying, the first of its ticker.
    """

    def __init__(self, listing: Listing, day: int, cash: float) -> None:
        self._listing = listing
        self._market: Market | None = None
        self.cash = cash
        self.day: int
        self.sheet: DaySheet
        self.keys: NDArray[np.int64]
        self.quotes: NDArray[np.float64]
        self.quantity: NDArray[np.float64]
        self.listed_rows: Any  # rows, or a slice where nothing but the listed is held
        self.slot_rows: NDArray[np.int64]
        self.underlying_rows: NDArray[np.int64]
        self.equity: float
        self.requirement: float
        self._lay_out(day, *NOTHING)

    def table(self) -> InstrumentTable:
        """The contracts in the order of `keys`."""
        return self.market().table

    def market(self) -> Market:
        """What they are quoted at."""
        if self._market is None:
            sheet = self.sheet
            listed = len(self.keys) == len(sheet.keys)
            self._market = sheet.market if listed else sheet.market_with(self.keys)
        return self._market

    def positions(self) -> dict[Instrument, float]:
        """What is held, by contract."""
        return self.named(self.keys, self.quantity)

    def block(self, u: int) -> slice:
        """The columns of one ticker: keys sort by ticker, the underlying first."""
        rows = self.underlying_rows
        return slice(int(rows[u]), int(rows[u + 1]) if u + 1 < len(rows) else len(self.keys))

    def trade(self, trades: NDArray[np.float64], whole_lots: bool) -> float:
        """Fill trades at this close: buys at ask, sells at bid, plus commission.

        Returns:
            The costs in currency. `equity` and `requirement` are those of before until the book
            is marked again, at the next close.
        """
        quantity = self.quantity + trades
        if not whole_lots:
            quantity[np.abs(quantity) < DUST] = 0.0
        costs = float((np.abs(trades) * self.quotes[COST]).sum())
        self.cash -= float((trades * self.quotes[VALUE]).sum()) + costs
        self.quantity = quantity
        return costs

    def advance(self) -> Positions:
        """Move to the next close: interest, dividends, settlement, new marks.

        Negative cash pays the same rate that positive cash earns.

        Returns:
            What settled: the options that expired at that close, held to the end.
        """
        listing, day = self._listing, self.day
        self.cash *= float(listing.growth[day])
        shares = self.quantity[self.underlying_rows]
        self.cash += float((shares * listing.spot[day] * listing.payout[day]).sum())
        held = np.flatnonzero(self.quantity)
        keys, contracts, settled = self._settle(day + 1, self.keys[held], self.quantity[held])
        self._lay_out(day + 1, keys, contracts)
        return settled

    def liquidate(self) -> tuple[Positions, float]:
        """Close every position at this close's bid and ask; the trades, and their costs."""
        held = np.flatnonzero(self.quantity)
        keys, trades = self.keys[held], 0.0 - self.quantity[held]
        costs = float((np.abs(trades) * self.quotes[COST, held]).sum())
        self.cash -= float((trades * self.quotes[VALUE, held]).sum()) + costs
        self._lay_out(self.day, *NOTHING)
        return (keys, trades), costs

    def named(
        self, keys: NDArray[np.int64], contracts: NDArray[np.float64]
    ) -> dict[Instrument, float]:
        """Keys and contracts as a mapping, without the zeros."""
        rows = np.flatnonzero(contracts)
        pairs = zip(keys[rows].tolist(), contracts[rows].tolist(), strict=True)
        return {self._listing.instrument(key): lots for key, lots in pairs}

    def _lay_out(self, day: int, held: NDArray[np.int64], contracts: NDArray[np.float64]) -> None:
        """Set the columns for a day, put the positions into them, and mark them."""
        sheet = self._listing.sheet(day)
        listed = sheet.keys
        place = np.minimum(np.searchsorted(listed, held), len(listed) - 1)
        extra = held[listed[place] != held]
        self.day, self.sheet = day, sheet
        self._market = None
        if len(extra) == 0:
            self.keys, self.quotes = listed, sheet.quotes
            self.listed_rows = slice(None)
            self.slot_rows, self.underlying_rows = sheet.slot_rows, sheet.underlying_rows
        else:
            keys = np.concatenate((listed, extra))
            order = np.argsort(keys)
            self.keys = keys = keys[order]
            quotes = np.concatenate((sheet.quotes, sheet.extra_quotes(extra)), axis=1)
            self.quotes = quotes[:, order]
            self.listed_rows = np.searchsorted(keys, listed)
            self.slot_rows = self.listed_rows[sheet.slot_rows]
            self.underlying_rows = self.listed_rows[sheet.underlying_rows]
            place = np.searchsorted(keys, held)
        self.quantity = np.zeros(len(self.keys))
        self.quantity[place] = contracts
        self.equity = self.cash + float((self.quantity * self.quotes[VALUE]).sum())
        self.requirement = requirement(self.quotes, self.quantity)

    def _settle(
        self, day: int, keys: NDArray[np.int64], contracts: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], Positions]:
        """Pay the intrinsic of options that expire at this close into cash."""
        sign = sign_of(keys)
        listing = self._listing
        due = (sign != 0.0) & (listing.expiries[expiry_of(keys)] <= listing.closes[day])
        if not due.any():
            return keys, contracts, NOTHING
        gone, lots = keys[due], contracts[due]
        spot = listing.spot[day][underlying_of(gone)]
        intrinsic = np.maximum(sign[due] * (spot - strike_of(gone)), 0.0)
        self.cash += float((lots * intrinsic).sum()) * listing.config.multiplier
        return keys[~due], contracts[~due], (gone, lots)
