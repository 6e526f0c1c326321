"""The market of the VaR study: real closes, and volatility from VIX alone.

Volatility built by a model of returns, and judged by scenarios of the same model, would be a
circle. So the level is VIX of the day, and only its ratio to another index's level rests on
returns. A day without VIX has no volatility: nothing is carried forward.
"""

from __future__ import annotations

import csv
import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from riskenv.data.calendars import exchange_sessions, monthly_expiries, session_dates
from riskenv.data.market_history import MarketHistory
from riskenv.data.price_history import PriceHistory
from riskenv.data.volatility import log_returns
from riskenv.train.var_config import VarStudyConfig

_DATE_KEYS, _VALUE_KEYS = ("date", "observation_date"), ("close", "vixcls", "vix")


class VixFileError(ValueError):
    """A VIX file was refused; the message names file, line, value and what is allowed."""


def read_vix(path: Path) -> dict[datetime.date, float]:
    """Closes of VIX from a CSV as Cboe, FRED and others write it.

    Args:
        path: columns "date" (YYYY-MM-DD or MM/DD/YYYY) and "close" or "VIXCLS", in any case and
            among any others. An empty cell or "." is a day without a value.

    Raises:
        VixFileError: a column is missing, or a line does not read.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "vix.csv"
        >>> _ = path.write_text("DATE,CLOSE\\n10/24/2008,79.13\\n2008-10-27,.\\n")
        >>> read_vix(path)
        {datetime.date(2008, 10, 24): 79.13}
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file)
        header = [name.strip().lower() for name in next(reader, [])]
        columns = [
            next((header.index(name) for name in names if name in header), None)
            for names in (_DATE_KEYS, _VALUE_KEYS)
        ]
        day_at, value_at = columns
        if day_at is None or value_at is None:
            raise VixFileError(
                f"{path}: line 1: got the columns {', '.join(header) or '(none)'}; allowed: with "
                f"date and one of {', '.join(_VALUE_KEYS)}"
            )
        found: dict[datetime.date, float] = {}
        for row in reader:
            if not row:
                continue
            where = f"{path}: line {reader.line_num}"
            if len(row) <= max(day_at, value_at):
                raise VixFileError(f"{where}: got {len(row)} cells; allowed: {len(header)}")
            day, text = _date(row[day_at].strip(), where), row[value_at].strip()
            if day in found:
                raise VixFileError(f"{where}: got {day} a second time; allowed: once")
            if text in ("", "."):
                continue
            try:
                value = float(text)
            except ValueError:
                value = float("nan")
            if not 0.0 < value < 1000.0:
                raise VixFileError(f"{where}: close: got {text!r}; allowed: vol points above 0")
            found[day] = value
    return found


def _date(text: str, where: str) -> datetime.date:
    for form in ("%Y-%m-%d", "%m/%d/%Y"):
        try:
            return datetime.datetime.strptime(text, form).date()
        except ValueError:
            continue
    raise VixFileError(f"{where}: date: got {text!r}; allowed: YYYY-MM-DD or MM/DD/YYYY")


def until(prices: PriceHistory, last: datetime.date) -> PriceHistory:
    """The history as it stood at the close of `last`: what comes later is not there to be seen."""
    days = int(np.searchsorted(session_dates(prices.sessions), np.datetime64(last), side="right"))
    return prices.first(days)


def with_vix(prices: PriceHistory, vix: dict[datetime.date, float]) -> PriceHistory:
    """The same closes with VIX of a file, and NaN on the days that it lacks."""
    dates = session_dates(prices.sessions).tolist()
    known = np.array([vix.get(day, np.nan) for day in dates])
    return PriceHistory(prices.underlyings, prices.sessions, prices.close, known)


def study_market(prices: PriceHistory, config: VarStudyConfig) -> MarketHistory:
    """Spots and surfaces at each close; later days never change earlier ones.

    At-the-money 30-day volatility is `vix_to_atm * VIX / 100`, of every other index that times the
    ratio of exponentially weighted volatilities of returns up to and including the day.

    Raises:
        ValueError: no SPX, which VIX is of, or an index without a yield or a strike step.
    """
    if "SPX" not in prices.underlyings:
        raise ValueError(f"prices: got {', '.join(prices.underlyings)}; allowed: with SPX")
    for name, given in (
        ("market.dividend_yield", config.market.dividend_yield),
        ("strike_step", config.strike_step),
    ):
        missing = sorted(set(prices.underlyings) - set(given))
        if missing:
            raise ValueError(f"{name}: got {sorted(given)}; missing: {', '.join(missing)}")
    realised = _trailing_vol(log_returns(prices.close), config)
    ratio = realised / realised[:, [prices.underlyings.index("SPX")]]
    ratio[:, prices.underlyings.index("SPX")] = 1.0
    vol = config.market.vix_to_atm * prices.vix[:, None] / 100.0 * ratio
    known = np.isfinite(vol)
    # cumsum adds from the first day on, so that later days cannot change a bit of earlier ones.
    squares = np.cumsum(np.where(known, vol, 0.0) ** 2, axis=0)
    with np.errstate(invalid="ignore"):
        long_run = np.sqrt(squares / np.cumsum(known, axis=0))
    dates = session_dates(prices.sessions)
    last_year = int(str(dates[-1].astype("datetime64[Y]")))
    future = exchange_sessions(str(dates[0]), f"{last_year + config.market.future_years}-12-31")
    yields = [config.market.dividend_yield[name] for name in prices.underlyings]
    first = int(np.searchsorted(dates, np.datetime64(config.first_forecast)))
    return MarketHistory(
        underlyings=prices.underlyings,
        sessions=prices.sessions,
        future_sessions=future,
        expiries=monthly_expiries(future),
        spot=prices.close,
        vol_30d=vol,
        long_run_vol=long_run,
        from_vix=np.asarray(known.all(axis=1)),
        rate=config.market.rate,
        dividend_yield=np.array(yields),
        first_tradable=first,
        config=config.market,
    )


def _trailing_vol(log_return: NDArray[np.float64], config: VarStudyConfig) -> NDArray[np.float64]:
    """(D, U) exponentially weighted volatility per session; NaN in the warm-up."""
    out = np.full(log_return.shape, np.nan)
    start = config.ratio_warm_up
    if len(log_return) <= start:
        return out
    variance = (log_return[1 : start + 1] ** 2).mean(axis=0)
    out[start] = np.sqrt(variance)
    for day in range(start + 1, len(log_return)):
        variance = config.ratio_decay * variance + (1 - config.ratio_decay) * log_return[day] ** 2
        out[day] = np.sqrt(variance)
    return out
