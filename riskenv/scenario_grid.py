"""Scenario P&L by cheaper routes than full revaluation, with a bound on what they miss.

European options: the same closed form in single precision. A vector register holds twice as many
numbers, the rational function for the normal tail needs a third of the coefficients, and no
condition of the market (near expiry, at the strike, far in the wings) makes the error grow: the
singles are only the two probabilities, and the money is added up in doubles.

American options: an exercise boundary does not depend on the spot. It is solved for at a few
volatilities (and dividend yields, where cash dividends make these move with the spot) and its
logarithm interpolated; Kim's premium integral is then taken for all scenarios at once. The result
is compared with `riskenv.pricing.american` where the interpolation is worst, next to exercise, and
where it is not close enough the full solution takes its place.

What a route cannot promise goes back to full revaluation, and the caller is told.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from riskenv.compilation import inline, jit
from riskenv.market import Market
from riskenv.pricing.american_kernel import COARSE, NEGLIGIBLE, SMALLEST_TOTAL_VOL
from riskenv.pricing.black_scholes import price_given_log_moneyness, two_mills_ratios
from riskenv.pricing.elementary import exp, exp_within_700, log, normal_pdf_within_40
from riskenv.pricing.exercise_boundary import (
    CLIP,
    Put,
    log_boundary_at_expiry,
    solve_boundary,
    workspace,
)
from riskenv.pricing.exercise_premium import CLOSE
from riskenv.pricing.quadrature import collocation, gauss_legendre
from riskenv.scenarios import (
    AmericanTerms,
    ScenarioSet,
    counted,
    option_block,
    price_now,
    scenario_inputs,
)

if TYPE_CHECKING:
    from riskenv.smiles import Smiles

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class FastPnl:
    """Scenario P&L of one contract of each instrument, and how far from `pnl_matrix` it can be.

    Attributes:
        matrix: (n, S) P&L in the book's currency, as `riskenv.scenarios.pnl_matrix` has it.
        error_bound: (n,) largest difference from there in any scenario, same currency; NaN where
            the instrument is Unknown.
        fell_back: (n,) whether some scenarios were fully revalued because the bound was above the
            tolerance.
    """

    matrix: FloatArray
    error_bound: FloatArray
    fell_back: NDArray[np.bool_]


def fast_pnl_matrix(
    market: Market,
    scenarios: ScenarioSet,
    known: NDArray[np.bool_] | None = None,
    tolerance: float = 2e-6,
    smiles: Smiles | None = None,
) -> FastPnl:
    """What `riskenv.scenarios.pnl_matrix` computes, in less than half the time.

    A book's P&L, and so its VaR and expected shortfall, are off by at most the sum of |lots| times
    `error_bound`, which is at most tolerance times its gross notional.

    Args:
        known: (n,) instruments that have exposures; None = all that the quotes make known.
        tolerance: largest error of an instrument, relative to spot.
        smiles: as of `riskenv.scenarios.pnl_matrix`.

    Raises:
        ValueError: a tolerance that is not above 0.

    Example:
        >>> from riskenv import Instrument, InstrumentTable
        >>> table = InstrumentTable.of([Instrument("A"), Instrument("A", "P", 90.0, 10**16)])
        >>> market = Market(0, table, np.array([100.0]), 0.02, np.zeros(1), np.array([99.0, 1.0]),
        ...                 np.array([101.0, 2.0]), np.array([0.0, 0.3]))
        >>> crash = np.array([[-0.2]])
        >>> one = ScenarioSet(("A",), crash, np.exp(crash), np.array([[1.5]]),
        ...                   np.array([0, 1]), np.array([1 / 365]))
        >>> fast = fast_pnl_matrix(market, one)
        >>> fast.matrix.round(3).tolist(), bool((fast.error_bound < 2e-4).all())
        ([[-18.127], [10.467]], True)
    """
    if not tolerance > 0.0:
        raise ValueError(f"tolerance: got {tolerance!r}; allowed: a number above 0")
    table, n = market.table, len(market.table)
    scenarios, known, ticker, scale, priced, cash = scenario_inputs(
        market, scenarios, known, smiles
    )
    matrix = np.empty((n, scenarios.size))
    bound, fell_back = np.empty(n), np.zeros(n, dtype=np.bool_)
    _single_rows(
        table.kind, table.american, priced, cash, scale, known, ticker, scenarios.log_return,
        scenarios.spot_factor, scenarios.vol_factor, scenarios.bounds, scenarios.years, tolerance,
        matrix, bound, fell_back,
    )  # fmt: skip
    american = np.flatnonzero(table.american & known)
    matrix[american] = 0.0
    counted(matrix, scenarios)
    for i in american:
        # The engine's own error is about 1e-5 of spot: closer to it than that means nothing.
        row = american_pnl(
            AmericanTerms.of(market, int(i), float(scale[i])), scenarios, int(ticker[i]),
            max(tolerance, ENGINE_ERROR),
        )  # fmt: skip
        matrix[i], bound[i], fell_back[i] = row
    return FastPnl(matrix, bound, fell_back)


# ---------------------------------------------------------------- European: single precision

_f32 = np.float32
_ZERO, _ONE, _HALF = _f32(0.0), _f32(1.0), _f32(0.5)
# phi(12.9) = 3e-37 is the last that is no subnormal, and nothing next to 1.
_FAR = _f32(12.9)
_LOG2_E, _ROUND = _f32(1.4426950408889634), _f32(12582912.0)  # 1.5 * 2^23 rounds to integers
# ln 2 in two parts: the high one has 9 trailing zero bits.
_LN2_HIGH, _LN2_LOW = _f32(0.693145751953125), _f32(1.4286068203094172e-6)
_INV_SQRT_2PI = _f32(0.3989422804014327)
_E2, _E3, _E4, _E5, _E6 = _f32(1 / 2), _f32(1 / 6), _f32(1 / 24), _f32(1 / 120), _f32(1 / 720)
# Mills ratio p / q, fitted to phi(z) |p / q - M(z)| <= 3e-10 for z >= 0.
_P = (_f32(1.25331414), _f32(0.74643572), _f32(0.21673823), _f32(0.02490693))
_Q = (_f32(1.39345404), _f32(0.78474852), _f32(0.2152398), _f32(0.02498825))
_P0, _P1, _P2, _P3 = _P
_Q1, _Q2, _Q3, _Q4 = _Q
_UNIT = 2.0**-24  # largest relative rounding error of a single
# Standard deviations of the log price outside these are left to doubles.
_LEAST_SINGLE, _MOST_SINGLE = 1e-6, 8.0


@intrinsic
def _fma(typingctx, a, b, c):  # type: ignore[no-untyped-def]
    """a * b + c of singles, rounded once."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return builder.fma(*args)

    return types.float32(types.float32, types.float32, types.float32), codegen


