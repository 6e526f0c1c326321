"""A record of decision inputs, and of nothing else: what a decision can be made again from.

No decision, Greek or VaR is in it. One zip of plain arrays (`.npz`), ragged columns with offsets.
"""

from __future__ import annotations

import json
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from riskenv.decision import Decision
from riskenv.instruments import Instrument, InstrumentTable
from riskenv.market import FEED, Market
from riskenv.order_checks import Order
from riskenv.portfolio import Portfolio
from riskenv.projection import Proposal
from riskenv.quote_quality import FX

FORMAT = 2

# What a proposal is sent as. Instrument, lots and strategy are those of the asked row.
_NO_ORDER, _MARKET_ORDER, _LIMIT_ORDER = range(3)

_FIELDS = tuple(Instrument.__dataclass_fields__)
_PER_STEP = (
    "episode", "now", "cash", "index_spot", "currency", "flow", "asked", "rows", "has_forced",
    "strategy", "order", "order_price", "order_name",
)  # fmt: skip
_OF_INSTRUMENT = ("rate", "dividend_yield", "dividends", "bid", "ask", "vol", "quote_time")
_PER_INSTRUMENT = ("instrument", "quantity", *_OF_INSTRUMENT)
_OF_UNDERLYING = ("spot", "beta", "beta_as_of", "spot_time")
_PER_UNDERLYING = (*_OF_UNDERLYING, "fx")
_PER_LEG = ("row", "column", "lots")
# Of no fixed length: a feed's Greeks, working orders, the tags of strategies and their positions.
_RAGGED = ("feed", "working", "tag", "tagged")
_COLUMNS = (*_PER_STEP, *_PER_INSTRUMENT, *_PER_UNDERLYING, *_RAGGED)
_LEGS = tuple(f"{kind}_{name}" for kind in ("trade", "forced") for name in _PER_LEG)
_SIZES = ("instruments", "underlyings", *_RAGGED, "trade", "forced")
_ARRAYS = {*_COLUMNS, *_LEGS, *(f"{name}_offset" for name in _SIZES)}

# What reading a damaged zip, array or header raises.
_DAMAGE = (
    OSError,
    EOFError,
    KeyError,
    SyntaxError,
    tokenize.TokenError,
    TypeError,
    ValueError,
    RuntimeError,
    NotImplementedError,
    zlib.error,
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
)


@dataclass(frozen=True, eq=False)
class Inputs:
    """The inputs of one decision. `episode` tells where the state starts afresh."""

    episode: int
    portfolio: Portfolio
    market: Market
    proposal: Proposal
    external_flow: float = 0.0


