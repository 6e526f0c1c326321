"""Races: peers take turns in one process, so that noise falls on all; figures end the report."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

_FIGURES: list[str] = []


@dataclass(frozen=True, eq=False)
class Race:
    """Seconds per item of each contestant, one column a round: name -> (rounds,)."""

    seconds: Mapping[str, NDArray[np.float64]]

    def median(self, name: str) -> float:
        return float(np.median(self.seconds[name]))

    def p99(self, name: str) -> float:
        return float(np.quantile(self.seconds[name], 0.99))

    def ratio(self, name: str, peer: str) -> float:
        """Median over the rounds of name / peer, each pair timed within the same round."""
        return float(np.median(self.seconds[name] / self.seconds[peer]))


def race(contestants: Mapping[str, tuple[Callable[[], Any], int]], rounds: int) -> Race:
    """Time each (function, items per call) once a round, after one call to warm up."""
    seconds = {name: np.empty(rounds) for name in contestants}
    for function, _ in contestants.values():
        function()
    collecting = gc.isenabled()
    gc.disable()
    try:
        for i in range(rounds):
            for name, (function, items) in contestants.items():
                start = time.perf_counter_ns()
                function()
                seconds[name][i] = (time.perf_counter_ns() - start) * 1e-9 / items
    finally:
        if collecting:
            gc.enable()
    return Race(seconds)


@pytest.fixture(scope="session", name="race")
def race_fixture() -> Callable[..., Race]:
    return race


@pytest.fixture(scope="session")
def figure() -> Callable[[str], None]:
    """Print a line in the summary at the end of the run, passed or failed."""
    return _FIGURES.append


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if _FIGURES:
        terminalreporter.section("figures")
        for line in _FIGURES:
            terminalreporter.write_line(line)
