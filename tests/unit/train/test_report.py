"""The report: one file, complete offline, with the numbers a reader would compute."""

import base64
import json
import math
import re

import numpy as np
import pytest
from riskenv.train.performance import EvaluationRun
from riskenv.train.report import Table, write_report
from riskenv.train.report_figures import label, number, thin

INF, NAN = math.inf, math.nan


def a_run(name="short strangle", layered=True, span="2018", days=60, per_day=7, **changes):
    """A quiet year with one loss of 50,000; delta is outside its cap at one step."""
    first = np.datetime64("2018-01-02T15", "h")
    day, hour = np.divmod(np.arange(days * per_day), per_day)
    times = (first + day * np.timedelta64(24, "h") + hour).astype("datetime64[ns]")
    n = len(times)
    equity = 1e6 + 10.0 * np.arange(n)
    equity[n // 2 :] -= 50_000.0
    delta = 100.0 * np.sin(np.arange(n) / 20.0)
    delta[n // 3] = 300.0 if layered else 9_000.0
    fields = {
        "times": times,
        "equity": equity,
        "measures": {"delta": delta, "theta": -delta, "var_1d": -np.full(n, 20_000.0)},
        "caps": {
            "delta": np.tile([-200.0, 200.0], (n, 1)),
            "theta": np.tile([-200.0, INF], (n, 1)),
            "var_1d": np.tile([-25_000.0, INF], (n, 1)),
        },
        "verdicts": ["RESIZE" if i % 4 == 0 and layered else "ALLOW" for i in range(n)],
        "rungs": ["WARN" if i == n // 3 else "NORMAL" for i in range(n)],
        "active_breaches": 0 if layered else 1234,
        "drift_breaches": 5,
    }
    return EvaluationRun(name=name, layered=layered, span=span, **{**fields, **changes})


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    events = {"FOMC": np.array(["2018-01-31T19", "2030-01-01T19"], "datetime64[ns]")}
    table = Table(
        "Coverage", ("Policy", "Days", "Beyond", "p"),
        (("a < b", 1234, 0.0125, None), ("c", 2, -0.5, 0.31)), percent=("Beyond",),
    )  # fmt: skip
    write_report(
        path, "Evaluation <1>", [a_run(), a_run(layered=False)], [table],
        {"Digest": "sha256 3f2a & more"}, events,
    )  # fmt: skip
    return path.read_text(encoding="utf-8")


def rows_of(html, title):
    """Cells of the table under a heading, as text."""
    table = html[html.index(f"<h3>{title}</h3>") :]
    table = table[: table.index("</table>")]
    return [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in table.split("<tr")[2:]]


def figures_of(html):
    return json.loads(re.search(r'id="figures">(.*?)</script>', html, re.S).group(1))


def decoded(array):
    kind = {"f8": np.float64, "f4": np.float32}[array["dtype"]]
    return np.frombuffer(base64.b64decode(array["bdata"]), dtype=kind)


def test_the_file_needs_no_network_and_holds_plotly_once(written):
    ours = re.sub(r"<script>/\*\*.*?</script>", "", written, count=1, flags=re.S)
    assert len(written) - len(ours) > 1_000_000
    assert "plotly.js v" not in ours
    assert not re.findall(r"(?:src|href)=\"(?!#)", ours)
    assert "http" not in ours


def test_the_summary_holds_the_figures_of_each_run(written):
    without, with_layer = rows_of(written, "With and without the layer")
    assert with_layer[:3] == ["2018", "short strangle", "with"]
    # 1,000,000 -> 954,190; the fall is from the high of 1,002,090 to 952,100.
    assert with_layer[3:7] == ["−4.6 %", "−5.0 %", "−49,930", "−49,930"]
    assert with_layer[7:] == ["25.0 %", "0", "5"]
    assert without[7:] == ["–", "1,234", "5"]
    assert re.search(r'class="bad">1,234<', written)


def test_the_use_of_each_cap_is_that_of_every_step(written):
    without, with_layer = rows_of(written, "Use of each cap, %")
    delta = a_run().measures["delta"]
    assert with_layer[3] == f"{np.abs(delta / 200).mean() * 100:.0f} / 150"
    assert without[3].endswith(" / 4,500")
    assert with_layer[5] == "80 / 80"


def test_further_tables_show_percent_separators_and_what_is_not_known(written):
    assert rows_of(written, "Coverage") == [
        ["a &lt; b", "1,234", "1.25 %", "n/a"],
        ["c", "2", "−50.00 %", "0.31"],
    ]


def test_text_from_outside_is_escaped(written):
    assert "<h1>Evaluation &lt;1&gt;</h1>" in written
    assert "<dd>sha256 3f2a &amp; more</dd>" in written


def test_a_breach_survives_the_thinning_and_the_band_carries_the_caps(tmp_path):
    run = a_run(days=700)  # 4,900 steps, drawn with 900 points
    tightened = run.caps["delta"].copy()
    tightened[2000:2003] *= 0.5
    run = a_run(days=700, caps={**run.caps, "delta": tightened})
    path = tmp_path / "report.html"
    write_report(path, "t", [run])
    html = path.read_text(encoding="utf-8")
    greeks = figures_of(html)["f1"]
    low, high, delta = greeks["data"][:3]
    assert decoded(delta["y"]).max() == 300.0
    assert len(decoded(delta["y"])) < 1000
    assert decoded(high["y"]).tolist() == [200.0, 100.0, 200.0, 200.0]
    assert decoded(low["y"]).tolist() == [-200.0, -100.0, -200.0, -200.0]
    changed = run.times[2000].astype("datetime64[ms]").astype(np.int64)
    assert decoded(high["x"])[1] == changed


def test_a_run_that_dwarfs_the_caps_is_cut_and_its_extremes_are_written(written):
    greeks = figures_of(written)["f1"]
    texts = [note["text"] for note in greeks["layout"]["annotations"]]
    assert "without the layer: −100 to 9,000" in texts
    low, high = greeks["layout"]["yaxis"]["range"]
    assert low < -200.0
    assert 300.0 < high < 9_000.0


def test_events_inside_the_span_are_ticks(written):
    for figure in figures_of(written).values():
        assert figure["layout"]["xaxis"]["minor"]["tickvals"] == ["2018-01-31T19:00:00"]


def test_var_panels_count_the_days_that_were_worse(written):
    titles = [note["text"] for note in figures_of(written)["f2"]["layout"]["annotations"]]
    # One loss of 50,000 against a VaR of 20,000, over 59 days that have a next close.
    assert titles == [
        "<b>VaR 1 day</b>, without the layer: worse on 1 of 59 days (1.69 %)",
        "<b>VaR 1 day</b>, with the layer: worse on 1 of 59 days (1.69 %)",
    ]


def test_interventions_add_up_by_month_and_the_ladder_shows_each_days_highest_rung(written):
    ladder = figures_of(written)["f3"]["data"]
    by_name = {trace["name"]: trace for trace in ladder}
    assert set(by_name) == {"RESIZE", "NORMAL", "WARN"}
    shares = decoded(by_name["RESIZE"]["y"])
    # Every fourth of the 210, 196 and 14 steps of January, February and March.
    np.testing.assert_allclose(shares, [5300 / 210, 4900 / 196, 300 / 14])
    assert len(decoded(by_name["WARN"]["x"])) == 1
    assert len(decoded(by_name["NORMAL"]["x"])) == 59


def test_a_run_without_interventions_says_so(tmp_path):
    path = tmp_path / "report.html"
    write_report(path, "t", [a_run(verdicts=["ALLOW"] * 420)])
    html = path.read_text(encoding="utf-8")
    notes = [note["text"] for note in figures_of(html)["f3"]["layout"]["annotations"]]
    assert notes == ["every action passed as asked"]
    assert rows_of(html, "With and without the layer")[0][7] == "0.0 %"


def test_spans_stay_together_and_policies_keep_their_order(tmp_path):
    runs = [
        a_run("b", False, "2007"), a_run("a", True, "2018"), a_run("a", False, "2018"),
        a_run("z", True, "2007"), a_run("b", True, "2007"),
    ]  # fmt: skip
    path = tmp_path / "report.html"
    write_report(path, "t", runs)
    html = path.read_text(encoding="utf-8")
    rows = [row[:3] for row in rows_of(html, "With and without the layer")]
    assert rows == [
        ["2007", "b", "without"], ["2007", "b", "with"], ["2007", "z", "with"],
        ["2018", "a", "without"], ["2018", "a", "with"],
    ]  # fmt: skip
    assert re.findall(r"<h2>(.*?)</h2>", html)[1:] == ["b, 2007", "z, 2007", "a, 2018"]


def test_the_same_inputs_give_the_same_bytes(tmp_path):
    paths = [tmp_path / name for name in ("one.html", "two.html")]
    for path in paths:
        write_report(path, "t", [a_run()], (), {"b": 1, "a": 2})
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.parametrize(
    "changes",
    [
        {"caps": {}},
        {"measures": {}, "caps": {}},
        {"caps": {"delta": np.tile([-INF, INF], (420, 1))}},
        {"measures": {"delta": np.full(420, NAN)}, "caps": {"delta": np.ones((420, 2))}},
        {"measures": {"var_1d": np.full(420, NAN)}, "caps": {}},
        {"equity": np.full(420, NAN)},
        {"rungs": ["A RUNG OF THE FUTURE"] * 420, "verdicts": ["<b>odd"] * 420},
    ],
    ids=["no caps", "nothing", "open caps", "unknown", "unknown VaR", "no equity", "new words"],
)
@pytest.mark.parametrize("layered", [True, False])
def test_what_is_missing_reads_as_missing_and_never_as_zero(tmp_path, changes, layered):
    path = tmp_path / "report.html"
    write_report(path, "t", [a_run(layered=layered, **changes)])
    html = path.read_text(encoding="utf-8")
    assert figures_of(html)
    if "equity" in changes:
        assert rows_of(html, "With and without the layer")[0][3:7] == ["n/a"] * 4
    if list(changes.get("measures", [])) == ["delta"]:
        assert rows_of(html, "Use of each cap, %")[0][3] == "n/a"


def test_a_large_study_stays_below_twelve_megabytes(tmp_path):
    n = 10_000
    noise = np.random.default_rng(0).standard_normal(n)
    measures = ("delta", "gamma", "theta", "vega", "gap_loss", "var_1d", "var_3d", "var_5d")
    caps = np.stack([-2.0 - noise**2, 2.0 + noise**2], axis=1)  # changes at every step
    one = {
        "measures": dict.fromkeys(measures, noise),
        "caps": dict.fromkeys(measures, caps),
        "equity": 1e6 + noise.cumsum(),
    }
    runs = [
        a_run(name, layered, span, days=1000, per_day=10, **one)
        for name in "abcde" for layered in (False, True) for span in ("2007-2009", "2018")
    ]  # fmt: skip
    path = tmp_path / "report.html"
    write_report(path, "t", runs)
    assert path.stat().st_size < 12_000_000


def test_wrong_inputs_are_refused(tmp_path):
    with pytest.raises(ValueError, match="runs: got"):
        write_report(tmp_path / "r.html", "t", [])
    with pytest.raises(ValueError, match="runs: got"):
        write_report(tmp_path / "r.html", "t", [a_run(), a_run()])
    with pytest.raises(ValueError, match=r"rows: got \('x',\); allowed: 2 cells"):
        Table("t", ("a", "b"), (("x",),))
    with pytest.raises(ValueError, match=r"percent: got \('c',\)"):
        Table("t", ("a", "b"), (), percent=("c",))


@pytest.mark.parametrize(
    ("value", "decimals", "percent", "text"),
    [
        (1234567.8, 0, False, "1,234,568"),
        (-0.004, 2, False, "0.00"),  # a rounded zero has no sign
        (-0.004, 1, True, "−0.4 %"),
        (NAN, 2, False, "n/a"),
        (None, 2, True, "n/a"),
        (INF, 0, False, "∞"),
        (-INF, 0, False, "−∞"),
    ],
)
def test_numbers_for_a_reader(value, decimals, percent, text):
    assert number(value, decimals, percent) == text


def test_labels_for_a_reader():
    names = ("delta", "dollar_delta", "var_1d", "es_5d", "gap_loss")
    assert [label(n) for n in names] == [
        "Delta", "Dollar delta", "VaR 1 day", "ES 5 days", "Gap loss",
    ]  # fmt: skip


def test_thinning_keeps_extremes_ends_and_gaps():
    values = np.random.default_rng(1).standard_normal(5_000)
    values[3_210] = NAN
    rows = thin(values, 300)
    assert len(rows) <= 300 + 3
    assert {0, 3_210, 4_999, int(np.nanargmin(values)), int(np.nanargmax(values))} <= set(rows)
    assert thin(values[:300], 300).tolist() == list(range(300))
