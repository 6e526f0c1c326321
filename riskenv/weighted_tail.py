"""VaR and expected shortfall of weighted P&Ls, and which position they come from.

The estimator is that of `riskenv.var_calculator`, for outcomes that are not equally likely:
VaR = min(0, the smallest P&L whose cumulative weight reaches p), and ES = min(0, the mean of the
worst weight p of outcomes, the last one, the atom, counted in part) (Acerbi and Tasche 2002,
definition 2.6). Losses are negative. Outcomes of the same P&L are taken in their order.

Both are homogeneous of degree one in the book, so by Euler's theorem they are the sum of each
position's quantity times its derivative (Tasche 1999, section 5). The derivative of ES is the
tail-weighted mean of a contract's P&L; that of VaR is its P&L in the atom, one scenario, and so
jumps from one book to the next where the components of ES do not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from riskenv.compilation import jit
from riskenv.var_calculator import tail_count, tail_of

FloatArray = NDArray[np.float64]

# Keeps five weights of 0.002 from falling short of 0.01 by a rounding; as in `tail_count`.
_WEIGHT_SLACK = 1e-9
_count_of = jit(tail_count)


@jit
def _sift_down(pnl, heap, at, size):  # type: ignore[no-untyped-def]
    """Let heap[at] sink until neither outcome below it is worse; ties are worse if earlier."""
    outcome = heap[at]
    value = pnl[outcome]
    while 2 * at + 1 < size:
        below = 2 * at + 1
        if below + 1 < size:
            left, right = heap[below], heap[below + 1]
            below += pnl[right] < pnl[left] or (pnl[right] == pnl[left] and right < left)
        worse = pnl[heap[below]]
        if value < worse or (value == worse and outcome < heap[below]):
            break
        heap[at] = heap[below]
        at = below
    heap[at] = outcome


@jit
def worst_outcomes(pnl, weights, start, stop, p, order):  # type: ignore[no-untyped-def]
    """The tail's outcomes, worst first and the atom last: fills order[:k] and returns k.

    `order` is scratch of at least stop - start integers. Returns 0, which makes the tail Unknown,
    if any P&L is NaN, there is none, or the weights never reach p.

    A heap: the time hardly depends on how the outcomes and their weights are ordered.
    """
    n = stop - start
    for k in range(n):
        if pnl[start + k] != pnl[start + k]:
            return 0
        order[k] = start + k
    for at in range(n // 2 - 1, -1, -1):
        _sift_down(pnl, order, at, n)
    mass, kept = 0.0, 0
    while kept < n and not mass >= p - _WEIGHT_SLACK:
        worst = order[0]
        mass += weights[worst]
        kept += 1
        order[0] = order[n - kept]
        order[n - kept] = worst
        _sift_down(pnl, order, 0, n - kept)
    # The worst outcomes have gathered at the end, the atom first.
    for k in range(n // 2):
        order[k], order[n - 1 - k] = order[n - 1 - k], order[k]
    return kept if mass >= p - _WEIGHT_SLACK else 0


@jit
def weighted_tail_of(pnl, weights, start, stop, p, order, worst):  # type: ignore[no-untyped-def]
    """(VaR, ES) of pnl[start:stop]; NaN where unknown.

    Equal weights take the sums of `tail_of`, and so its bits.

    Args:
        weights: of the same length as pnl; those of [start, stop) add up to 1.
        order, worst: scratch of at least stop - start integers and floats.
    """
    equal = True
    for s in range(start + 1, stop):
        equal &= weights[s] == weights[start]
    if equal:
        count = _count_of(stop - start, p)
        var, shortfall = tail_of(pnl, start, stop, count, p, worst)
        # Where the tail holds a gain without bound as well, -inf + inf would lose the ruin.
        if var == var and worst[0] == -np.inf:
            shortfall = -np.inf
        return var, shortfall
    kept = worst_outcomes(pnl, weights, start, stop, p, order)
    if kept == 0:
        return np.nan, np.nan
    last = pnl[order[kept - 1]]
    total, mass = 0.0, 0.0
    for k in range(kept - 1):
        total += weights[order[k]] * pnl[order[k]]
        mass += weights[order[k]]
    shortfall = (total + (p - mass) * last) / p
    if pnl[order[0]] == -np.inf:
        shortfall = -np.inf
    return min(0.0, last), min(0.0, shortfall)


@jit
def _components(P, quantity, weights, p, pnl, tail, marginal, component):  # type: ignore[no-untyped-def]
    """Fill all but P, quantity and weights; returns (VaR, ES, atom), the atom -1 if unknown.

    Sums run in one order: instruments as they come, then scenarios worst first.
    """
    n, scenarios = P.shape
    pnl[:] = 0.0
    for i in range(n):
        if quantity[i] != 0.0:
            for s in range(scenarios):
                pnl[s] += quantity[i] * P[i, s]
    tail[:] = 0.0
    order, worst = np.empty(scenarios, dtype=np.int64), np.empty(max(1, scenarios))
    var, shortfall = weighted_tail_of(pnl, weights, 0, scenarios, p, order, worst)
    kept = worst_outcomes(pnl, weights, 0, scenarios, p, order)
    if kept == 0:
        tail[:] = np.nan
        marginal[:] = np.nan
        component[:] = np.nan
        return var, shortfall, -1
    left = p
    for k in range(kept - 1):
        tail[order[k]] = weights[order[k]] / p
        left -= weights[order[k]]
    atom = order[kept - 1]
    tail[atom] = left / p
    for i in range(n):
        # A measure that min(0, .) holds at zero does not move with a position.
        marginal[0, i] = P[i, atom] if var < 0.0 else 0.0
        total = 0.0
        for k in range(kept):
            total += tail[order[k]] * P[i, order[k]]
        marginal[1, i] = total if shortfall < 0.0 else 0.0
        for row in range(2):
            # An instrument that is not held adds nothing, known or not.
            component[row, i] = quantity[i] * marginal[row, i] if quantity[i] != 0.0 else 0.0
    return var, shortfall, atom


def weighted_tail(pnl: FloatArray, weights: FloatArray, p: float = 0.01) -> tuple[float, float]:
    """(VaR, ES) of weighted P&Ls, both <= 0; NaN if any P&L is NaN or there is none.

    Args:
        pnl: (S,) currency; losses are negative.
        weights: (S,) probabilities, zero or above, that add up to 1.
        p: tail probability, literal: 0.01 for 99 % confidence.

    Raises:
        ValueError: shapes that differ, weights that are no probabilities, p outside (0, 0.5).

    Example:
        >>> pnl = np.array([-30.0, 5.0, -10.0, 1.0])
        >>> weighted_tail(pnl, np.array([0.04, 0.4, 0.16, 0.4]), 0.1)   # (0.04 30 + 0.06 10) / 0.1
        (-10.0, -18.0)
        >>> weighted_tail(np.array([1.0, np.nan]), np.array([0.5, 0.5]))
        (nan, nan)
    """
    pnl, weights = _checked(pnl, weights, p)
    order, worst = np.empty(len(pnl), dtype=np.int64), np.empty(max(1, len(pnl)))
    var, shortfall = weighted_tail_of(pnl, weights, 0, len(pnl), p, order, worst)
    return float(var), float(shortfall)


@dataclass(frozen=True, eq=False)
class TailComponents:
    """VaR and ES of a book taken apart by position.

    In exact arithmetic each row of components adds up to its measure. In floating point the VaR
    row, added in the book's order, has the very bits of VaR; the ES row is off by at most about
    (n + k) 2**-53 of the tail mean of the positions' absolute P&L, for n positions and k outcomes.

    Attributes:
        var, es: of the book, currency, <= 0; NaN = Unknown, and so is all the rest.
        marginal_var, marginal_es: (n,) change per contract, the derivative. An instrument that is
            not held has one too: what a first small lot of it would do.
        component_var, component_es: (n,) quantity times marginal; below 0 adds to the risk.
        tail_weights: (S,) weight of each scenario in ES, adding up to 1.
        atom: the scenario that is the VaR, -1 if unknown.
    """

    var: float
    es: float
    marginal_var: FloatArray
    marginal_es: FloatArray
    component_var: FloatArray
    component_es: FloatArray
    tail_weights: FloatArray
    atom: int

    def by_group(self, group: NDArray[np.int64], groups: int) -> tuple[FloatArray, FloatArray]:
        """Components added up by group, such as each instrument's underlying.

        Args:
            group: (n,) of [0, groups).

        Returns:
            (groups,) components of VaR, (groups,) of ES.
        """
        totals = np.zeros((2, groups))
        for i, g in enumerate(group):
            totals[0, g] += self.component_var[i]
            totals[1, g] += self.component_es[i]
        return totals[0], totals[1]


def tail_components(
    P: FloatArray, quantity: FloatArray, weights: FloatArray, p: float = 0.01
) -> TailComponents:
    """The Euler decomposition of a book's VaR and ES.

    Args:
        P: (n, S) P&L of one contract of each instrument in each scenario, currency.
        quantity: (n,) signed contracts. Rows of P that are not held may be NaN.
        weights: (S,) probabilities; p: tail probability. As for `weighted_tail`.

    Raises:
        ValueError: shapes that do not match, or what `weighted_tail` refuses.

    Example:
        >>> P = np.array([[-3.0, 1.0, 2.0, 0.0], [-2.0, -4.0, 1.0, 3.0]])
        >>> parts = tail_components(P, np.array([2.0, 1.0]), np.full(4, 0.25), p=0.4)
        >>> round(parts.es, 12), parts.component_es.tolist()    # (0.25 (-8) + 0.15 (-2)) / 0.4
        (-5.75, [-3.0, -2.75])
        >>> parts.var, parts.component_var.tolist()
        (-2.0, [2.0, -4.0])
    """
    P = np.ascontiguousarray(P, dtype=np.float64)
    quantity = np.ascontiguousarray(quantity, dtype=np.float64)
    if P.ndim != 2 or quantity.shape != P.shape[:1]:
        raise ValueError(
            f"P, quantity: got shapes {P.shape}, {quantity.shape}; allowed: (n, S) and (n,)"
        )
    n, scenarios = P.shape
    _, weights = _checked(np.zeros(scenarios), weights, p)
    pnl, tail = np.empty(scenarios), np.empty(scenarios)
    marginal, component = np.empty((2, n)), np.empty((2, n))
    var, shortfall, atom = _components(P, quantity, weights, p, pnl, tail, marginal, component)
    return TailComponents(
        float(var), float(shortfall), marginal[0], marginal[1], component[0], component[1],
        tail, int(atom),
    )  # fmt: skip


def incremental_tail(
    base: FloatArray, trade: FloatArray, weights: FloatArray, p: float = 0.01
) -> tuple[float, float]:
    """(change of VaR, change of ES) that a trade makes: the book with it less the book without.

    Args:
        base, trade: (S,) P&L of the book and of the trade alone, in the same scenarios, currency.
        weights, p: as for `weighted_tail`.

    Returns:
        Below 0: the trade adds risk. NaN: one of the two is Unknown.

    Example:
        >>> base, hedge = np.array([-10.0, 0.0, 4.0]), np.array([6.0, 0.0, -4.0])
        >>> incremental_tail(base, hedge, np.full(3, 1 / 3))
        (6.0, 6.0)
    """
    if np.shape(base) != np.shape(trade):
        raise ValueError(
            f"base, trade: got shapes {np.shape(base)}, {np.shape(trade)}; allowed: equal (S,)"
        )
    before = weighted_tail(base, weights, p)
    after = weighted_tail(np.asarray(base) + np.asarray(trade), weights, p)
    return after[0] - before[0], after[1] - before[1]


def _checked(pnl: FloatArray, weights: FloatArray, p: float) -> tuple[FloatArray, FloatArray]:
    pnl = np.ascontiguousarray(pnl, dtype=np.float64)
    weights = np.ascontiguousarray(weights, dtype=np.float64)
    if not 0.0 < p < 0.5:
        raise ValueError(f"p: got {p!r}; allowed: above 0 and below 0.5")
    if pnl.ndim != 1 or pnl.shape != weights.shape:
        raise ValueError(
            f"pnl, weights: got shapes {pnl.shape}, {weights.shape}; allowed: two equal (S,)"
        )
    total = float(weights.sum())
    if len(weights) and not (float(weights.min()) >= 0.0 and abs(total - 1.0) <= _WEIGHT_SLACK):
        raise ValueError(
            f"weights: got a least of {weights.min()} and a sum of {total}; "
            "allowed: zero or above, adding up to 1"
        )
    return pnl, weights
