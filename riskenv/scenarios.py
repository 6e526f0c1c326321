"""Scenarios: joint moves of spot and volatility, and each instrument's P&L under every one.

Each contract's own implied volatility is multiplied by the change of its underlying's 30-day
volatility; with sticky moneyness it moves along the smile as well (`riskenv.smiles`). Time decays
to the same clock position `h` sessions on; a contract that expires by then is worth its intrinsic.
Prices are full revaluations; dividends and interest over the horizon are left out, and exchange
rates stay where they are.

How scenarios are drawn: `riskenv.scenario_set`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from riskenv.compilation import jit
from riskenv.dividends import equivalent_yield
from riskenv.exposures import pricing_columns
from riskenv.instruments import NS_PER_YEAR
from riskenv.market import Market
from riskenv.pricing.black_scholes import price_given_log_moneyness
from riskenv.pricing.elementary import exp, log
from riskenv.quote_quality import DIVIDENDS, FX, RATE, SPOT, VOL, YIELD

if TYPE_CHECKING:
    from riskenv.smiles import Smiles


class GapJump(NamedTuple):
    """A jump of some tickers, or of all (()), at once: log spot and log vol move, no decay."""

    symbols: tuple[str, ...]
    log_return: float
    log_vol_change: float


@dataclass(frozen=True, eq=False)
class ScenarioSet:
    """S scenarios for U underlyings, in blocks: one per horizon, then the gap jumps, and then, if
    there are any, two of stress scenarios per horizon: those at once, and those that take time.

    Attributes:
        underlyings: the U tickers. Where there is one more row of moves, it is that of any other.
        log_return: (U, S) spot move; NaN where nothing is known of a ticker.
        spot_factor: (U, S) exp(log_return).
        vol_factor: (U, S) factor on implied volatility.
        bounds: (B + 1,) first scenario of each block, then S.
        years: (B,) time that passes, in years.
        fraction: (S,) share of the P&L that counts; None = all of it, everywhere.
        stress: names of the stress scenarios, which come last.
        weights: weights of the scenarios of all horizons, adding up to 1 in each; none = equal.
        sticky_moneyness: whether volatility is read again at the moneyness after the move.
    """

    underlyings: tuple[str, ...]
    log_return: NDArray[np.float64]
    spot_factor: NDArray[np.float64]
    vol_factor: NDArray[np.float64]
    bounds: NDArray[np.int64]
    years: NDArray[np.float64]
    fraction: NDArray[np.float64] | None = None
    stress: tuple[str, ...] = ()
    weights: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    sticky_moneyness: bool = False

    @property
    def size(self) -> int:
        return int(self.bounds[-1])


@jit
def price_now(spot, strike, years, rate, carry, vol, sign):  # type: ignore[no-untyped-def]
    """What P&L is counted from: a European option's price before any move."""
    return price_given_log_moneyness(
        log(spot / strike) + carry * years,
        spot * exp((carry - rate) * years),
        strike * exp(-rate * years),
        vol * np.sqrt(years),
        sign,
    )


@jit
def option_block(  # type: ignore[no-untyped-def]
    spot, strike, years, rate, carry, vol, sign, cash, base, scale, move, factor, vols, out
):
    """P&L of one option over one block of scenarios with the same time to expiry left.

    `spot` is less the cash dividends, of value `cash`, that fall due before expiry: they are owed
    whatever the scenario, so a move is one of the two together.
    """
    if years <= 0.0:
        for s in range(out.size):
            moved = (spot + cash) * factor[s] - cash
            out[s] = scale * (max(sign * (moved - strike), 0.0) - base)
        return
    drift = log(spot / strike) + carry * years
    growth = exp((carry - rate) * years)
    strike_discounted = strike * exp(-rate * years)
    root_vol = vol * np.sqrt(years)
    if cash > 0.0:
        for s in range(out.size):
            # Below the dividends owed the share is worth nothing more; the log stays finite.
            moved = max((spot + cash) * factor[s] - cash, 1e-12 * spot)
            price = price_given_log_moneyness(
                log(moved / strike) + carry * years,
                moved * growth,
                strike_discounted,
                root_vol * vols[s],
                sign,
            )
            out[s] = scale * (price - base)
        return
    spot_discounted = spot * growth
    for s in range(out.size):
        price = price_given_log_moneyness(
            drift + move[s],
            spot_discounted * factor[s],
            strike_discounted,
            root_vol * vols[s],
            sign,
        )
        out[s] = scale * (price - base)


