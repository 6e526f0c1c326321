"""The figures of a run, by hand."""

import math

import numpy as np
import pytest
from riskenv.train.performance import (
    EvaluationRun,
    cap_use,
    daily_closes,
    daily_pnl,
    drawdown,
    expected_shortfall,
    intervention_rate,
    max_drawdown,
    total_return,
)

INF, NAN = math.inf, math.nan


def hours(*times):
    return np.array(times, dtype="datetime64[h]").astype("datetime64[ns]")


def a_run(**changes):
    fields = {
        "name": "short strangle", "layered": True, "span": "2018",
        "times": hours("2018-02-02T15", "2018-02-02T20", "2018-02-05T20"),
        "equity": np.array([100.0, 101.0, 90.0]),
        "measures": {"delta": np.zeros(3)}, "caps": {"delta": np.ones((3, 2))},
        "verdicts": ["ALLOW"] * 3, "rungs": ["NORMAL"] * 3,
        "active_breaches": 0, "drift_breaches": 0,
    }  # fmt: skip
    return EvaluationRun(**{**fields, **changes})


@pytest.mark.parametrize(
    ("equity", "gain", "fall"),
    [
        ([100, 110, 121], 0.21, 0.0),
        ([100, 50, 75], -0.25, -0.5),
        ([100, 200, 150, 300, 210], 1.1, -0.3),
        ([100, -20], -1.2, -1.2),  # a short book can lose more than all
        ([0, 10], NAN, NAN),  # no base, no rate
        ([100, NAN], NAN, NAN),
    ],
)
def test_total_return_and_max_drawdown(equity, gain, fall):
    equity = np.array(equity, dtype=float)
    assert total_return(equity) == pytest.approx(gain, nan_ok=True)
    assert max_drawdown(equity) == pytest.approx(fall, nan_ok=True)


def test_drawdown_is_measured_from_the_high_so_far():
    np.testing.assert_allclose(drawdown(np.array([10.0, 8.0, 20.0, 15.0])), [0, -0.2, 0, -0.25])


def test_the_days_pnl_is_close_to_close_and_the_first_from_the_first_step():
    times = hours("2018-02-02T15", "2018-02-02T20", "2018-02-05T15", "2018-02-05T20")
    equity = np.array([100.0, 103.0, 90.0, 95.0])
    assert daily_closes(times).tolist() == [1, 3]
    assert daily_pnl(times, equity).tolist() == [3.0, -8.0]
    # One step a day: the first close opens the account, and no P&L is made up for it.
    assert daily_pnl(times[1::2], equity[1::2]).tolist() == [-8.0]


@pytest.mark.parametrize(
    ("pnl", "p", "expected"),
    [
        (np.arange(-5.0, 495.0), 0.01, -3.0),  # the mean of -5 to -1
        (np.arange(-5.0, 245.0), 0.01, -4.2),  # (-5 - 4 - 3 / 2) / 2.5
        (np.array([-7.0, 3.0]), 0.01, -7.0),  # fewer days than 1 / p: the worst
        (np.array([-7.0, 3.0]), 1.0, -2.0),  # all of it: the mean
        (np.array([2.0, 3.0]), 0.5, 0.0),  # never a gain
        (np.array([]), 0.01, NAN),
        (np.array([-1.0, NAN]), 0.01, NAN),
    ],
)
def test_expected_shortfall(pnl, p, expected):
    assert expected_shortfall(pnl, p) == pytest.approx(expected, nan_ok=True)
    assert expected_shortfall(pnl[::-1], p) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("p", [0.0, -0.01, 1.01, NAN])
def test_a_tail_probability_outside_0_to_1_is_refused(p):
    with pytest.raises(ValueError, match=r"p: got .*allowed: above 0 and at most 1"):
        expected_shortfall(np.zeros(3), p)


def test_any_verdict_but_allow_is_an_intervention():
    assert intervention_rate(["ALLOW", "RESIZE", "BLOCK", "REDUCE"]) == 0.75
    assert intervention_rate(["ALLOW"] * 4) == 0.0


@pytest.mark.parametrize(
    ("value", "low", "high", "use"),
    [
        (50, -100, 200, 0.25),
        (-50, -100, 200, 0.5),
        (300, -100, 200, 1.5),
        (7, -100, INF, 0.0),
        (0, 0, 0, 0.0),
        (1e-9, 0, 0, INF),
        (NAN, -1, 1, NAN),
        (NAN, 0, 0, NAN),
        (1, -1, NAN, NAN),
    ],
)
def test_use_is_the_share_of_the_cap_on_the_values_own_side(value, low, high, use):
    got = cap_use(np.array([float(value)]), np.array([[low, high]], dtype=float))
    assert got[0] == pytest.approx(use, nan_ok=True)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("equity", np.zeros(2)),
        ("verdicts", ["ALLOW"]),
        ("rungs", []),
        ("measures", {"delta": np.zeros(4)}),
        ("caps", {"delta": np.zeros(3)}),
        ("times", hours("2018-02-02T20", "2018-02-02T15", "2018-02-05T20")),
        ("times", hours("2018-02-02T20", "2018-02-02T20", "2018-02-05T20")),
        ("times", hours("2018-02-02T20")),
    ],
)
def test_a_run_whose_columns_do_not_match_is_refused_by_name(field, value):
    with pytest.raises(ValueError, match=rf"^{field}.*allowed"):
        a_run(**{field: value})


def test_a_measure_counts_as_capped_where_some_cap_is_finite():
    caps = {
        "delta": np.tile([-INF, INF], (3, 1)),
        "theta": np.tile([-5.0, INF], (3, 1)),
        "vega": np.ones((3, 2)),
    }
    run = a_run(measures={"delta": np.zeros(3), "theta": np.zeros(3)}, caps=caps)
    assert run.capped == ("theta",)
