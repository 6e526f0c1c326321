"""Sticky moneyness: implied volatility read again at the moneyness that a move of spot leads to.

With relative shocks each contract keeps its own implied volatility but for the factor of the
scenario: its strike is what the smile sticks to. Here the smile sticks to ln(strike / spot)
instead, and a contract slides along it as spot moves (Derman 1999, "Regimes of volatility", names
both). The smile is the one that the market holds: the volatilities of one ticker's contracts of one
expiry, linear between strikes and flat beyond the last ones, of each strike that of the contract
out of the money.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from riskenv.compilation import inline, jit
from riskenv.market import Market
from riskenv.pricing.elementary import log
from riskenv.quote_quality import SPOT, VOL
from riskenv.scenarios import ScenarioSet

FloatArray = NDArray[np.float64]


class Smiles(NamedTuple):
    """The smile that each of n instruments lies on, of m nodes in all.

    Attributes:
        moneyness: (m,) ln(strike / spot), increasing along each smile; vol: (m,) there.
        first, last: (n,) range of an instrument's nodes; empty of shares, futures, and where no
            volatility is known.
        at: (n,) ln(strike / spot) of each instrument.
        key: (n,) a number that tells smiles apart, of 48 bits of a digest of the nodes.
    """

    moneyness: FloatArray
    vol: FloatArray
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    at: FloatArray
    key: FloatArray

    def of(self, rows: NDArray[np.bool_]) -> Smiles:
        """Of some of the instruments."""
        return self._replace(
            first=self.first[rows], last=self.last[rows], at=self.at[rows], key=self.key[rows]
        )


def smiles_of(market: Market) -> Smiles:
    """The smiles that a market holds.

    Example:
        >>> from riskenv import Instrument, InstrumentTable
        >>> table = InstrumentTable.of(
        ...     Instrument("A", right, k, 10**16) for right in "CP" for k in (90.0, 100.0, 110.0))
        >>> vol = np.array([0.31, 0.25, 0.2, 0.3, 0.26, 0.21])    # calls, then puts
        >>> market = Market(0, table, np.array([100.0]), 0.0, np.zeros(1), np.full(6, 11.0),
        ...                 np.full(6, 12.0), vol)
        >>> smiles_of(market).vol.tolist()
        [0.3, 0.25, 0.2]
    """
    table = market.table
    n, options = len(table), table.kind != 0
    spot = market.tickers[SPOT][table.underlying_index]
    at = np.full(n, np.nan)
    _logs(np.where(options, table.strike / np.where(options, spot, 1.0), 1.0), at)
    vol = market.columns[VOL]
    known = options & (market.unknown_code == 0) & (vol > 0.0)
    first, last = np.zeros((2, n), dtype=np.int64)
    key = np.zeros(n)
    nodes: list[tuple[float, float]] = []
    groups: dict[tuple[int, int], list[int]] = {}
    for i in np.flatnonzero(options).tolist():
        groups.setdefault((int(table.underlying_index[i]), int(table.expiry[i])), []).append(i)
    for members in groups.values():
        smile: dict[float, float] = {}
        for i in members:
            out_of_the_money = (at[i] >= 0.0) == (table.kind[i] > 0)
            if known[i] and (out_of_the_money or at[i] not in smile):
                smile[float(at[i])] = float(vol[i])
        found = sorted(smile.items())
        digest = hashlib.blake2b(np.array(found).tobytes(), digest_size=6).digest()
        first[members], last[members] = len(nodes), len(nodes) + len(found)
        key[members] = float(int.from_bytes(digest, "little"))
        nodes += found
    moneyness, vols = np.array(nodes, dtype=np.float64).reshape(-1, 2).T.copy()
    return Smiles(moneyness, vols, first, last, at, key)


def with_smiles(
    scenarios: ScenarioSet, ticker: NDArray[np.int64], smiles: Smiles
) -> tuple[ScenarioSet, NDArray[np.int64]]:
    """The scenarios with a row of moves for each instrument, whose volatility slides along its
    smile besides moving by the scenario's factor; and those rows.

    Args:
        ticker: (n,) row of each instrument's ticker in the scenarios.
    """
    vols = scenarios.vol_factor[ticker]
    moves = scenarios.log_return[ticker]
    _slide(*smiles[:5], moves, vols)
    return (
        replace(
            scenarios, log_return=moves, spot_factor=scenarios.spot_factor[ticker], vol_factor=vols
        ),
        np.arange(len(ticker), dtype=np.int64),
    )


@jit
def _logs(x, out):  # type: ignore[no-untyped-def]
    for i in range(x.size):
        out[i] = log(x[i])


@inline
def _read(moneyness, vol, first, last, x):  # type: ignore[no-untyped-def]
    if not x > moneyness[first]:
        return vol[first]
    for k in range(first + 1, last):
        if x <= moneyness[k]:
            share = (x - moneyness[k - 1]) / (moneyness[k] - moneyness[k - 1])
            return vol[k - 1] + share * (vol[k] - vol[k - 1])
    return vol[last - 1]


@jit
def _slide(moneyness, vol, first, last, at, moves, factors):  # type: ignore[no-untyped-def]
    """factors[i] times the volatility at the moneyness after the move over that before it."""
    for i in range(at.size):
        if first[i] == last[i]:
            continue
        now = _read(moneyness, vol, first[i], last[i], at[i])
        for s in range(moves.shape[1]):
            if moves[i, s] == moves[i, s]:  # of a NaN, the factor says it
                then = _read(moneyness, vol, first[i], last[i], at[i] - moves[i, s])
                factors[i, s] *= then / now
