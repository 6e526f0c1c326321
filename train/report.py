"""One self-contained HTML file that shows what the risk layer did to each policy.

The file holds plotly.js once and needs no network. Curves are thinned for the screen, keeping the
lowest and the highest value of each stretch, so no breach disappears; tables use every step.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined
from plotly.offline import get_plotlyjs
from riskenv.train.performance import (
    EvaluationRun,
    Times,
    cap_use,
    daily_pnl,
    expected_shortfall,
    intervention_rate,
    max_drawdown,
    total_return,
)
from riskenv.train.report_figures import figures as draw_figures
from riskenv.train.report_figures import label, number

__all__ = ["EvaluationRun", "Table", "write_report"]

# About 30 curves a run, 16 bytes a point: this keeps any number of runs below 12 MB in all.
_POINTS_OF_ALL_RUNS = 12_000


@dataclass(frozen=True)
class Table:
    """A further table for the summary.

    Attributes:
        title: above it.
        columns: names.
        rows: cells; text is left as it is, an int gets thousands separators, a float
            `decimals`, None and NaN read "n/a".
        percent: columns whose numbers are shares and are shown in percent.
        decimals: of floats.
        note: below it.

    Raises:
        ValueError: a row of another length than `columns`, or an unknown name in `percent`.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str | float | None, ...], ...]
    percent: tuple[str, ...] = ()
    decimals: int = 2
    note: str = ""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"rows: got {row!r}; allowed: {len(self.columns)} cells")
        if not set(self.percent) <= set(self.columns):
            raise ValueError(f"percent: got {self.percent}; allowed: {', '.join(self.columns)}")


