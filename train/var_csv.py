"""A user's own forecasts and P&L from a CSV, with every bad line reported at once."""

from __future__ import annotations

import csv
import datetime
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

_REQUIRED, _OPTIONAL = ("date", "pnl", "var"), ("es",)
_UNKNOWN = ("", "nan", "na", "n/a")
# ES is a mean of what VaR is a quantile of; rounding may lift it above VaR by this much of VaR.
_ROUNDING = 1e-9


class PnlFileError(ValueError):
    """A file was refused; the message names each bad line, the value and what is allowed."""


@dataclass(frozen=True, eq=False)
class PnlHistory:
    """P&L and the forecasts made for it, in the file's own currency unit.

    Attributes:
        dates: (T,) datetime64[D], increasing.
        pnl: (T,) losses negative; NaN = Unknown.
        var: (T,) <= 0, forecast before the day.
        es: (T,) <= VaR, or None where the file has none.
    """

    dates: NDArray[np.datetime64]
    pnl: FloatArray
    var: FloatArray
    es: FloatArray | None


def read_pnl(path: Path) -> PnlHistory:
    """Read a CSV with the columns date, pnl, var and, if there is one, es, in any order.

    Dates are YYYY-MM-DD and increase. Losses are negative, and so are VaR and ES. An empty cell,
    "nan" or "n/a" is Unknown: such a day is counted and not tested.

    Raises:
        PnlFileError: a column is missing, unknown or written twice, or a line is not valid.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "pnl.csv"
        >>> _ = path.write_text('''date,pnl,var
        ... 2024-01-02,-120.5,-300
        ... 2024-01-03,,-310
        ... ''')
        >>> read_pnl(path).pnl.tolist()
        [-120.5, nan]
        >>> _ = path.write_text('''date,pnl,var
        ... 2024-01-02,-120.5,300
        ... 2024-01-02,abc,-310
        ... ''')
        >>> read_pnl(path)   # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        riskenv.train.var_csv.PnlFileError: ...pnl.csv: 2 bad lines:
          line 2: var: got 300.0; allowed: at most 0 (losses are negative), or empty for Unknown
          line 3: date: got 2024-01-02; ...; pnl: got 'abc'; allowed: a finite number, or empty ...
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = [name.strip().lower() for name in next(reader, [])]
            rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except (csv.Error, UnicodeDecodeError) as error:
        raise PnlFileError(f"{path}: cannot be read as CSV in UTF-8: {error}") from None
    _check_header(path, header)
    if not rows:
        raise PnlFileError(f"{path}: got no line after the header; allowed: a line a day")
    dates: list[datetime.date] = []
    columns: dict[str, list[float]] = {name: [] for name in header if name != "date"}
    bad: list[str] = []
    for line, row in rows:
        wrong: list[str] = []
        if len(row) != len(header):
            bad.append(f"line {line}: got {len(row)} cells; allowed: {len(header)}")
            continue
        cells = dict(zip(header, (cell.strip() for cell in row), strict=True))
        day = _date(cells["date"], dates[-1] if dates else None, wrong)
        if day is not None:
            dates.append(day)
        values = {name: _number(name, cells[name], wrong) for name in columns}
        _check_signs(values, wrong)
        for name, value in values.items():
            columns[name].append(value)
        if wrong:
            bad.append(f"line {line}: {'; '.join(wrong)}")
    if bad:
        count = f"{len(bad)} bad line{'s' if len(bad) > 1 else ''}"
        raise PnlFileError("\n  ".join([f"{path}: {count}:", *bad]))
    return PnlHistory(
        np.array(dates, dtype="datetime64[D]"),
        np.array(columns["pnl"]),
        np.array(columns["var"]),
        np.array(columns["es"]) if "es" in columns else None,
    )


def _check_header(path: Path, header: list[str]) -> None:
    missing = [name for name in _REQUIRED if name not in header]
    unknown = [name for name in header if name not in (*_REQUIRED, *_OPTIONAL)]
    if missing or unknown or len(set(header)) != len(header):
        raise PnlFileError(
            f"{path}: line 1: got the columns {', '.join(header) or '(none)'}; allowed: "
            f"{', '.join(_REQUIRED)}, and es if there is one, each once"
        )


def _date(text: str, previous: datetime.date | None, wrong: list[str]) -> datetime.date | None:
    try:
        day = datetime.date.fromisoformat(text)
    except ValueError:
        wrong.append(f"date: got {text!r}; allowed: YYYY-MM-DD")
        return None
    if previous is not None and not day > previous:
        wrong.append(f"date: got {day}; allowed: after {previous}, of the line before")
    return day


def _number(name: str, text: str, wrong: list[str]) -> float:
    if text.lower() in _UNKNOWN:
        return math.nan
    try:
        value = float(text)
    except ValueError:
        value = math.inf
    if not math.isfinite(value):
        wrong.append(f"{name}: got {text!r}; allowed: a finite number, or empty for Unknown")
        return math.nan
    return value


def _check_signs(values: dict[str, float], wrong: list[str]) -> None:
    wrong.extend(
        f"{name}: got {value}; allowed: at most 0 (losses are negative), or empty for Unknown"
        for name, value in values.items()
        if name != "pnl" and value > 0.0
    )
    if values.get("es", math.nan) > values["var"] * (1.0 - _ROUNDING) and values["es"] <= 0.0:
        wrong.append(f"es: got {values['es']}; allowed: at most VaR of that day, {values['var']}")
