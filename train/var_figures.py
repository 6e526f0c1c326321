"""P&L against its VaR forecasts, with the exceptions marked: one HTML page, plotly.js inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots

FloatArray = NDArray[np.float64]

_BAR, _INK = "#8a94a3", "#22272e"
_COLOURS = ("#1f5f99", "#c0783c", "#3d7a4e", "#7d5aa6")
_PANEL_HEIGHT = 300


@dataclass(frozen=True, eq=False)
class Panel:
    """One book.

    Attributes:
        title: above it.
        dates: (T,) datetime64[D].
        pnl: (T,) losses negative; NaN = Unknown.
        var: name of a method -> (T,) its forecasts.
        unit: of the P&L.
    """

    title: str
    dates: NDArray[np.datetime64]
    pnl: FloatArray
    var: Mapping[str, FloatArray]
    unit: str


def write_backtest_page(path: Path, title: str, panels: Sequence[Panel]) -> None:
    """Draw the panels, one below the other: P&L as bars, each VaR as a line, exceptions of each
    method as marks in its colour. The same inputs give the same bytes.

    Raises:
        ValueError: no panel.
    """
    if not panels:
        raise ValueError("panels: got none; allowed: one or more")
    figure = make_subplots(
        rows=len(panels), cols=1, shared_xaxes="all", vertical_spacing=0.28 / len(panels),
        subplot_titles=[panel.title for panel in panels],
    )  # fmt: skip
    for row, panel in enumerate(panels, start=1):
        dates = [str(day) for day in panel.dates]
        figure.add_trace(
            # The outline keeps thousands of bars visible that are narrower than a pixel.
            go.Bar(x=dates, y=panel.pnl, name="P&L", legendgroup="pnl", showlegend=row == 1,
                   marker={"color": _BAR, "line": {"width": 0.6, "color": _BAR}}),
            row=row, col=1,
        )  # fmt: skip
        for k, (name, var) in enumerate(panel.var.items()):
            colour = _COLOURS[k % len(_COLOURS)]
            figure.add_trace(
                go.Scatter(x=dates, y=var, name=name, mode="lines", legendgroup=name,
                           line={"color": colour, "width": 1.2}, showlegend=row == 1),
                row=row, col=1,
            )  # fmt: skip
            hit = np.flatnonzero(panel.pnl < var)
            figure.add_trace(
                go.Scatter(
                    x=[dates[i] for i in hit], y=panel.pnl[hit], name=f"exceptions, {name}",
                    mode="markers", legendgroup=name, showlegend=row == 1,
                    marker={"color": colour, "size": 7 + 4 * k, "symbol": "circle-open",
                            "line": {"width": 1.8}},
                ),
                row=row, col=1,
            )  # fmt: skip
        figure.update_yaxes(title_text=panel.unit, row=row, col=1)
    figure.update_layout(
        title={"text": title, "x": 0.01, "y": 0.995, "yanchor": "top"}, bargap=0.0,
        height=_PANEL_HEIGHT * len(panels) + 190,
        plot_bgcolor="white", paper_bgcolor="white", font={"color": _INK, "size": 12},
        legend={"orientation": "h", "y": 1.0 + 0.12 / len(panels), "yanchor": "bottom", "x": 0.0},
        margin={"l": 70, "r": 20, "t": 150, "b": 40},
    )  # fmt: skip
    figure.update_xaxes(gridcolor="#e6e8eb", showticklabels=True)
    figure.update_yaxes(gridcolor="#e6e8eb", zerolinecolor="#9aa2ad")
    path.write_text(
        figure.to_html(include_plotlyjs=True, full_html=True, div_id="backtest"), encoding="utf-8"
    )
