"""`riskenv var backtest` on a user's own CSV: a table, a plot, and words for what does not read."""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest

from riskenv import cli
from riskenv.var_backtest import backtest


@pytest.fixture
def riskenv_command(monkeypatch, capsys, tmp_path):
    """Run `riskenv var backtest ...` in this process; (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["riskenv", "var", "backtest", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        said = capsys.readouterr()
        return end.value.code or 0, said.out, said.err

    return run


def write(path, pnl, var, es=None):
    first = np.datetime64("2023-01-02")
    columns = ["date", "pnl", "var"] + ([] if es is None else ["es"])
    lines = [",".join(columns)]
    for k in range(len(pnl)):
        cells = [pnl[k], var[k]] + ([] if es is None else [es[k]])
        text = ["" if value != value else repr(float(value)) for value in cells]
        lines.append(",".join([str(first + k), *text]))
    path.write_text("\n".join(lines) + "\n")


def test_the_table_says_what_the_tests_find_and_the_plot_is_drawn(riskenv_command, tmp_path):
    rng = np.random.default_rng(3)
    pnl = 100.0 * rng.standard_t(4, 400)
    pnl[[50, 51]] = np.nan
    var, es = np.full(400, -300.0), np.full(400, -350.0)
    write(tmp_path / "own.csv", pnl, var, es)
    code, out, _ = riskenv_command("--pnl", "own.csv", "--out", "made")
    assert code == 0
    found = backtest(pnl, var, es=es)
    assert found.exceptions > 4
    assert re.search(rf"exceptions +{found.exceptions} ", out)
    for row in found.table():
        assert row[0] in out
        assert row[1] in out
    recent = backtest(pnl[-250:], var[-250:])
    assert f"× {recent.traffic_light.multiplier:.2f}" in out, "of the last 250 days"
    page = (tmp_path / "made" / "backtest.html").read_text()
    assert "exceptions, VaR" in page
    assert "plotly.js" in page


def test_es_may_be_left_out_and_p_may_be_another(riskenv_command, tmp_path):
    pnl = np.tile([1.0, -1.0], 60)
    pnl[::20] = -3.0
    write(tmp_path / "own.csv", pnl, np.full(120, -2.0))
    code, out, _ = riskenv_command("--pnl", "own.csv", "--tail", "0.05")
    assert code == 0
    assert "6.0 expected" in out
    assert "shortfall" not in out


HEADER = "date,pnl,var,es\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "line 1: got the columns (none); allowed: date, pnl, var, and es"),
        ("date,pnl\n2024-01-02,1\n", "line 1: got the columns date, pnl; allowed: date, pnl, var"),
        ("date,pnl,var,shortfall\n", "line 1: got the columns date, pnl, var, shortfall"),
        ("date,pnl,var,var\n", "line 1: got the columns date, pnl, var, var"),
        (HEADER, "got no line after the header"),
        (HEADER + "2024-01-02,1,-3\n", "line 2: got 3 cells; allowed: 4"),
        (HEADER + "2/1/2024,1,-3,-4\n", "line 2: date: got '2/1/2024'; allowed: YYYY-MM-DD"),
        (HEADER + "2024-01-02,1,-3,-4\n2024-01-02,1,-3,-4\n", "line 3: date: got 2024-01-02"),
        (HEADER + "2024-01-02,abc,-3,-4\n", "line 2: pnl: got 'abc'; allowed: a finite number"),
        (HEADER + "2024-01-02,-inf,-3,-4\n", "line 2: pnl: got '-inf'; allowed: a finite number"),
        (HEADER + "2024-01-02,1,3,-4\n", "line 2: var: got 3.0; allowed: at most 0"),
        (HEADER + "2024-01-02,1,-3,4\n", "line 2: es: got 4.0; allowed: at most 0"),
        (HEADER + "2024-01-02,1,-3,-2\n", "line 2: es: got -2.0; allowed: at most VaR of that day"),
        (HEADER + '2024-01-02,"1,-3,-4\n', "cannot be read as CSV"),
    ],
)
def test_what_is_wrong_is_named_by_file_line_and_value(riskenv_command, tmp_path, text, words):
    (tmp_path / "own.csv").write_text(text)
    code, _, err = riskenv_command("--pnl", "own.csv")
    assert code == 2
    assert "own.csv" in err
    assert words in err


def test_every_bad_line_is_named_at_once(riskenv_command, tmp_path):
    (tmp_path / "own.csv").write_text(HEADER + "x,1,-3,-4\n2024-01-02,1,-3,-4\n2024-01-03,y,2,-4\n")
    _, _, err = riskenv_command("--pnl", "own.csv")
    assert "2 bad lines" in err
    assert "line 2: date: got 'x'" in err
    assert "line 4: pnl: got 'y'; allowed: a finite number, or empty for Unknown; var: got" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give either --pnl FILE or --study"),
        (["--pnl", "own.csv", "--study"], "give either --pnl FILE or --study"),
        (["--pnl", "own.csv", "--vix", "vix.csv"], "--vix: is of --study"),
        (["--pnl", "none.csv"], "none.csv: No such file"),
        (["--study", "--vix", "none.csv"], "none.csv: No such file"),
        (["--study", "--tail", "0.05"], "--tail: is of --pnl"),
        (["--pnl", "own.csv", "--tail", "0.99"], "--tail: got 0.99; allowed: above 0 and below"),
        (["--pnl", "own.csv", "--level", "0"], "--level: got 0.0; allowed: above 0 and below 0.5"),
    ],
)
def test_wrong_options_are_refused_in_words(riskenv_command, tmp_path, arguments, words):
    write(tmp_path / "own.csv", np.ones(10), -np.ones(10))
    code, _, err = riskenv_command(*arguments)
    assert code == 2
    assert words in err


def test_a_study_without_any_vix_says_what_to_give(riskenv_command):
    """The bundled VIX begins in 2014."""
    code, out, err = riskenv_command("--study", "--fixing")
    assert code == 2
    assert "--vix: no day of 2001-01-02 to 2006-12-31 has VIX" in err
    assert "pass" not in out