class InputRecorder:
    """Collects inputs in the order of their decisions; `save` writes them.

    Example:
        >>> recorder = InputRecorder()
        >>> recorder.begin_episode("short strangle, 2018")
        0
    """

    def __init__(self) -> None:
        self._episodes: list[str] = []
        self._instruments: dict[Instrument, int] = {}
        self._currencies: dict[str, int] = {}
        self._tags: dict[str, int] = {}
        self._columns: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
        self._legs: dict[str, list[Any]] = {name: [] for name in _LEGS}
        self._sizes: dict[str, list[int]] = {name: [] for name in _SIZES}

    def __len__(self) -> int:
        return len(self._columns["now"])

    def begin_episode(self, name: str) -> int:
        """Start an episode, whose state is fresh; returns its number."""
        self._episodes.append(name)
        return len(self._episodes) - 1

    def add(
        self, portfolio: Portfolio, market: Market, proposal: Proposal, external_flow: float = 0.0
    ) -> None:
        """Append one decision's inputs to the current episode.

        Raises:
            ValueError: no episode was begun.
        """
        if not self._episodes:
            raise ValueError("add: no episode; call begin_episode(name) first")
        table = market.table
        known = self._instruments
        order = proposal.order
        step = {
            "episode": len(self._episodes) - 1,
            "now": market.now,
            "cash": portfolio.cash,
            "index_spot": market.index_spot,
            "currency": self._currencies.setdefault(market.currency, len(self._currencies)),
            "flow": external_flow,
            "asked": proposal.asked,
            "rows": len(proposal.trades),
            "has_forced": proposal.forced is not None,
            "strategy": self._tag(proposal.strategy),
            "order": _NO_ORDER,
            "order_price": np.nan,
            "order_name": self._tag("" if order is None else order.client_id),
        }
        if order is not None:
            step["order"] = _MARKET_ORDER if order.limit_price is None else _LIMIT_ORDER
            step["order_price"] = np.nan if order.limit_price is None else order.limit_price
        for name, value in step.items():
            self._columns[name].append(value)
        self._columns["instrument"].append(
            np.array([known.setdefault(i, len(known)) for i in table.instruments], dtype=np.int64)
        )
        self._columns["quantity"].append(portfolio.quantity)
        for name in (*_OF_INSTRUMENT, *_OF_UNDERLYING):
            self._columns[name].append(getattr(market, name))
        self._columns["fx"].append(market.tickers[FX])
        parts = portfolio.strategies
        ragged = {
            "feed": market.feed,
            "working": np.zeros(0) if portfolio.working is None else portfolio.working,
            "tag": np.array([self._tag(tag) for tag in parts], dtype=np.int64),
            "tagged": np.array(list(parts.values()), dtype=np.float64),
        }
        for name, values in ragged.items():
            self._columns[name].append(values.ravel())
            self._sizes[name].append(values.size)
        self._sizes["instruments"].append(len(table))
        self._sizes["underlyings"].append(len(table.underlyings))
        self._add_legs("trade", proposal.trades)
        self._add_legs("forced", proposal.forced)

    def _tag(self, tag: str) -> int:
        return self._tags.setdefault(tag, len(self._tags))

    def _add_legs(self, kind: str, trades: NDArray[np.float64] | None) -> None:
        matrix = np.zeros((0, 0)) if trades is None else trades
        row, column = np.nonzero(matrix)
        self._sizes[kind].append(len(row))
        for name, values in zip(_PER_LEG, (row, column, matrix[row, column]), strict=True):
            self._legs[f"{kind}_{name}"].append(values)

    def save(self, path: str | Path) -> None:
        """Write the record."""
        instruments = [[getattr(i, field) for field in _FIELDS] for i in self._instruments]
        header = {
            "format": FORMAT,
            "episodes": self._episodes,
            "instruments": instruments,
            "currencies": list(self._currencies),
            "tags": list(self._tags),
        }
        arrays: dict[str, NDArray[Any]] = {
            "header": np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
        }
        for name in _PER_STEP:
            arrays[name] = np.array(self._columns[name])
        for name in (*_PER_INSTRUMENT, *_PER_UNDERLYING, *_RAGGED):
            arrays[name] = _joined(self._columns[name])
        for name, parts in self._legs.items():
            arrays[name] = _joined(parts)
        for name, sizes in self._sizes.items():
            arrays[f"{name}_offset"] = np.cumsum([0, *sizes])
        np.savez_compressed(path, **arrays)  # type: ignore[arg-type]


class Recording:
    """Inputs and decisions side by side, as a run makes them.

    Attributes:
        inputs: what is saved as the record.
        decisions: the bytes of each decision, in the same order.
    """

    def __init__(self) -> None:
        self.inputs = InputRecorder()
        self.decisions: list[bytes] = []

    def add(
        self,
        portfolio: Portfolio,
        market: Market,
        proposal: Proposal,
        decision: Decision,
        external_flow: float = 0.0,
    ) -> None:
        self.inputs.add(portfolio, market, proposal, external_flow)
        self.decisions.append(decision.to_bytes())


