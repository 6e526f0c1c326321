"""The report's plots: what one policy did over one span, with and without the risk layer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots
from riskenv.train.performance import EvaluationRun, Floats, Times, daily_closes, drawdown

WITH, WITHOUT, BREACH, INK = "#1f5f99", "#c0783c", "#b3261e", "#22272e"
GREY = "rgba(102,112,128,0.45)"
BAND, BAND_EDGE = "rgba(31,95,153,0.08)", "rgba(31,95,153,0.45)"
VERDICT_COLOURS = {"RESIZE": "#7fa8cf", "BLOCK": "#d9a441", "REDUCE": "#b3261e"}
RUNG_COLOURS = {
    "WARN": "#e3c878",
    "BLOCK_NEW": "#d9a441",
    "REDUCE": "#cc6f3a",
    "FLATTEN": "#b3261e",
    "HALTED": "#4a4f57",
}
UNITS = {
    "delta": "shares",
    "dollar_delta": "currency",
    "beta_delta": "index equivalents",
    "gamma": "delta per point",
    "dollar_gamma": "currency per 1 %",
    "theta": "currency a day",
    "vega": "currency a vol point",
    "gap_loss": "currency",
}


def number(value: float | None, decimals: int = 0, percent: bool = False) -> str:
    """A number for a reader: separators, a true minus, "n/a" for what is not known.

    Example:
        >>> number(-12345.6), number(0.0512, 1, percent=True), number(float("nan"))
        ('−12,346', '5.1 %', 'n/a')
    """
    if value is None or math.isnan(value):
        return "n/a"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    text = f"{value * 100.0 if percent else value:,.{decimals}f}"
    if not text.strip("-0.,"):
        text = text.lstrip("-")  # a rounded zero has no sign
    return text.replace("-", "−") + (" %" if percent else "")


def label(measure: str) -> str:
    """A measure's name for a reader.

    Example:
        >>> label("var_3d"), label("dollar_gamma")
        ('VaR 3 days', 'Dollar gamma')
    """
    name, _, days = measure.rpartition("_")
    if name in ("var", "es") and days[:-1].isdigit():
        unit = "day" if days == "1d" else "days"
        return f"{'VaR' if name == 'var' else 'ES'} {days[:-1]} {unit}"
    return measure.replace("_", " ").capitalize()


def figures(
    pair: Sequence[EvaluationRun], points: int, events: Mapping[str, Times]
) -> list[tuple[str, str, go.Figure]]:
    """(heading, caption, figure) for the runs of one policy over one span."""
    found = [("Equity and drawdown", "", _equity_figure(pair, points))]
    greeks = [m for m in dict.fromkeys(m for run in pair for m in run.capped) if not _tail(m)]
    if greeks:
        caption = (
            "Shaded: what the caps in force allow, events included. Each curve is the book after "
            "the decision. Where the run without the layer leaves the picture, its extremes are "
            "written in; double-click a panel to see all of it."
        )
        heading = (
            "Greeks and gap loss against their caps"
            if "gap_loss" in greeks
            else ("Greeks against their caps")
        )
        found.append((heading, caption, _greeks_figure(pair, greeks, points)))
    horizons = [h for h in (1, 3, 5) if any(f"var_{h}d" in run.measures for run in pair)]
    if horizons:
        caption = (
            "Each dot is the P&L that followed over 1, 3 or 5 sessions, at the date of the "
            "forecast; red where it was worse than VaR. The policy traded on in the meantime, and "
            "windows of 3 and 5 sessions overlap."
        )
        found.append(("VaR, its limit and what followed", caption, _var_figure(pair, horizons)))
    layered = [run for run in pair if run.layered]
    if layered:
        caption = "Share of each month's steps by verdict, and the highest rung of each day."
        found.append(("Interventions and the ladder", caption, _ladder_figure(layered[0])))
    for _, _, figure in found:
        _finish(figure, pair, events)
    return found


def _equity_figure(pair: Sequence[EvaluationRun], points: int) -> go.Figure:
    figure = make_subplots(2, 1, shared_xaxes=True, row_heights=[0.66, 0.34],
                           vertical_spacing=0.05)  # fmt: skip
    for run in pair:
        colour = WITH if run.layered else WITHOUT
        figure.add_trace(_line(run.times, run.equity, points, _layer(run), colour), 1, 1)
        fall = _line(run.times, drawdown(run.equity) * 100.0, points, _layer(run), colour)
        figure.add_trace(fall.update(hovertemplate="%{y:.1f} %"), 2, 1)
    figure.update_yaxes(title_text="equity", row=1)
    figure.update_yaxes(title_text="drawdown, %", row=2)
    return figure.update_layout(height=430)


def _greeks_figure(pair: Sequence[EvaluationRun], greeks: Sequence[str], points: int) -> go.Figure:
    titles = [
        f"<b>{escape(label(m))}</b>" + (f", {UNITS[m]}" if m in UNITS else "") for m in greeks
    ]
    figure = make_subplots(len(greeks), 1, shared_xaxes=True, subplot_titles=titles,
                           vertical_spacing=0.28 / (len(greeks) + 3))  # fmt: skip
    main = pair[-1]  # with the layer, where there is one
    for row, measure in enumerate(greeks, start=1):
        low, high = _view(pair, measure)
        if measure in main.caps:
            for edge in _band(main.times, main.caps[measure], low, high, points):
                figure.add_trace(edge, row, 1)
        for run in pair:
            if measure not in run.measures:
                continue
            colour = WITH if run.layered else WITHOUT
            values = run.measures[measure]
            curve = _line(run.times, values, points, _layer(run), colour)
            figure.add_trace(curve.update(opacity=1.0 if run.layered else 0.8), row, 1)
            lowest, highest = _extremes(values)
            if lowest < low or highest > high:
                text = f"{_layer(run)}: {number(lowest)} to {number(highest)}"
                figure.add_annotation(
                    text=text, row=row, col=1, xref="x domain", yref="y domain", x=1, y=1.0,
                    xanchor="right", yanchor="bottom", showarrow=False,
                    font={"size": 11, "color": colour},
                )  # fmt: skip
        figure.update_yaxes(range=[low, high], row=row)
    return figure.update_layout(height=70 + 165 * len(greeks))


def _var_figure(pair: Sequence[EvaluationRun], horizons: Sequence[int]) -> go.Figure:
    panels = [_var_panel(run, horizon) for horizon in horizons for run in pair]
    figure = make_subplots(
        len(horizons), len(pair), shared_xaxes=True, horizontal_spacing=0.07,
        vertical_spacing=0.26 / (len(horizons) + 2), subplot_titles=[title for title, _ in panels],
    )  # fmt: skip
    for place, (_, traces) in enumerate(panels):
        for trace in traces:
            figure.add_trace(trace, place // len(pair) + 1, place % len(pair) + 1)
    return figure.update_layout(height=60 + 215 * len(horizons))


def _var_panel(run: EvaluationRun, horizon: int) -> tuple[str, list[go.Scatter]]:
    """Title and curves of one horizon: VaR and its limit at each close, and the P&L that came."""
    measure = f"var_{horizon}d"
    if measure not in run.measures:
        return f"{label(measure)}, {_layer(run)}: not computed", []
    rows = daily_closes(run.times)
    times, equity = run.times[rows], run.equity[rows]
    forecast = run.measures[measure][rows]
    came = equity[horizon:] - equity[:-horizon]
    dates, foretold = times[: len(came)], forecast[: len(came)]
    known = ~(np.isnan(foretold) | np.isnan(came))
    worse = known & (came < foretold)
    share = number(worse.sum() / known.sum() if known.any() else None, 2, percent=True)
    title = (
        f"<b>{label(measure)}</b>, {_layer(run)}: worse on {number(int(worse.sum()))} of "
        f"{number(int(known.sum()))} days ({share})"
    )
    traces = [
        _dots(
            times[: len(came)][known & ~worse], came[known & ~worse], "rgba(102,112,128,0.45)", 3
        ),
        _dots(dates[worse], came[worse], BREACH, 5),
        _line(times, forecast, 800, "VaR", WITH if run.layered else WITHOUT),
    ]
    limit = run.caps.get(measure)
    if limit is not None and np.isfinite(limit[rows, 0]).any():
        line = _steps(times, np.where(np.isfinite(limit[rows, 0]), limit[rows, 0], np.nan), 800)
        traces.append(line.update(name="limit", line={"color": INK, "width": 1, "dash": "dot"}))
    return title, traces


def _ladder_figure(run: EvaluationRun) -> go.Figure:
    figure = make_subplots(2, 1, shared_xaxes=True, row_heights=[0.58, 0.42],
                           vertical_spacing=0.09)  # fmt: skip
    months = run.times.astype("datetime64[M]")
    each, month_of = np.unique(months, return_inverse=True)
    steps = np.bincount(month_of, minlength=len(each))
    verdicts = np.array(run.verdicts)
    names = [v for v in dict.fromkeys([*VERDICT_COLOURS, *run.verdicts]) if v != "ALLOW"]
    month_length = (each + np.timedelta64(1, "M")).astype("M8[D]") - each.astype("M8[D]")
    for name in names:
        count = np.bincount(month_of[verdicts == name], minlength=len(each))
        if count.any():
            bar = go.Bar(
                x=_milliseconds(each), y=100.0 * count / steps, name=escape(name), offset=0,
                width=month_length.astype(float) * 0.86 * 86_400_000,
                marker={"color": VERDICT_COLOURS.get(name, "#8e7cc3")},
                hovertemplate="%{y:.1f} %", showlegend=True,
            )  # fmt: skip
            figure.add_trace(bar, 1, 1)
    if all(name == "ALLOW" for name in run.verdicts):
        # Without a bar plotly would leave out the panel, and nothing would say why.
        figure.add_trace(_dots(run.times[:1], np.zeros(1), "rgba(0,0,0,0)", 1), 1, 1)
        figure.update_yaxes(range=[0.0, 1.0], showticklabels=False, row=1)
        figure.add_annotation(
            text="every action passed as asked", row=1, col=1, xref="x domain", yref="y domain",
            x=0.5, y=0.5, showarrow=False,
        )  # fmt: skip

    order = [r for r in dict.fromkeys(run.rungs) if r not in RUNG_COLOURS] + list(RUNG_COLOURS)
    level = np.array([order.index(rung) for rung in run.rungs])
    closes = daily_closes(run.times)
    worst = np.maximum.reduceat(level, np.append(0, closes[:-1] + 1))
    days = run.times[closes].astype("datetime64[D]")
    to_next = np.diff(days, append=days[-1:] + np.timedelta64(1, "D")).astype(float) * 86_400_000
    for rank in np.unique(worst):
        # The bar's height repeats the rung, so that the picture reads without its colours.
        bar = go.Bar(
            x=_milliseconds(days[worst == rank]), y=np.full((worst == rank).sum(), rank + 0.5),
            width=to_next[worst == rank], offset=0, showlegend=False, name=escape(order[rank]),
            marker={"color": RUNG_COLOURS.get(order[rank], "#c9d6e3"), "line": {"width": 0}},
            hovertemplate="%{x|%d %b %Y}",
        )  # fmt: skip
        figure.add_trace(bar, 2, 1)
    ticks = [rank for rank in range(len(order)) if rank <= worst.max() or rank < 2]
    figure.update_yaxes(title_text="% of steps", rangemode="tozero", row=1)
    names = [escape(order[rank]) for rank in ticks]
    figure.update_yaxes(tickvals=ticks, ticktext=names, row=2, range=[-0.1, ticks[-1] + 0.7])
    figure.update_layout(barmode="stack", height=430, hovermode="closest")
    return figure


def _finish(figure: go.Figure, pair: Sequence[EvaluationRun], events: Mapping[str, Times]) -> None:
    """The quiet house style, the common time range and the ticks of events."""
    start = min(run.times[0] for run in pair)
    end = max(run.times[-1] for run in pair)
    dates = [
        str(t.astype("M8[s]")) for times in events.values() for t in times if start <= t <= end
    ]
    if figure.layout.hovermode is None:
        figure.update_layout(hovermode="x unified")
    figure.update_layout(
        template={}, showlegend=any(trace.showlegend for trace in figure.data),
        font={"family": "system-ui, Segoe UI, Helvetica, Arial, sans-serif", "size": 12,
              "color": INK},
        margin={"l": 84, "r": 16, "t": 30, "b": 34}, paper_bgcolor="white", plot_bgcolor="white",
        legend={"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom"},
        hoverlabel={"bgcolor": "white"},
    )  # fmt: skip
    domains = [axis.domain for axis in figure.select_xaxes()]
    for title in figure.layout.annotations:
        if title.xref == "paper":  # a panel's title: to the left, where reading starts
            panel = next(d for d in domains if d[0] <= title.x <= d[1])
            title.update(x=panel[0], xanchor="left", font_size=12)
    figure.update_xaxes(
        type="date", showgrid=False, linecolor="#b9c0c9", ticks="", zeroline=False,
        range=[str(start.astype("M8[s]")), str(end.astype("M8[s]"))],
        minor={"tickmode": "array", "tickvals": dates, "ticks": "outside", "ticklen": 5,
               "tickwidth": 1, "tickcolor": INK},
    )  # fmt: skip
    figure.update_yaxes(
        gridcolor="#eef0f3", zerolinecolor="#c9cfd6", zerolinewidth=1, automargin=False,
        title_font_size=12, title_standoff=6, nticks=6,
        separatethousands=True, exponentformat="none",
    )  # fmt: skip


def thin(values: Floats, points: int) -> NDArray[np.int64]:
    """Rows that draw the same picture: per stretch the lowest, the highest and any NaN.

    Example:
        >>> spike = np.zeros(1000)
        >>> spike[617] = 5.0
        >>> rows = thin(spike, points=20)
        >>> len(rows) <= 22, 617 in rows, int(rows[0]), int(rows[-1])
        (True, True, 0, 999)
    """
    if len(values) <= points:
        return np.arange(len(values))
    kept = {0, len(values) - 1}
    for stretch in np.array_split(np.arange(len(values)), max(1, points // 2)):
        part = values[stretch]
        gap = np.isnan(part)
        if gap.any():
            kept.add(int(stretch[gap.argmax()]))  # the curve breaks where the value is unknown
        if not gap.all():
            kept.update((int(stretch[np.nanargmin(part)]), int(stretch[np.nanargmax(part)])))
    return np.array(sorted(kept))


def _line(times: Times, values: Floats, points: int, name: str, colour: str) -> go.Scatter:
    rows = thin(values, points)
    return go.Scatter(
        x=_milliseconds(times[rows]), y=values[rows].astype(np.float32), name=name, mode="lines",
        line={"color": colour, "width": 1.2}, hovertemplate="%{y:,.4~r}", showlegend=False,
    )  # fmt: skip


def _dots(times: Times, values: Floats, colour: str, size: int) -> go.Scatter:
    return go.Scatter(
        x=_milliseconds(times), y=values.astype(np.float32), mode="markers", name="P&L",
        marker={"color": colour, "size": size}, hovertemplate="%{y:,.0f}", showlegend=False,
    )  # fmt: skip


def _steps(times: Times, values: Floats, points: int) -> go.Scatter:
    """A curve of steps: exact where it changes rarely, thinned where it changes all the time."""
    changes = np.flatnonzero(values[1:] != values[:-1]) + 1
    rows = np.unique(np.concatenate(([0], changes, [len(values) - 1])))
    if len(rows) > points:
        rows = thin(values, points)
    return go.Scatter(
        x=_milliseconds(times[rows]), y=values[rows].astype(np.float32), mode="lines",
        line={"color": BAND_EDGE, "width": 1, "shape": "hv"}, showlegend=False, name="cap",
        hovertemplate="%{y:,.4~r}",
    )  # fmt: skip


def _band(times: Times, cap: Floats, low: float, high: float, points: int) -> list[go.Scatter]:
    """The two edges of what is allowed; an open side reaches to the edge of the picture."""
    edges = []
    for side, limit in ((0, low), (1, high)):
        bound = cap[:, side]
        edge = _steps(times, np.where(np.isinf(bound), limit, bound), points)
        if np.isinf(bound).all():
            edge.update(line={"width": 0}, hoverinfo="skip", hovertemplate=None)
        edges.append(edge)
    edges[1].update(fill="tonexty", fillcolor=BAND)
    return edges


def _view(pair: Sequence[EvaluationRun], measure: str) -> tuple[float, float]:
    """Range of a panel: caps and the main run; the other run too unless it dwarfs them."""
    main = pair[-1]
    seen = [main.caps[measure]] if measure in main.caps else []
    seen += [run.measures[measure] for run in pair[-1:] if measure in run.measures]
    low, high = _extremes(np.concatenate([np.ravel(x) for x in seen] + [np.zeros(1)]))
    for run in pair[:-1]:
        lowest, highest = _extremes(run.measures.get(measure, np.zeros(1)))
        if max(high, highest) - min(low, lowest) <= 3.0 * (high - low):
            low, high = min(low, lowest), max(high, highest)
    margin = 0.10 * (high - low) or 1.0
    return low - margin, high + margin


def _extremes(values: Floats) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 0.0)


def _milliseconds(times: Times) -> Floats:
    """Plotly's dates as numbers: three times smaller than text."""
    return times.astype("datetime64[ms]").astype(np.int64).astype(np.float64)


def _layer(run: EvaluationRun) -> str:
    return "with the layer" if run.layered else "without the layer"


def _tail(measure: str) -> bool:
    return measure.startswith(("var_", "es_"))