@jit
def _pnl(  # type: ignore[no-untyped-def]
    kind, american, priced, cash, scale, known, ticker, move, factor, vols, bounds, elapsed, out
):
    """out[i] = P&L of one contract of instrument i, for all that is not American."""
    for i in range(kind.size):
        if not known[i]:
            out[i, :] = np.nan
            continue
        u, m = ticker[i], scale[i]
        spot, strike, t, rate = priced[0, i], priced[1, i], priced[2, i], priced[3, i]
        carry, vol, sign = priced[4, i], priced[5, i], priced[6, i]
        if kind[i] == 0:
            for s in range(out.shape[1]):
                out[i, s] = m * spot * (factor[u, s] - 1.0)
            continue
        if american[i]:
            continue
        base = price_now(spot, strike, t, rate, carry, vol, sign)
        for b in range(elapsed.size):
            a, z = bounds[b], bounds[b + 1]
            option_block(
                spot, strike, t - elapsed[b], rate, carry, vol, sign, cash[i], base, m,
                move[u, a:z], factor[u, a:z], vols[u, a:z], out[i, a:z],
            )  # fmt: skip


@dataclass(frozen=True, slots=True)
class AmericanTerms:
    """What one American option is priced with.

    Cash dividends are owed whatever the scenario, so each has the yield that takes them off its own
    forward: a constant one would pay some of them out as time passes, and nobody would get them.

    Attributes:
        carry: cost of carry without the dividends.
        cash: value of the dividends that fall due before expiry, currency.
        scale: book currency per point of one contract.
    """

    spot: float
    strike: float
    years: float
    rate: float
    carry: float
    vol: float
    sign: float
    cash: float
    scale: float

    @classmethod
    def of(cls, market: Market, i: int, scale: float) -> AmericanTerms:
        """Of instrument i of a market."""
        table = market.table
        rate = float(market.columns[RATE, i])
        return cls(
            spot=float(market.tickers[SPOT, table.underlying_index[i]]),
            strike=float(table.strike[i]),
            years=float((table.expiry[i] - market.now) / NS_PER_YEAR),
            rate=rate,
            carry=0.0 if table.on_future[i] else rate - float(market.columns[YIELD, i]),
            vol=float(market.columns[VOL, i]),
            sign=float(table.kind[i]),
            cash=float(market.columns[DIVIDENDS, i]),
            scale=scale,
        )

    def carries(self, spot: NDArray[np.float64], years: float) -> NDArray[np.float64]:
        """(S,) cost of carry at each spot, the dividends counted as a yield."""
        if not (self.cash > 0.0 and years > 0.0):
            return np.full(len(spot), self.carry)
        # Below the dividends owed the share is worth next to nothing more, as of a European option.
        return self.carry - equivalent_yield(
            spot, np.minimum(self.cash, (1.0 - 1e-12) * spot), years
        )

    def prices(
        self, spot: NDArray[np.float64], vol: NDArray[np.float64], years: float
    ) -> NDArray[np.float64]:
        """(S,) prices per point, the early exercise of each solved for."""
        from riskenv.pricing.american import american_price  # machine code that few books need

        carries = self.carries(spot, years)
        return american_price(spot, self.strike, years, self.rate, carries, vol, self.sign > 0.0)


def american_full_pnl(terms: AmericanTerms, scenarios: ScenarioSet, u: int) -> NDArray[np.float64]:
    """(S,) P&L of one American option: its early exercise solved for in every scenario.

    The reference of `riskenv.scenario_grid.american_pnl`, at some twenty times its cost.

    Args:
        u: row of the option's ticker in the scenarios.
    """
    prices = np.empty(scenarios.size)
    for b, elapsed in enumerate(scenarios.years):
        block = slice(int(scenarios.bounds[b]), int(scenarios.bounds[b + 1]))
        moved = terms.spot * scenarios.spot_factor[u, block]
        vols = terms.vol * scenarios.vol_factor[u, block]
        if np.isnan(moved).all():
            prices[block] = np.nan  # nothing is known of its ticker's moves
            continue
        prices[block] = terms.prices(moved, vols, terms.years - float(elapsed))
    now = terms.prices(np.array([terms.spot]), np.array([terms.vol]), terms.years)
    return counted(terms.scale * (prices - now[0]), scenarios)