def write_report(
    path: Path,
    title: str,
    runs: Sequence[EvaluationRun],
    tables: Sequence[Table] = (),
    notes: Mapping[str, object] | None = None,
    events: Mapping[str, Times] | None = None,
) -> None:
    """Write the report; the same inputs give the same bytes.

    Args:
        path: of the HTML file; its folder must exist.
        title: heading.
        runs: grouped by span and policy in the order given; with and without the layer overlaid.
        tables: shown after the summary.
        notes: what was run (dates, caps, configuration digest, versions), shown in the header.
        events: name ("FOMC") -> datetime64 UTC; ticks under the time axes.

    Raises:
        ValueError: no run, or two runs of the same policy, span and layer.
    """
    keys = [(run.span, run.name, run.layered) for run in runs]
    if not keys or len(set(keys)) != len(keys):
        raise ValueError(f"runs: got {keys}; allowed: one or more, each named once")
    points = max(150, min(900, _POINTS_OF_ALL_RUNS // len(runs)))
    spans = [run.span for run in runs]
    pairs: dict[tuple[str, str], list[EvaluationRun]] = {}
    for run in sorted(runs, key=lambda run: spans.index(run.span)):
        pairs.setdefault((run.span, run.name), []).append(run)
    for pair in pairs.values():
        pair.sort(key=lambda run: run.layered)  # the run with the layer is drawn on top

    figures: dict[str, Any] = {}
    groups = []
    for group, ((span, name), pair) in enumerate(pairs.items()):
        shown = []
        for heading, caption, figure in draw_figures(pair, points, events or {}):
            key = f"f{len(figures)}"
            figures[key] = json.loads(figure.to_json())
            height = figure.layout.height
            shown.append({"key": key, "title": heading, "caption": caption, "height": height})
        groups.append({"anchor": f"g{group}", "title": f"{name}, {span}", "figures": shown})

    ordered = [run for pair in pairs.values() for run in pair]
    page = Environment(autoescape=True, undefined=StrictUndefined).from_string(
        resources.files("riskenv.train").joinpath("report.html").read_text(encoding="utf-8")
    )
    html = page.render(
        title=title,
        notes=[(str(key), str(value)) for key, value in (notes or {}).items()],
        tables=[_summary(ordered), _uses(ordered), *map(_cells, tables)],
        groups=groups,
        events=", ".join(events or {}),
        plotly_js=get_plotlyjs(),
        figures_json=_json(figures),
    )
    Path(path).write_text(html, encoding="utf-8")


def _json(figures: Mapping[str, Any]) -> str:
    # Inside a script element only "<" could end the element.
    return json.dumps(figures, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


# --- tables -----------------------------------------------------------------------------------


def _cell(text: str, style: str = "") -> dict[str, str]:
    return {"text": text, "style": style}


def _run_cells(run: EvaluationRun) -> list[dict[str, str]]:
    layer = _cell("with", "with") if run.layered else _cell("without", "without")
    return [_cell(run.span), _cell(run.name), layer]


def _rows(runs: Sequence[EvaluationRun], cells: list[list[dict[str, str]]]) -> list[dict[str, Any]]:
    spans = [None, *(run.span for run in runs)]
    return [
        {"cells": _run_cells(run) + row, "starts_group": run.span != before}
        for run, row, before in zip(runs, cells, spans, strict=False)
    ]


def _summary(runs: Sequence[EvaluationRun]) -> dict[str, Any]:
    cells = []
    for run in runs:
        pnl = daily_pnl(run.times, run.equity)
        active = "bad" if run.active_breaches else ""
        interventions = number(intervention_rate(run.verdicts), 1, percent=True)
        cells.append(
            [
                _cell(number(total_return(run.equity), 1, percent=True)),
                _cell(number(max_drawdown(run.equity), 1, percent=True)),
                _cell(number(expected_shortfall(pnl))),
                _cell(number(float(pnl.min()) if len(pnl) else None)),
                _cell(interventions if run.layered else "–"),
                _cell(number(run.active_breaches), active),
                _cell(number(run.drift_breaches)),
            ]
        )
    columns = ("Span", "Policy", "Layer", "Total return", "Max drawdown", "ES 99 % of daily P&L",
               "Worst day", "Interventions", "Active breaches", "Drift breaches")  # fmt: skip
    note = (
        "P&L in currency, close to close; ES is the mean of the worst 1 % of days. An intervention "
        "is a step whose verdict is not ALLOW. Active: a trade left a measure outside its cap and "
        "further out than before. Drift: the market moved or an event tightened the cap. Both are "
        "counted by the independent auditor, per step and measure."
    )
    return {
        "title": "With and without the layer", "columns": columns, "rows": _rows(runs, cells),
        "text": [name in ("Span", "Policy", "Layer") for name in columns], "note": note,
    }  # fmt: skip


def _uses(runs: Sequence[EvaluationRun]) -> dict[str, Any]:
    capped = list(dict.fromkeys(measure for run in runs for measure in run.capped))
    cells = [[_use_cell(run, measure) for measure in capped] for run in runs]
    short = [label(m).replace(" days", "d").replace(" day", "d") for m in capped]
    columns = ("Span", "Policy", "Layer", *short)
    note = (
        "Mean / highest share, in percent, of the cap in force that the book used after each "
        "decision. "
        "Above 100 % without an active breach is drift; ∞ is any use of a cap of zero."
    )
    return {
        "title": "Use of each cap, %", "columns": columns, "rows": _rows(runs, cells),
        "text": [row < 3 for row in range(len(columns))], "note": note,
    }  # fmt: skip


def _use_cell(run: EvaluationRun, measure: str) -> dict[str, str]:
    if measure not in run.capped:
        return _cell("–")
    use = cap_use(run.measures[measure], run.caps[measure])
    known = use[~np.isnan(use)]
    if len(known) == 0:
        return _cell("n/a")
    text = f"{number(100 * float(known.mean()))} / {number(100 * float(known.max()))}"
    return _cell(text, "over" if known.max() > 1.0 + 1e-9 else "")


def _cells(table: Table) -> dict[str, Any]:
    def cell(value: str | float | None, column: str) -> dict[str, str]:
        if isinstance(value, str):
            return _cell(value)
        percent = column in table.percent
        whole = isinstance(value, int) and not percent
        return _cell(number(value, 0 if whole else table.decimals, percent))

    rows = [
        {"cells": [cell(v, c) for v, c in zip(row, table.columns, strict=True)],
         "starts_group": False}
        for row in table.rows
    ]  # fmt: skip
    text = [all(isinstance(row[i], str) for row in table.rows) for i in range(len(table.columns))]
    return {"title": table.title, "columns": table.columns, "rows": rows, "text": text,
            "note": table.note}  # fmt: skip
