"""Reduction plans of a book of 50: how long they take, and how far they are from the optimum.

The peer is HiGHS, through scipy, on the same problem in fractions of lots and in whole ones, each
expected shortfall written out scenario by scenario (Rockafellar and Uryasev 2000, theorem 1).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array, hstack, vstack

from riskenv.pricing import option_greeks
from riskenv.reduction import plan_reduction, release_targets, uncovered
from riskenv.tails import Tails, tails_of

N, S, HORIZONS, P = 50, 500, (1, 3, 5), 0.01
LINEAR = 6
SEEDS = range(6)
BLOCKS, COUNTS = np.array([0, S, 2 * S, 3 * S]), np.array([5, 5, 5])
BREACHES = {
    "delta": (0, 1), "ES": (7,), "vega and ES": (5, 7), "delta, gamma, vega": (0, 3, 5),
    "all linear and ES": (0, 1, 2, 3, 4, 5, 7), "gap": (12,),
}  # fmt: skip


def chain(rng: np.random.Generator) -> dict[str, Any]:
    """48 options on two tickers and their shares: exposures, and P&L in 1,502 scenarios."""
    ticker, kind = np.repeat([0, 1], N // 2), rng.choice([1, -1], N)
    kind[[0, N // 2]] = 0
    share = kind == 0
    spot, multiplier = np.array([100.0, 250.0])[ticker], np.where(share, 1.0, 100.0)
    days, strike = rng.choice([7, 30, 60, 120, 250], N), spot * np.exp(rng.normal(0.0, 0.08, N))
    vol = 0.25 + 0.3 * np.log(strike / spot) ** 2

    def greeks(spot: np.ndarray, days: np.ndarray, vol: np.ndarray) -> Any:
        return option_greeks(spot, strike, days / 365.0, 0.03, 0.02, vol, kind > 0)

    now = greeks(spot, days, vol)
    value = np.where(share, spot, now.price)
    delta = np.where(share, 1.0, now.delta)
    gamma, theta, vega = (np.where(share, 0.0, x) for x in (now.gamma, now.theta, now.vega))
    columns = (delta, delta * spot, gamma, gamma * spot**2 / 100.0, theta, vega)
    moves = 0.012 * rng.standard_t(4, (2, S + 4))
    moves[1] = 0.6 * moves[0] + 0.8 * moves[1]
    pnl = []
    for horizon in HORIZONS:
        for s in range(S):
            move = moves[:, s : s + horizon].sum(axis=1)[ticker]
            then = spot * np.exp(move)
            later = greeks(then, np.maximum(days - 1.4 * horizon, 0.5), vol * np.exp(-2.5 * move))
            pnl.append(np.where(share, then, later.price) - value)
    for jump in (-0.15, 0.15):
        then = spot * np.exp(jump)
        pnl.append(np.where(share, then, greeks(then, days, 1.1 * vol).price) - value)
    half_spread = np.maximum(0.02, 0.02 * value) * rng.uniform(0.7, 1.5, N)
    return {
        "exposures": np.column_stack(columns) * multiplier[:, None],
        "pnl": np.ascontiguousarray(np.array(pnl).T * multiplier[:, None]),
        "cost": np.where(share, 0.01, multiplier * half_spread + 0.65),
        "kind": kind, "ticker": ticker, "multiplier": multiplier,
        "expiry": days * 86_400 * 10**9,
    }  # fmt: skip


def book(seed: int, breached: tuple[int, ...]) -> dict[str, Any]:
    """Twenty lots a side; breached measures at 1.2 to 2 times their caps, the others at 0.77."""
    rng = np.random.default_rng(seed)
    case = chain(rng)
    quantity = rng.integers(-20, 21, N).astype(float)
    quantity[case["kind"] == 0] *= 30.0
    base_pnl, before = quantity @ case["pnl"], np.empty(LINEAR + 7)
    before[:LINEAR] = quantity @ case["exposures"]
    tails_of(base_pnl, Tails(BLOCKS, COUNTS, P), np.ones(3, bool), np.empty(5), LINEAR, before)
    rows = np.arange(len(before))
    share = np.where(np.isin(rows, breached), rng.uniform(0.5, 0.85, len(rows)), 1.3)
    capped = (rows < LINEAR) | (rows == 7) | np.isin(rows, breached)
    cap = np.where(capped, share * np.abs(before), np.inf)
    low, high = -cap, np.where(np.isin(rows, [4, *range(LINEAR, len(rows))]), np.inf, cap)
    target_low, target_high = release_targets(before, low, high, 0.9)
    return {
        **case, "quantity": quantity, "before": before, "base_pnl": base_pnl, "low": low,
        "high": high, "target_low": target_low, "target_high": target_high, "blocks": BLOCKS,
        "counts": COUNTS, "tail_probability": P,
    }  # fmt: skip


def cover(case: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Room left (rows,) and weights (rows, n) of: no more sold and uncovered than before."""
    q, kind, ticker, units = (case[k] for k in ("quantity", "kind", "ticker", "multiplier"))
    bare = uncovered(q, kind, ticker, case["expiry"], units)
    weights = np.zeros((N, N))
    shorts = np.flatnonzero((q < 0.0) & (kind != 0))
    for i in shorts:
        later = (kind == kind[i]) & (case["expiry"] >= case["expiry"][i])
        shares = (kind == 0) & (q * kind[i] > 0.0)
        weights[i] = np.where(ticker == ticker[i], -units * (later + shares * kind[i]), 0.0)
    return (bare - weights @ q)[shorts], weights[shorts]