def counted(pnl: NDArray[np.float64], scenarios: ScenarioSet) -> NDArray[np.float64]:
    """(..., S) P&L of which only the share that counts is left, in place."""
    if scenarios.fraction is not None:
        pnl *= scenarios.fraction
    return pnl


def scenario_inputs(
    market: Market,
    scenarios: ScenarioSet,
    known: NDArray[np.bool_] | None,
    smiles: Smiles | None,
) -> tuple[
    ScenarioSet,
    NDArray[np.bool_],
    NDArray[np.int64],
    NDArray[np.float64],
    NDArray[np.float64],
    NDArray[np.float64],
]:
    """What each of n instruments is revalued with.

    Returns:
        The scenarios; (n,) whether it is known and its ticker has a row of moves; (n,) its row of
        moves in the scenarios; (n,) book currency per point of one contract; (7, n) as
        `pricing_columns` has them; (n,) value of its cash dividends.
    """
    table, n = market.table, len(market.table)
    columns = {ticker: u for u, ticker in enumerate(scenarios.underlyings)}
    others = len(scenarios.log_return) > len(columns)
    covered = np.array([others or ticker in columns for ticker in table.underlyings], dtype=bool)
    other = len(columns) if others else 0
    history_row = np.array([columns.get(t, other) for t in table.underlyings], dtype=np.int64)
    known = (market.unknown_code == 0 if known is None else known) & covered[table.underlying_index]
    ticker = history_row[table.underlying_index]
    scale = table.multiplier * market.tickers[FX][table.underlying_index]
    priced = np.empty((7, n))
    pricing_columns(
        table.whole, table.real, market.columns, market.tickers, market.now, 0, n, priced
    )
    if scenarios.sticky_moneyness:
        from riskenv.smiles import smiles_of, with_smiles  # which knows ScenarioSet

        smiles = smiles_of(market) if smiles is None else smiles
        scenarios, ticker = with_smiles(scenarios, ticker, smiles)
    return scenarios, known, ticker, scale, priced, market.columns[DIVIDENDS]


def pnl_matrix(
    market: Market,
    scenarios: ScenarioSet,
    known: NDArray[np.bool_] | None = None,
    out: NDArray[np.float64] | None = None,
    smiles: Smiles | None = None,
    *,
    full: bool = False,
    error_bound: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """(n, S) P&L of one contract of each instrument, by full revaluation, in the book's currency.

    Of American options the exercise boundary is interpolated between volatilities where that is as
    accurate as solving for it (2e-5 of spot): `riskenv.scenario_grid.american_pnl`.

    Args:
        full: solve for every boundary all the same.
        error_bound: (n,) filled with the largest difference from that, NaN where an instrument is
            Unknown.
        known: (n,) instruments that have exposures; None = all that the quotes make known.
        smiles: that the instruments lie on, where moneyness is sticky; None = those of `market`.
        out: (n, S) to write to and return; None = a new one, which for 1,000 x 500 cells may cost
            as much in fresh memory pages as in arithmetic.

    Rows of NaN: the instrument is Unknown, or nothing is known of its ticker's moves; parts of NaN:
    nothing is known of them in some scenarios, such as those of history.

    Raises:
        ValueError: `out` has another shape or type, or its rows are not contiguous.
    """
    table = market.table
    scenarios, known, ticker, scale, priced, cash = scenario_inputs(
        market, scenarios, known, smiles
    )
    shape = (len(table), scenarios.size)
    if out is None:
        out = np.empty(shape)
    elif out.shape != shape or out.dtype != np.float64 or not out.flags.c_contiguous:
        raise ValueError(
            f"out: got shape {out.shape} of {out.dtype}; allowed: {shape} of float64, contiguous"
        )
    _pnl(
        table.kind, table.american, priced, cash, scale, known, ticker,
        scenarios.log_return, scenarios.spot_factor, scenarios.vol_factor, scenarios.bounds,
        scenarios.years, out,
    )  # fmt: skip
    american = np.flatnonzero(table.american & known)
    out[american] = 0.0
    counted(out, scenarios)
    bound = np.where(known, 0.0, np.nan)
    if american.size:
        from riskenv.scenario_grid import american_pnl  # machine code that few books need

        for i in american:
            terms, u = AmericanTerms.of(market, int(i), float(scale[i])), int(ticker[i])
            if full:
                out[i] = american_full_pnl(terms, scenarios, u)
            else:
                out[i], bound[i], _ = american_pnl(terms, scenarios, u)
    if error_bound is not None:
        error_bound[:] = bound
    return out
