"""The nearest trade inside the caps: a correction has to cost far less than an env's step.

Yardsticks: in NumPy, one exact look at a trade (exposures, shortfalls, all caps), which is the
least that any correction has to do; in scipy, what a careful user writes, SLSQP with gradients.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize

from riskenv.nearest_trade import TailBlocks, project
from riskenv.var_calculator import tail_count
from riskenv.whole_lots import whole_lots

D, CAPS, P = 10, 16, 0.01
PROBLEMS = 40


def problems(horizons: int = 0, scenarios: int = 500) -> list[tuple[Any, ...]]:
    """Requests for more than the caps allow, with scenarios of three factors and fat tails."""
    rng = np.random.default_rng(3)
    found: list[tuple[Any, ...]] = []
    while len(found) < PROBLEMS:
        high = rng.uniform(2.0, 6.0, CAPS)
        before = rng.uniform(-0.8, 0.8, CAPS) * high
        weight = rng.uniform(0.5, 2.0, D)
        box = np.full(D, 5.0)
        args: tuple[Any, ...] = (
            2.0 * rng.normal(size=D), rng.normal(size=(D, CAPS)), before, -high, high, weight,
            -box, box,
        )  # fmt: skip
        if horizons:
            factors = rng.normal(size=(3, horizons * scenarios))
            fat = rng.standard_t(4, size=(D, horizons * scenarios))
            pnl = rng.normal(size=(D, 3)) @ factors + 0.5 * fat
            counts = np.full(horizons, tail_count(scenarios, P))
            blocks = scenarios * np.arange(horizons + 1)
            low = np.full(horizons, -5.0)
            args += (TailBlocks(pnl, np.zeros(pnl.shape[1]), blocks, counts, P, low),)
        if project(*args).status == "projected":
            found.append(args)
    return found


def each(function: Callable[..., object], cases: list[tuple[Any, ...]]) -> Callable[[], object]:
    """One case a call, all of them in turn."""
    turn = itertools.cycle(cases)
    return lambda: function(*next(turn))


def numpy_look(
    target, exposures, before, low, high, weight, box_low, box_high, tail=None
) -> bool:  # fmt: skip
    after = before + target @ exposures
    inside = bool(((low <= after) & (after <= high)).all())
    inside &= bool(((box_low <= target) & (target <= box_high)).all())
    if tail is not None:
        pnl = (tail.base_pnl + target @ tail.pnl).reshape(len(tail.counts), -1)
        worst = np.partition(pnl, tail.counts[0] - 1, axis=1)[:, : tail.counts[0]]
        inside &= bool((worst.mean(axis=1) >= tail.low).all())
    return inside


def scipy_slsqp(target, exposures, before, low, high, weight, box_low, box_high) -> np.ndarray:
    slack = np.concatenate([before - low, high - before])
    rows = np.concatenate([exposures.T, -exposures.T])
    return minimize(
        lambda t: weight @ (t - target) ** 2,
        np.zeros(len(target)),
        jac=lambda t: 2.0 * weight * (t - target),
        bounds=list(zip(box_low, box_high, strict=True)),
        constraints={"type": "ineq", "fun": lambda t: rows @ t + slack, "jac": lambda t: rows},
        method="SLSQP",
    ).x


def us(times: Any, name: str) -> str:
    return f"{1e6 * times.median(name):.1f} us (p99 {1e6 * times.p99(name):.1f})"


def test_a_projection_takes_less_than_a_tenth_of_a_millisecond(race, figure) -> None:
    cases = problems()
    inside = [(project(*case).trade, *case[1:]) for case in cases]
    times = race(
        {
            "projected": (each(project, cases), 1),
            "feasible": (each(project, inside), 1),
            "NumPy": (each(numpy_look, cases), 1),
        },
        5000,
    )
    figure(
        f"Nearest trade, {D} legs, {CAPS} caps: {us(times, 'projected')}, target <= 100 us p50; "
        f"a feasible request {us(times, 'feasible')}; one look in NumPy {us(times, 'NumPy')}, "
        f"ratio {times.ratio('projected', 'NumPy'):.1f}"
    )
    assert times.median("projected") <= 100e-6
    assert times.ratio("projected", "NumPy") <= 10.0


def test_a_projection_is_faster_than_slsqp(race, figure) -> None:
    cases = problems()
    times = race(
        {"projected": (each(project, cases), 1), "SLSQP": (each(scipy_slsqp, cases), 1)}, 400
    )
    ratio = 1.0 / times.ratio("projected", "SLSQP")
    figure(
        f"Nearest trade, {D} legs, {CAPS} caps: scipy's SLSQP {us(times, 'SLSQP')}; projection "
        f"{us(times, 'projected')}, {ratio:.0f} times as fast (target >= 5)"
    )
    assert ratio >= 5.0


@pytest.mark.parametrize("horizons", [1, 3])
def test_tails_cost_a_few_looks_more(race, figure, horizons: int) -> None:
    cases = problems(horizons)
    rounds = [project(*case).iterations for case in cases]
    times = race(
        {"projected": (each(project, cases), 1), "NumPy": (each(numpy_look, cases), 1)}, 1000
    )
    ratio = times.ratio("projected", "NumPy")
    figure(
        f"Nearest trade, {D} legs, {CAPS} caps, ES of {horizons} x 500 scenarios: "
        f"{us(times, 'projected')} in {np.median(rounds):.0f} programs (at most {max(rounds)}); "
        f"one look in NumPy {us(times, 'NumPy')}, ratio {ratio:.1f}"
    )
    assert ratio <= 25.0


def test_whole_lots_are_listed_in_less_than_a_millisecond(race, figure) -> None:
    def legs(n: int) -> Callable[[], object]:
        rng = np.random.default_rng(n)
        target, box = 6.0 * rng.normal(size=n), np.full(n, 50.0)
        return lambda: whole_lots(0.7 * target, target, np.ones(n), -box, box)

    times = race({f"{n} legs": (legs(n), 1) for n in (1, 2, 4, 8, 20)}, 500)
    figure("Whole lots around a trade: " + ", ".join(f"{n} {us(times, n)}" for n in times.seconds))
    assert max(times.median(name) for name in times.seconds) <= 1e-3
