"""The two matrices of a tick: X (exposures) and P (scenario P&L), kept per instant and bounded."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from riskenv.exposures import exposures
from riskenv.instruments import Instrument, InstrumentTable
from riskenv.market import FEED, Market
from riskenv.measures import LINEAR
from riskenv.quote_quality import BETA, DIVIDENDS, FX, RATE, SPOT, VOL, YIELD
from riskenv.scenarios import ScenarioSet, pnl_matrix
from riskenv.smiles import Smiles, smiles_of

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RiskMatrices:
    """X and P with the row in them of each instrument of a market.

    Attributes:
        X: (R, 11) exposures of one contract; P: (R, S) its scenario P&L; error: (R,) how far any of
            the latter can be from full revaluation (`VarConfig.revaluation`).
        rows: (n,) row of each instrument of the market's table.
    """

    X: FloatArray
    P: FloatArray
    rows: NDArray[np.int64]
    error: FloatArray


class JumpsOfMarket(NamedTuple):
    """What the scenarios of an instant take from the market, besides its instant.

    Attributes:
        lacking: tickers that the history lacks, and so can only jump.
        implied: (2U, J) jumps that quotes imply, of the history's tickers and then of these; None
            = none.
    """

    lacking: tuple[str, ...] = ()
    implied: FloatArray | None = None


NO_JUMPS = JumpsOfMarket()


class _Tick:
    """Rows computed so far for one `now`, and what they were computed from."""

    def __init__(self, scenarios: ScenarioSet | None, capacity: int) -> None:
        self.scenarios = scenarios
        size = scenarios.size if scenarios is not None else 0
        self.sticky = scenarios is not None and scenarios.sticky_moneyness
        self.row_of: dict[Instrument, int] = {}
        # Rows of the table asked for last, while no row moves.
        self.last: tuple[InstrumentTable, NDArray[np.int64]] | None = None
        # The market of which a part was asked for last.
        self.whole: tuple[Market, RiskMatrices] | None = None
        self.used = 0
        self.inputs = np.empty((capacity, INPUTS))
        self.X = np.empty((capacity, len(LINEAR)))
        self.P = np.empty((capacity, size))
        self.error = np.full(capacity, np.nan)

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in (self.inputs, self.X, self.P, self.error))

    def move(self, spare: int) -> None:
        """Move to new arrays the rows that can still be served, with room for `spare` more."""
        live = np.array(list(self.row_of.values()), dtype=np.int64)
        for name in ("inputs", "X", "P", "error"):
            old = getattr(self, name)
            new = np.empty((len(live) + spare, *old.shape[1:]))
            new[: len(live)] = old[live]
            setattr(self, name, new)
        self.row_of = {instrument: row for row, instrument in enumerate(self.row_of)}
        self.used = len(live)


class MatrixCache:
    """Rows of X and P by instant and instrument, least recently used instants dropped first.

    A row is served again only if every number it was computed from is the same to the bit, so
    the cache changes speed and never a decision. A replayed day costs its matrices once, whatever
    the books held on it; an instrument seen for the first time on a cached day costs one row.

    One cache serves markets of one `QuoteRules`.

    Args:
        scenarios_at: the scenarios of an instant and the market's own jumps, or None where there
            is no history.
        max_bytes: memory bound over all instants kept.
        revaluation: as of `VarConfig`.
    """

    def __init__(
        self,
        scenarios_at: Callable[[int, JumpsOfMarket], ScenarioSet | None],
        max_bytes: int = 1 << 30,
        revaluation: str = "mixed",
    ) -> None:
        self._revaluation = revaluation
        self._scenarios_at = scenarios_at
        self._max_bytes = max_bytes
        self._ticks: OrderedDict[tuple[int, tuple[str, ...], bytes], _Tick] = OrderedDict()
        self._bytes = 0

    def scenarios(self, now: int, jumps: JumpsOfMarket = NO_JUMPS) -> ScenarioSet | None:
        return self._tick(now, jumps, 0).scenarios

    def matrices(self, market: Market, jumps: JumpsOfMarket = NO_JUMPS) -> RiskMatrices:
        """X and P of every instrument of `market`.

        Args:
            jumps: of it.
        """
        sticky = self._tick(market.now, jumps, len(market.table)).sticky
        # A part has a smile of its own, of the contracts that are in it: the gate knows no other.
        if market.whole is not None and not sticky:
            # The whole cannot be written to any more, so that it need not be compared again.
            whole, part = market.whole
            tick = self._tick(market.now, jumps, len(whole.table))
            if tick.whole is None or tick.whole[0] is not whole:
                tick.whole = whole, self.matrices(whole, jumps)
            of = tick.whole[1]
            return RiskMatrices(of.X, of.P, of.rows.take(part), of.error)
        tick = self._tick(market.now, jumps, len(market.table))
        smiles = smiles_of(market) if sticky else None
        inputs = _inputs(market, smiles)
        rows, missing = self._known_rows(tick, market.table, inputs)
        if missing.any():
            self._add(tick, market, inputs, rows, missing, smiles)
        return RiskMatrices(tick.X, tick.P, rows, tick.error)

    def _tick(self, now: int, jumps: JumpsOfMarket, capacity: int) -> _Tick:
        # Other jumps make other scenarios of the same instant.
        lacking, implied = jumps
        key = now, lacking, b"" if implied is None else implied.tobytes()
        tick = self._ticks.get(key)
        if tick is None:
            # Room for what is listed now and some positions that other books hold besides.
            tick = _Tick(self._scenarios_at(now, jumps), capacity + 16)
            self._ticks[key] = tick
            self._bytes += tick.nbytes
            self._drop_oldest()
        else:
            self._ticks.move_to_end(key)
        return tick

    def _drop_oldest(self) -> None:
        while self._bytes > self._max_bytes and len(self._ticks) > 1:
            self._bytes -= self._ticks.popitem(last=False)[1].nbytes

    @staticmethod
    def _known_rows(
        tick: _Tick, table: InstrumentTable, inputs: FloatArray
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        row_of = tick.row_of
        if tick.last is None or tick.last[0] is not table:
            found = [row_of.get(i, -1) for i in table.instruments]
            tick.last = table, np.array(found, dtype=np.int64)
        rows = tick.last[1].copy()
        # -1 reads the last row, whose comparison is then overruled.
        same = np.zeros(len(rows), dtype=bool)
        if row_of:
            held = tick.inputs[: tick.used][rows]
            same = ((held == inputs) | (np.isnan(held) & np.isnan(inputs))).all(axis=1)
        return rows, ~same | (rows < 0)

    def _add(
        self,
        tick: _Tick,
        market: Market,
        inputs: FloatArray,
        rows: NDArray[np.int64],
        missing: NDArray[np.bool_],
        smiles: Smiles | None,
    ) -> None:
        part = _select(market, missing)
        tick.last = None
        for instrument in part.table.instruments:
            tick.row_of.pop(instrument, None)  # computed from other numbers: never served again
        if tick.used + len(part.table) > len(tick.X):
            self._bytes -= tick.nbytes
            tick.move(max(len(part.table), 8 + tick.used // 4))
            self._bytes += tick.nbytes
            self._drop_oldest()
            known = np.flatnonzero(~missing)
            rows[known] = [tick.row_of[market.table.instruments[row]] for row in known]
        # Always new rows: an assessment handed out before still reads the old ones.
        target = np.arange(tick.used, tick.used + len(part.table), dtype=np.int64)
        tick.used += len(part.table)
        tick.row_of.update(zip(part.table.instruments, target.tolist(), strict=True))
        rows[missing] = target
        tick.inputs[target] = inputs[missing]
        rows_of_part = exposures(part)
        tick.X[target] = rows_of_part.X
        if tick.scenarios is not None:
            tick.P[target], tick.error[target] = self._revalued(
                part, tick.scenarios, rows_of_part.code == 0,
                None if smiles is None else smiles.of(missing),
            )  # fmt: skip

    def _revalued(
        self,
        market: Market,
        scenarios: ScenarioSet,
        known: NDArray[np.bool_],
        smiles: Smiles | None,
    ) -> tuple[FloatArray, FloatArray]:
        """(n, S) P&L, and (n,) how far it can be from full revaluation."""
        if self._revaluation == "fast":
            from riskenv.scenario_grid import fast_pnl_matrix  # machine code that few need

            fast = fast_pnl_matrix(market, scenarios, known, smiles=smiles)
            return fast.matrix, fast.error_bound
        full, error = self._revaluation == "full", np.empty(len(market.table))
        return (
            pnl_matrix(market, scenarios, known, smiles=smiles, full=full, error_bound=error),
            error,
        )


# Numbers that a row depends on beyond the contract and the instant.
INPUTS = 10 + len(FEED)


def _inputs(market: Market, smiles: Smiles | None) -> FloatArray:
    """(n, 15) those numbers; NaN where there is none."""
    n, ticker = len(market.table), market.table.underlying_index
    inputs = np.full((n, INPUTS), np.nan)
    inputs[:, 0] = market.columns[RATE]
    inputs[:, 1] = market.columns[YIELD]
    inputs[:, 2] = market.columns[DIVIDENDS]
    inputs[:, 3] = np.where(market.table.kind == 0, 0.0, market.columns[VOL])
    inputs[:, 4] = market.tickers[SPOT][ticker]
    inputs[:, 5] = market.tickers[BETA][ticker]
    inputs[:, 6] = market.tickers[FX][ticker]
    inputs[:, 7] = market.index_spot
    inputs[:, 8] = market.unknown_code
    if smiles is not None:
        inputs[:, 9] = smiles.key
    if len(market.feed):
        inputs[:, 10:] = market.feed
    return inputs


def _select(market: Market, mask: NDArray[np.bool_]) -> Market:
    """The market of some of the instruments; a subset in order stays in canonical order."""
    table = market.table
    part = InstrumentTable(tuple(table.instruments[row] for row in np.flatnonzero(mask)))
    u = [table.underlyings.index(ticker) for ticker in part.underlyings]
    by_instrument = ("rate", "dividend_yield", "dividends", "bid", "ask", "vol", "quote_time")
    by_ticker = ("spot", "beta", "spot_time", "beta_as_of")
    return replace(
        market,
        table=part,
        feed=market.feed[mask] if len(market.feed) else market.feed,
        **{name: getattr(market, name)[mask] for name in by_instrument},
        **{name: getattr(market, name)[u] for name in by_ticker},
    )
