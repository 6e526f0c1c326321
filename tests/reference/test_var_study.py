"""The filed results of the VaR study: of the shipped configuration, as its command writes them, and
what the README says of them."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest
from riskenv.data import load_price_history
from riskenv.train.var_config import SHIPPED_STUDY, VarStudyConfig
from riskenv.train.var_market import read_vix, with_vix
from riskenv.train.var_results import csv_text, judge
from riskenv.train.var_study import run_study

from riskenv.config import load_config

FILED = Path(__file__).with_name("var_study_2007_2018.csv")
README = Path(__file__).parents[2] / "README.md"

# What p-values and losses may differ by between machines, whose exponentials differ in a last bit.
PRINTED = 2e-4
NUMBERS = ("_p", "z2", "quantile_loss_bp", "expected", "multiplier")


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text.split("\n", 1)[1])))


def test_the_filed_results_are_of_the_shipped_configuration():
    config = load_config(VarStudyConfig, SHIPPED_STUDY)
    head = FILED.read_text().splitlines()[0]
    assert head == f"# P&L of 2007-01-01 to 2018-12-31, configuration sha256 {config.digest}"


def test_the_readme_tells_every_result():
    rows = rows_of(FILED.read_text())
    assert len(rows) == 24
    text = README.read_text()
    for ticker in ("IXIC", "SPX"):
        for book in ("short_strangle", "calendar", "long_put_spread"):
            mine = {
                row["method"]: f"{row['exceptions']} {row['verdict']}"
                for row in rows
                if (row["underlying"], row["book"]) == (ticker, book)
            }
            cells = r" +".join(mine[m] for m in ("hs", "fhs", "fhs_gaps", "constant"))
            assert re.search(rf"^{ticker} +{book.replace('_', ' ')} +{cells}$", text, re.M)


@pytest.mark.slow
def test_the_command_finds_what_is_filed(shared_data):
    vix = shared_data / "prices" / "vix_close_1993_2019.csv"
    if not vix.is_file():
        pytest.skip(f"VIX of 1999 to 2018 is not here: {vix} does not exist")
    config = load_config(VarStudyConfig, SHIPPED_STUDY)
    prices = with_vix(load_price_history(), read_vix(vix))
    days = run_study(prices, config, config.judged_to)
    results = judge(days, config, config.judged_from, config.judged_to)
    found = rows_of(csv_text(results, config, config.judged_from, config.judged_to))
    filed = rows_of(FILED.read_text())
    assert len(found) == len(filed)
    for one, other in zip(found, filed, strict=True):
        for key, value in other.items():
            if key.endswith(NUMBERS) and value:
                assert float(one[key]) == pytest.approx(float(value), abs=PRINTED), key
            else:
                assert one[key] == value, key