@intrinsic
def _times_power_of_two(typingctx, mantissa, shifted):  # type: ignore[no-untyped-def]
    """mantissa * 2^k, where k lies in the low bits of `shifted`: added to the exponent in place."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        i32 = ir.IntType(32)
        k = builder.shl(builder.bitcast(args[1], i32), ir.Constant(i32, 23))
        return builder.bitcast(builder.add(builder.bitcast(args[0], i32), k), ir.FloatType())

    return types.float32(types.float32, types.float32), codegen


@inline
def _mills_fraction(z):  # type: ignore[no-untyped-def]
    p = _fma(_fma(_fma(_P3, z, _P2), z, _P1), z, _P0)
    q = _fma(_fma(_fma(_fma(_Q4, z, _Q3), z, _Q2), z, _Q1), z, _ONE)
    return p, q


@inline
def _probabilities(forward_log, per_vol, vol, put):  # type: ignore[no-untyped-def]
    """(a, h) with price = S e^{(b-r) tau} a - K e^{-r tau} h, all in singles; put = 1, or 0 (call).

    h is the indicator of d2 >= 0, less `put`, and a the rest: with t = phi(d1) times the Mills
    ratio of |d|, both probabilities are in units of the discounted spot, so a is a difference of
    two tails, each at most 1/2, plus an indicator. Indicators are exact, so that the strike's money
    never passes through a single.
    """
    d1 = _fma(forward_log, per_vol, _HALF * vol)
    d1 = min(max(d1, -_FAR), _FAR) if d1 == d1 else d1
    d2 = d1 - vol
    y = -_HALF * (d1 * d1)
    shifted = y * _LOG2_E + _ROUND
    k = shifted - _ROUND
    r = _fma(-k, _LN2_LOW, _fma(-k, _LN2_HIGH, y))
    e = _fma(_fma(_fma(_fma(_E6, r, _E5), r, _E4), r, _E3), r, _E2)
    pdf = _INV_SQRT_2PI * _times_power_of_two(_ONE + _fma(e, r * r, r), shifted)
    p1, q1 = _mills_fraction(abs(d1))
    p2, q2 = _mills_fraction(abs(d2))
    inverse = pdf / (q1 * q2)
    tail1, tail2 = p1 * (q2 * inverse), p2 * (q1 * inverse)
    up1, up2 = d1 >= _ZERO, d2 >= _ZERO
    tails = (tail2 if up2 else -tail2) - (tail1 if up1 else -tail1)
    above1, above2 = _ONE if up1 else _ZERO, _ONE if up2 else _ZERO
    return tails + (above1 - put), above2 - put


@jit
def _single_block(  # type: ignore[no-untyped-def]
    drift, per_root_vol, root_vol, spot, strike, put, base, scale, move, vols, per_vols, factor, out
):
    """`option_block` with probabilities in singles; spot and strike are discounted."""
    for s in range(out.size):
        a, h = _probabilities(drift + move[s], per_root_vol * per_vols[s], root_vol * vols[s], put)
        price = max(spot * factor[s] * np.float64(a) - strike * np.float64(h), 0.0)
        out[s] = scale * (price - base)


@jit
def _extremes(x):  # type: ignore[no-untyped-def]
    low, high = np.inf, -np.inf
    for s in range(x.size):
        low, high = min(low, x[s]), max(high, x[s])
    return low, high


@jit
def _single_rows(  # type: ignore[no-untyped-def]
    kind, american, priced, cash, scale, known, ticker, move, factor, vols, bounds, elapsed,
    tolerance, out, bound, fell_back,
):  # fmt: skip
    """Rows of all that is not American, their error bounds and whether they fell back.

    A price is off by at most (14 + 4 v + 2 |x|) units of rounding of the largest discounted spot,
    v the largest standard deviation and x the log-moneyness furthest out: each tail, at most 1/2,
    passes about ten roundings; those of d1 and v move the price by what its derivatives make of
    them, at most a unit each times |x| and v. (Worst seen: 5 units.)
    """
    size = move.shape[1]
    move32, vols32 = np.empty(size, np.float32), np.empty(size, np.float32)
    per_vols32 = np.empty(size, np.float32)
    ranges = np.empty((elapsed.size, 6))
    at = -1
    for i in range(kind.size):
        bound[i] = np.nan
        if not known[i]:
            out[i, :] = np.nan
            continue
        u, m = ticker[i], scale[i]
        spot, strike, t, rate = priced[0, i], priced[1, i], priced[2, i], priced[3, i]
        carry, vol, sign = priced[4, i], priced[5, i], priced[6, i]
        if kind[i] == 0:
            bound[i] = 0.0
            for s in range(size):
                out[i, s] = m * spot * (factor[u, s] - 1.0)
            continue
        if american[i]:
            continue
        if u != at:
            at = u
            for s in range(size):
                move32[s], vols32[s] = move[u, s], vols[u, s]
                per_vols32[s] = 1.0 / vols[u, s]
            for b in range(elapsed.size):
                a, z = bounds[b], bounds[b + 1]
                ranges[b, 0], ranges[b, 1] = _extremes(move[u, a:z])
                ranges[b, 2], ranges[b, 3] = _extremes(vols[u, a:z])
                _, ranges[b, 4] = _extremes(factor[u, a:z])
        base = price_now(spot, strike, t, rate, carry, vol, sign)
        worst = 0.0
        for b in range(elapsed.size):
            a, z = bounds[b], bounds[b + 1]
            left = t - elapsed[b]
            if a == z:
                continue
            if left > 0.0:
                drift = log(spot / strike) + carry * left
                discounted = spot * exp((carry - rate) * left)
                root_vol = vol * np.sqrt(left)
                most, least = root_vol * ranges[b, 3], root_vol * ranges[b, 2]
                x = max(abs(drift + ranges[b, 0]), abs(drift + ranges[b, 1]))
                error = (14.0 + 4.0 * most + 2.0 * x) * _UNIT * discounted * ranges[b, 4]
                fits = least >= _LEAST_SINGLE and most <= _MOST_SINGLE and cash[i] == 0.0
                if fits and error <= tolerance * spot:
                    worst = max(worst, error)
                    _single_block(
                        np.float32(drift), np.float32(1.0 / root_vol), np.float32(root_vol),
                        discounted, strike * exp(-rate * left), np.float32(0.5 - 0.5 * sign),
                        base, m, move32[a:z], vols32[a:z], per_vols32[a:z], factor[u, a:z],
                        out[i, a:z],
                    )  # fmt: skip
                    continue
                fell_back[i] = True
            option_block(
                spot, strike, left, rate, carry, vol, sign, cash[i], base, m, move[u, a:z],
                factor[u, a:z], vols[u, a:z], out[i, a:z],
            )  # fmt: skip
        bound[i] = m * worst


# ---------------------------------------------------------------- American: interpolated boundary

# Error of the American engine itself, relative to spot: an interpolation is to be no worse.
ENGINE_ERROR = 2e-5
# Volatilities, and yields, at which boundaries are solved for. For moves of 20 % and volatilities
# from a half to twice, 5 miss by 3e-6 of spot, 7 by 4e-8, 9 by 3e-9.
_VOL_NODES, _YIELD_NODES = 7, 5
# Points of the premium integral; the engine's 20 serve the Greeks. The value is the same to 1e-8.
_POINTS = 12
# A block with fewer scenarios than this is as soon solved one by one.
_FEWEST = 24
# The bound is the largest difference from the engine at the checked scenarios times the first, and
# the second of spot more, for the engine's own steps between one volatility and the next. (Worst
# seen in 15,000 blocks of moves of up to 60 % and volatilities from a third to three times: 0.9 of
# the bound.)
_SAFETY, _ENGINE_STEPS = 8.0, 2e-6
# A block is checked where exercise is closest: in so many bins of volatility, at the scenario with
# the largest premium of those that wait; and at the ends of the yields, where these are several.
_CHECKED_SCENARIOS = 8


def american_pnl(
    terms: AmericanTerms, scenarios: ScenarioSet, u: int, tolerance: float = ENGINE_ERROR
) -> tuple[FloatArray, float, bool]:
    """P&L of one American option in every scenario, its error bound, and whether a block fell back.

    The reference is `riskenv.scenarios.american_full_pnl`. The bound is measured and not proved:
    eight times the largest difference from the engine where the interpolation is worst, next to
    exercise.

    Args:
        u: row of the ticker in the scenarios.
        tolerance: largest error, relative to spot; a block that misses it is fully revalued.

    Returns:
        (S,) P&L and the bound, in the book's currency; the flag.
    """
    prices, worst, fell_back = np.empty(scenarios.size), 0.0, False
    for b, elapsed in enumerate(scenarios.years):
        block = slice(int(scenarios.bounds[b]), int(scenarios.bounds[b + 1]))
        years = terms.years - float(elapsed)
        moved = terms.spot * scenarios.spot_factor[u, block]
        vols = terms.vol * scenarios.vol_factor[u, block]
        if np.isnan(moved).all():
            prices[block] = np.nan  # nothing is known of its ticker's moves
            continue
        error = np.inf
        if len(moved) >= _FEWEST and years > 0.0:
            prices[block], error = _interpolated(terms, moved, vols, years)
            fell_back |= not error <= tolerance * terms.spot
        if error <= tolerance * terms.spot:
            worst = max(worst, error)
        else:
            prices[block] = terms.prices(moved, vols, years)
    now = terms.prices(np.array([terms.spot]), np.array([terms.vol]), terms.years)[0]
    return counted(terms.scale * (prices - now), scenarios), terms.scale * worst, fell_back


def _interpolated(
    terms: AmericanTerms, moved: FloatArray, vols: FloatArray, years: float
) -> tuple[FloatArray, float]:
    """(S,) prices in the scenarios of a block and a bound on their error; inf if it is no use."""
    prices, european = np.empty((2, len(moved)))
    fits = _interpolated_prices(
        moved, vols, terms.rate - terms.carries(moved, years), terms.strike, years, terms.rate,
        terms.sign, gauss_legendre(_VOL_NODES)[0], gauss_legendre(_YIELD_NODES)[0],
        collocation(COARSE.nodes, COARSE.quadrature, _POINTS),
        workspace(COARSE.nodes, COARSE.quadrature), european, prices,
    )  # fmt: skip
    if not fits:
        return prices, np.inf
    missed = 0.0
    near = _closest_to_exercise(terms, moved, vols, prices, european)
    if len(near):
        exact = terms.prices(moved[near], vols[near], years)
        missed = float(np.abs(prices[near] - exact).max())
    return prices, _SAFETY * missed + _ENGINE_STEPS * terms.spot


def _closest_to_exercise(
    terms: AmericanTerms,
    moved: FloatArray,
    vols: FloatArray,
    prices: FloatArray,
    european: FloatArray,
) -> NDArray[np.int64]:
    """Of each bin of volatility, the scenario that does not exercise and has most of a premium; and
    where cash dividends make the yield move with the spot, those of the highest and lowest yield.
    """
    premium = prices - european
    waits = prices > np.maximum(terms.sign * (moved - terms.strike), 0.0)
    rows = np.flatnonzero(waits & (premium > 1e-9 * terms.spot))
    rows = rows[np.argsort(vols[rows], kind="stable")]
    bins = np.array_split(rows, min(_CHECKED_SCENARIOS, len(rows))) if len(rows) else []
    near = [part[np.argmax(premium[part])] for part in bins]
    if terms.cash > 0.0 and len(rows):
        near += [rows[np.argmax(moved[rows])], rows[np.argmin(moved[rows])]]
    return np.array(near, dtype=np.int64)


@jit
def _lagrange(nodes, low, high, at, out):  # type: ignore[no-untyped-def]
    """out[j, s]: Lagrange polynomial j of the nodes, laid on [low, high], at at[s]."""
    per_width = 1.0 / (high - low) if high > low else 0.0
    for j in range(nodes.size):
        row = out[j]
        row[:] = 1.0
        for k in range(nodes.size):
            if k != j:
                per = 1.0 / (nodes[j] - nodes[k])
                for s in range(at.size):
                    row[s] *= ((at[s] - low) * per_width - nodes[k]) * per


@jit
def _interpolated_prices(  # type: ignore[no-untyped-def]
    spot, vol, dividend_yield, strike, years, rate, sign, vol_nodes, yield_nodes, tables, boundary,
    european, out,
):  # fmt: skip
    """out[s] = American price at spot[s], vol[s] and dividend_yield[s], and european[s] that of the
    European option; False if it is none.

    Calls are puts with spot and strike, rate and yield exchanged, as in `american_kernel`.
    """
    size, nodes = spot.size, boundary.s.size
    put = sign < 0.0
    log_vol, x = np.empty(size), np.empty(size)
    for s in range(size):
        log_vol[s] = log(vol[s])
    low_vol, high_vol = _extremes(log_vol)
    low_yield, high_yield = _extremes(dividend_yield)
    low_r, high_r = (rate, rate) if put else (low_yield, high_yield)
    low_q, high_q = (low_yield, high_yield) if put else (rate, rate)
    for s in range(size):
        log_spot = log(spot[s] / strike)
        x[s] = log_spot if put else -log_spot
        out[s] = price_given_log_moneyness(
            log_spot + (rate - dividend_yield[s]) * years,
            spot[s] * exp(-dividend_yield[s] * years),
            strike * exp(-rate * years),
            vol[s] * np.sqrt(years),
            sign,
        )
        european[s] = out[s]
    if high_r <= 0.0 and high_r <= low_q:
        return True  # nobody exercises early
    root, least = np.sqrt(years), exp(low_vol)
    drift = max(abs(high_r - low_q), abs(low_r - high_q))
    spread = max(exp(2.0 * high_vol), high_r, abs(low_q), abs(high_q)) * years
    if not (
        low_r > 0.0
        # X = min(1, r / q) has a kink at q = r, and what the engine makes of B has one with it.
        and (high_q <= low_r or low_q >= high_r)
        and low_r * years >= NEGLIGIBLE
        and least * root >= SMALLEST_TOTAL_VOL
        and spread <= COARSE.most_spread
        and drift * root <= COARSE.most_drift * least
    ):
        return False
    single = high_yield - low_yield < 1e-12
    yields = 1 if single else yield_nodes.size
    by_vol, by_yield = np.empty((vol_nodes.size, size)), np.ones((yields, size))
    _lagrange(vol_nodes, low_vol, high_vol, log_vol, by_vol)
    if not single:
        _lagrange(yield_nodes, low_yield, high_yield, dividend_yield, by_yield)
    far = np.zeros((nodes, size))  # ln B at the boundary's nodes, then the distances ln(X / B)
    weight = np.empty(size)
    for j in range(vol_nodes.size):
        sigma = exp(low_vol + (high_vol - low_vol) * vol_nodes[j])
        for c in range(yields):
            y = low_yield
            y += 0.0 if single else (high_yield - low_yield) * yield_nodes[c]
            r, q = (rate, y) if put else (y, rate)
            if not solve_boundary(Put(years, r, q, sigma), tables, COARSE.tolerance, boundary):
                return False
            at_expiry = log_boundary_at_expiry(r, q)
            for s in range(size):
                weight[s] = by_vol[j, s] * by_yield[c, s]
            for k in range(nodes):
                level = at_expiry - boundary.s[k]
                row = far[k]
                for s in range(size):
                    row[s] += weight[s] * level
    _add_premium(x, spot, vol, dividend_yield, strike, years, rate, sign, far, tables, out)
    return True


@jit
def _add_premium(  # type: ignore[no-untyped-def]
    x, spot, vol, dividend_yield, strike, years, rate, sign, far, tables, out
):
    """Turn European prices into American ones, given ln B at the boundary's nodes, far (nodes, S).

    The integral is that of `riskenv.pricing.exercise_premium`, scenarios side by side. Within CLOSE
    standard deviations of the boundary the value is intrinsic up to r T CLOSE^2 of the strike.
    """
    size, nodes = x.size, far.shape[0]
    put = sign < 0.0
    root_years = np.sqrt(years)
    r, q, log_x, gap = np.empty(size), np.empty(size), np.empty(size), np.empty(size)
    near, width, floor = np.empty(size), np.empty(size), np.empty(size)
    for s in range(size):
        r[s] = rate if put else dividend_yield[s]
        q[s] = dividend_yield[s] if put else rate
        log_x[s] = log_boundary_at_expiry(r[s], q[s])
        gap[s] = x[s] - far[0, s]
    for k in range(nodes):
        row = far[k]
        for s in range(size):
            row[s] = max(log_x[s] - row[s], 1e-12)
    for s in range(size):
        deviation = vol[s] * root_years
        near[s] = min(0.5 * max(gap[s] / deviation, CLOSE), 8.0)
        inverse = 1.0 / near[s]
        width[s] = log(inverse + np.sqrt(inverse * inverse + 1.0))
        floor[s] = CLIP * far[nodes - 1, s]
    series = np.zeros((nodes + 1, size))
    for j in range(nodes + 1):
        row = series[j]
        for k in range(nodes):
            to, distance = tables.to_chebyshev[j, k], far[k]
            for s in range(size):
                row[s] += to * distance[s] * distance[s]
    root, weight, argument = np.empty(size), np.empty(size), np.empty(size)
    one, two, premium = np.empty(size), np.empty(size), np.zeros(size)
    for p in range(tables.half_angle.size):
        angle, share = tables.half_angle[p], tables.half_weight[p]
        for s in range(size):
            grown = exp_within_700(width[s] * angle)
            shrunk = 1.0 / grown
            w = 0.5 * near[s] * (grown - shrunk)
            slope = 0.5 * near[s] * (grown + shrunk) * width[s]
            below = 1.0 / (1.0 + w * w)
            left = (1.0 - w * w) * below
            root[s] = root_years * 2.0 * w * below
            weight[s] = share * slope * 4.0 * root[s] * root_years * left * below
            argument[s] = 2.0 * left - 1.0
        # Clenshaw's sum of the Chebyshev series of the squared distance.
        one[:] = 0.0
        two[:] = 0.0
        for j in range(nodes, 0, -1):
            row = series[j]
            for s in range(size):
                b = row[s] + 2.0 * argument[s] * one[s] - two[s]
                two[s] = one[s]
                one[s] = b
        row = series[0]
        for s in range(size):
            square = row[s] + argument[s] * one[s] - two[s]
            one[s] = np.sqrt(max(square, floor[s] * floor[s]))
        for s in range(size):
            v, u = vol[s] * root[s], root[s] * root[s]
            ahead = (r[s] - q[s] - 0.5 * vol[s] * vol[s]) * u
            d = (x[s] - log_x[s] + one[s] + ahead) / v
            one[s] = min(max(d, -40.0), 40.0)
            two[s] = min(max(d + v, -40.0), 40.0)
        for s in range(size):
            mills1, mills2 = two_mills_ratios(abs(one[s]), abs(two[s]))
            tail1 = normal_pdf_within_40(one[s]) * mills1
            tail2 = normal_pdf_within_40(two[s]) * mills2
            one[s] = tail1 if one[s] > 0.0 else 1.0 - tail1
            two[s] = tail2 if two[s] > 0.0 else 1.0 - tail2
        for s in range(size):
            u = root[s] * root[s]
            interest = r[s] * exp(-r[s] * u) * one[s]
            yielded = q[s] * exp(x[s] - q[s] * u) * two[s]
            premium[s] += weight[s] * (interest - yielded)
    for s in range(size):
        intrinsic = max(sign * (spot[s] - strike), 0.0)
        unit = strike if put else spot[s]
        waiting = gap[s] > CLOSE * vol[s] * root_years
        held = max(out[s] + unit * max(premium[s], 0.0), intrinsic)
        out[s] = held if waiting else intrinsic