class InputRecord:
    """A record read back; iterate over it for the `Inputs` in order.

    Attributes:
        episodes: names.
        arrays: the columns; a copy with one number changed is how a perturbation is made.

    Raises:
        ValueError: not a record, or of another format.
    """

    def __init__(
        self,
        episodes: Sequence[str],
        instruments: Sequence[Instrument],
        currencies: Sequence[str],
        tags: Sequence[str],
        arrays: dict[str, NDArray[Any]],
    ) -> None:
        self.episodes = tuple(episodes)
        self.instruments = tuple(instruments)
        self.currencies = tuple(currencies)
        self.tags = tuple(tags)
        self.arrays = arrays
        self._tables: dict[bytes, InstrumentTable] = {}

    @classmethod
    def load(cls, path: str | Path) -> InputRecord:
        try:
            with np.load(path, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
            header = dict(json.loads(arrays.pop("header").tobytes()))
        except _DAMAGE as error:
            raise ValueError(f"{path}: not a readable record of inputs: {error}") from None
        if header.get("format") != FORMAT:
            raise ValueError(f"{path}: format: got {header.get('format')!r}; allowed: {FORMAT}")
        if set(arrays) != _ARRAYS:
            odd = ", ".join(sorted(_ARRAYS ^ set(arrays)))
            raise ValueError(f"{path}: arrays missing or not of a record: {odd}")
        instruments = [
            Instrument(**dict(zip(_FIELDS, row, strict=True))) for row in header["instruments"]
        ]
        return cls(header["episodes"], instruments, header["currencies"], header["tags"], arrays)

    def __len__(self) -> int:
        return len(self.arrays["now"])

    def __iter__(self) -> Iterator[Inputs]:
        return (self[step] for step in range(len(self)))

    def __getitem__(self, step: int) -> Inputs:
        a = self.arrays
        columns = self._slice("instruments", step)
        tickers = self._slice("underlyings", step)
        rows = a["instrument"][columns]
        table = self._tables.get(rows.tobytes())
        if table is None:
            table = InstrumentTable(tuple(self.instruments[row] for row in rows))
            self._tables[rows.tobytes()] = table
        columns_of: dict[str, Any] = {
            **{name: a[name][columns] for name in _OF_INSTRUMENT},
            **{name: a[name][tickers] for name in _OF_UNDERLYING},
        }
        market = Market(
            now=int(a["now"][step]),
            table=table,
            index_spot=float(a["index_spot"][step]),
            feed=a["feed"][self._slice("feed", step)].reshape(-1, len(FEED)),
            currency=self.currencies[a["currency"][step]],
            fx=dict(zip(table.currency, a["fx"][tickers].tolist(), strict=True)),
            **columns_of,
        )
        n = len(table)
        shape = (int(a["rows"][step]), n)
        orders = a["working"][self._slice("working", step)]
        tags = [self.tags[tag] for tag in a["tag"][self._slice("tag", step)]]
        parts = a["tagged"][self._slice("tagged", step)].reshape(len(tags), n)
        strategy = self.tags[a["strategy"][step]]
        trades, asked = self._matrix("trade", step, shape), int(a["asked"][step])
        order = None
        if a["order"][step] != _NO_ORDER:
            column = int(np.flatnonzero(trades[asked])[0])
            limit = a["order"][step] == _LIMIT_ORDER
            order = Order(
                table.instruments[column],
                float(trades[asked, column]),
                float(a["order_price"][step]) if limit else None,
                strategy,
                self.tags[a["order_name"][step]],
            )
        return Inputs(
            episode=int(a["episode"][step]),
            portfolio=Portfolio(
                table,
                a["quantity"][columns],
                float(a["cash"][step]),
                strategies=dict(zip(tags, parts, strict=True)),
                working=orders.reshape(-1, n) if orders.size else None,
            ),
            market=market,
            proposal=Proposal(
                trades,
                asked=asked,
                forced=self._matrix("forced", step, shape) if a["has_forced"][step] else None,
                strategy=strategy,
                order=order,
            ),
            external_flow=float(a["flow"][step]),
        )

    def _slice(self, name: str, step: int) -> slice:
        offset = self.arrays[f"{name}_offset"]
        return slice(int(offset[step]), int(offset[step + 1]))

    def _matrix(self, kind: str, step: int, shape: tuple[int, int]) -> NDArray[np.float64]:
        legs = self._slice(kind, step)
        matrix = np.zeros(shape)
        row, column = self.arrays[f"{kind}_row"][legs], self.arrays[f"{kind}_column"][legs]
        matrix[row, column] = self.arrays[f"{kind}_lots"][legs]
        return matrix


def _joined(parts: list[Any]) -> NDArray[Any]:
    return np.concatenate([np.asarray(part) for part in parts]) if parts else np.zeros(0)