def highs(case: dict[str, Any], whole: bool) -> float:
    """Least cost of closing in whole lots, or in fractions."""
    held = np.flatnonzero(case["quantity"])
    sign = -np.sign(case["quantity"][held])
    low = np.maximum(np.minimum(case["low"], case["before"]), case["target_low"])
    high = np.minimum(np.maximum(case["high"], case["before"]), case["target_high"])
    pnl, v = sign[:, None] * case["pnl"][held], len(held)
    tails = [h for h in range(len(HORIZONS)) if np.isfinite(low[LINEAR + 1 + 2 * h])]
    size = v + len(tails) * (S + 1)
    linear = (sign[:, None] * case["exposures"][held]).T
    rows = [hstack([csr_array(linear), csr_array((LINEAR, size - v))])]
    least = [(low - case["before"])[:LINEAR]]
    most = [(high - case["before"])[:LINEAR]]
    floor = np.zeros(size)
    for k, h in enumerate(tails):
        at, block = v + k * (S + 1), slice(h * S, (h + 1) * S)
        # z - sum(y) / (p S) >= bound, y >= z - P&L, y >= 0: then ES >= bound.
        part = np.zeros((S + 1, size))
        part[:S, :v], part[:S, at], part[S, at] = pnl[:, block].T, -1.0, 1.0
        part[:S, at + 1 : at + 1 + S], part[S, at + 1 : at + 1 + S] = np.eye(S), -1.0 / (P * S)
        rows.append(csr_array(part))
        least.append(np.append(-case["base_pnl"][block], low[LINEAR + 1 + 2 * h]))
        most.append(np.full(S + 1, np.inf))
        floor[at] = -np.inf
    if np.isfinite(low[-1]):
        gap = np.zeros((2, size))
        gap[:, :v] = pnl[:, 3 * S :].T
        rows.append(csr_array(gap))
        least.append(low[-1] - case["base_pnl"][3 * S :])
        most.append(np.full(2, np.inf))
    short, weights = cover(case)
    rows.append(csr_array(np.pad(weights[:, held] * sign, ((0, 0), (0, size - v)))))
    least.append(np.full(len(short), -np.inf))
    most.append(short)
    ceiling = np.concatenate([np.abs(case["quantity"][held]), np.full(size - v, np.inf)])
    cost = np.concatenate([case["cost"][held], np.zeros(size - v)])
    result = milp(
        cost,
        integrality=np.where(np.arange(size) < v, int(whole), 0),
        bounds=Bounds(floor, ceiling),
        constraints=LinearConstraint(vstack(rows), np.concatenate(least), np.concatenate(most)),
        options={"time_limit": 20.0, "mip_rel_gap": 1e-4},
    )
    assert result.success or whole
    return float(result.fun)


@pytest.mark.parametrize("name", BREACHES)
def test_a_plan_for_fifty_instruments(race, figure, name: str) -> None:
    cases = [book(seed, BREACHES[name]) for seed in SEEDS]
    times, gaps, own = [], [], []
    ratios = []
    for case in cases:
        plan = plan_reduction(**case)
        assert plan.resolved
        if plan.cost == 0.0:
            continue
        peer = {}
        turns = race(
            {
                "plan": (lambda case=case: plan_reduction(**case), 1),
                "HiGHS": (lambda case=case, peer=peer: peer.update(cost=highs(case, True)), 1),
            },
            3,
        )
        times.append(turns.seconds["plan"])
        ratios.append(turns.ratio("plan", "HiGHS"))
        gaps.append(plan.cost / peer["cost"] - 1.0)
        own.append(plan.cost / plan.bound - 1.0)
        assert plan.bound >= highs(case, False) * (1.0 - 1e-6)
    seconds = np.concatenate(times)
    figure(
        f"Reduction of {N}, {name}: p50 {1e3 * np.median(seconds):.0f} ms, p99 "
        f"{1e3 * np.quantile(seconds, 0.99):.0f} ms, {np.median(ratios):.2f} of HiGHS's time; "
        f"cost over HiGHS's best: mean {100 * np.mean(gaps):.2f} %, worst "
        f"{100 * max(gaps):.2f} %; over the plan's own bound: mean {100 * np.mean(own):.2f} %, "
        f"worst {100 * max(own):.2f} %"
    )
    assert np.mean(own) <= 0.05
