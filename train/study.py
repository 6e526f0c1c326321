"""The demo's study: which runs are compared, and the tables that are made of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from riskenv.train.demo_config import DemoConfig, Span
from riskenv.train.evaluation import Case, Outcome, Policy
from riskenv.train.performance import (
    cap_use,
    daily_pnl,
    expected_shortfall,
    intervention_rate,
    max_drawdown,
    total_return,
)
from riskenv.train.policies import RandomPolicy, ShortStranglePolicy
from riskenv.train.report import Table

MASKED = "MaskablePPO, menu"
SHORT_STRANGLE = "short strangle"
SCALED = "short strangle, scaled"


def cases(
    config: DemoConfig, trained_menu: Callable[[], Policy], trained_box: Callable[[], Policy]
) -> list[Case]:
    """Trained, random and short-strangle policies over each span, with and without the layer."""
    lots, seed = config.short_strangle_lots, config.seed
    policies: list[tuple[str, str, Callable[[], Policy]]] = [
        (MASKED, "discrete", trained_menu),
        ("PPO, box", "box", trained_box),
        ("random, menu", "discrete", lambda: RandomPolicy(seed)),
        ("random, box", "box", lambda: RandomPolicy(seed)),
        (SHORT_STRANGLE, "discrete", lambda: ShortStranglePolicy(lots)),
    ]
    return [
        Case(name, convention, make, span, layered)  # type: ignore[arg-type]
        for span in config.evaluation_spans
        for name, convention, make in policies
        for layered in (True, False)
    ]


def mean_short_vega(outcome: Outcome) -> float:
    """Mean of the short part of the book's vega, currency per vol point, >= 0."""
    return float(np.mean(np.maximum(-outcome.run.measures["vega"], 0.0)))


def scaled_down(
    config: DemoConfig, outcomes: Sequence[Outcome], run: Callable[[Case], Outcome]
) -> list[Outcome]:
    """The short strangle without the layer, scaled to the mean short vega it had with it.

    It answers whether the layer does more than a smaller position would. Lots become fractions,
    which the env allows. Margin calls make the mean short vega not quite linear in the scale, so
    the scale is corrected by the ratio of the two means until they agree to `_VEGA_TOLERANCE`.

    Args:
        run: runs a case.
    """
    scaled = []
    for span in config.evaluation_spans:
        outcome = _strangle(outcomes, span, False)
        target, scale = mean_short_vega(_strangle(outcomes, span, True)), 1.0
        if not target > 0.0:
            continue  # nothing was held with the layer: there is nothing to compare with
        for _ in range(_MOST_RUNS):
            reached = mean_short_vega(outcome)
            scale *= target / reached if reached > 0.0 else 1.0
            outcome = run(_scaled_case(config, span, scale))
            if abs(mean_short_vega(outcome) - target) <= _VEGA_TOLERANCE * target:
                break
        scaled.append(outcome)
    return scaled


# Means that agree this well are called the same; so many runs are spent on it.
_VEGA_TOLERANCE, _MOST_RUNS = 0.02, 4


def _scaled_case(config: DemoConfig, span: Span, scale: float) -> Case:
    lots, menu_lots = config.short_strangle_lots * scale, float(config.env["menu_lots"]) * scale
    return Case(
        SCALED, "discrete", lambda: ShortStranglePolicy(lots), span, False, {"menu_lots": menu_lots}
    )


def _strangle(outcomes: Sequence[Outcome], span: Span, layered: bool) -> Outcome:
    for outcome in outcomes:
        case = outcome.case
        if (case.name, case.span, case.layered) == (SHORT_STRANGLE, span, layered):
            return outcome
    raise LookupError(f"no run of the short strangle over {span}, layered {layered}")


def strangle_table(config: DemoConfig, outcomes: Sequence[Outcome]) -> Table:
    """Does the layer help? The short strangle with it, without it, and merely smaller."""
    caps = [name for name in outcomes[0].run.caps if name != "gap_loss"]
    rows: list[tuple[str | float | None, ...]] = []
    for outcome in sorted(outcomes, key=lambda o: o.case.span):
        if outcome.case.name not in (SHORT_STRANGLE, SCALED):
            continue
        run = outcome.run
        what = "with" if run.layered else "without"
        if outcome.case.name == SCALED:
            what = (
                f"without, {outcome.case.env_changes['menu_lots'] / config.env['menu_lots']:.2f} x"
            )
        loss = expected_shortfall(daily_pnl(run.times, run.equity))
        rows.append(
            (
                run.span,
                what,
                total_return(run.equity),
                max_drawdown(run.equity),
                loss / float(run.equity[0]),
                mean_short_vega(outcome),
                *(float(np.mean(cap_use(run.measures[n], run.caps[n]))) for n in caps),
            )
        )
    return Table(
        title="Does the layer help a short strangle?",
        columns=(
            "span",
            "short strangle",
            "total return",
            "max drawdown",
            "99 % ES of a day",
            "mean short vega",
            *(f"mean use of {name}" for name in caps),
        ),
        rows=tuple(rows),
        percent=(
            "total return",
            "max drawdown",
            "99 % ES of a day",
            *(f"mean use of {name}" for name in caps),
        ),
        note="The scaled run is brought towards the mean short vega of the run with the layer; its "
        "column says how near it came. The 99 % ES is of daily P&L, over the equity at the start. "
        "gap_loss, which binds only before events, and day_loss, which no trade changes, are left "
        "out.",
    )


def breaches_table(outcomes: Sequence[Outcome]) -> Table:
    """What the independent auditor counted, run by run."""
    return Table(
        title="Breaches of hard caps, counted by the independent auditor",
        columns=(
            "span", "policy", "layer", "steps", "steps with a trade", "active breaches",
            "drift breaches", "unauditable", "intervened",
        ),
        rows=tuple(
            (
                o.run.span,
                o.run.name,
                "with" if o.run.layered else "without",
                o.audit.steps,
                o.audit.steps_with_trade,
                o.run.active_breaches,
                o.run.drift_breaches,
                sum(o.audit.unauditable.values()),
                intervention_rate(o.run.verdicts) if o.run.layered else None,
            )
            for o in outcomes
        ),
        percent=("intervened",),
        note="Active: a trade left a measure outside its cap and further out than before, at the "
        "market of the decision. Drift: outside before any trade. day_loss is no property of a "
        "book and is not audited. The agents were trained inside the layer: their rows without it "
        "say what taking it away does, not what training without it would have given.",
    )  # fmt: skip
