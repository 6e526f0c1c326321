"""A bundle is data: exact, deterministic, and refused when a byte of it was changed."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from riskenv import (
    BundleError,
    Caps,
    ConfigError,
    Event,
    EventPolicy,
    EventRule,
    PortfolioRiskManager,
    Proposal,
    RiskGate,
    RiskLimits,
    VarConfig,
    canonical,
    load_bundle,
    load_config,
    save_bundle,
)

from ...property.worlds import DAY, NOW, SESSIONS, World, world

EVENTS = (
    Event("cpi", NOW + DAY, NOW - 30 * DAY, source="a calendar"),
    Event("earnings", NOW + 2 * DAY, NOW, symbol="A", known_at_assumed=True),
)
POLICY = EventPolicy(
    rules=(EventRule(event_type="cpi", sessions_before=2, cap_multiplier=0.7, gap_log_return=0.1),)
)


def a_world(**changes) -> World:
    limits = RiskLimits(caps=Caps(delta=300.0, es_1d=4000.0, gap_loss=1 / 3), release=0.85)
    return world(3, **{"limits": limits, "events": EVENTS, "policy": POLICY} | changes)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "gate.zip"
    save_bundle(a_world().manager, path)
    return path


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(path: Path, content: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, body in content.items():
            archive.writestr(name, body)
    return path


def signed(path: Path, content: dict[str, bytes], **manifest) -> Path:
    """A bundle with right digests, whatever it holds."""
    content = {name: body for name, body in content.items() if name != "manifest.json"}
    header = {
        "format": 1,
        "written_by": "somebody",
        "sha256": {name: hashlib.sha256(body).hexdigest() for name, body in content.items()},
    } | manifest
    header = {key: value for key, value in header.items() if value is not None}
    header["digest"] = canonical.digest(header)
    return write(path, content | {"manifest.json": canonical.to_bytes(header)})


def test_a_loaded_layer_decides_as_the_saved_one_did(bundle: Path) -> None:
    w, (manager, digest) = a_world(), load_bundle(bundle)
    assert manager.config_digest == w.manager.config_digest
    assert digest == RiskGate.load(bundle).digest
    trades = np.random.default_rng(0).integers(-9, 9, len(w.table)).astype(float)
    for seed in range(4):
        here = replace(world(seed), manager=w.manager)
        there = replace(here, manager=manager)
        decisions = [
            RiskGate(v.manager).check(v.portfolio, v.market, trades).to_bytes()
            for v in (here, there)
        ]
        assert decisions[0] == decisions[1]


# Every setting of VaR at another value than its own default, and one method with each.
EVERY_SETTING = {
    "window": 260,
    "min_scenarios": 200,
    "max_history_age": 40,
    "revaluation": "fast",
    "tail_probability": 0.025,
    "vol_shocks": "sticky_moneyness",
    "decay_half_life": 100.0,
    "filter": {"ewma_decay": 0.9, "warm_up": 30, "variance_path": "held"},
    "garch": {
        ticker: {"mean": 0.01, "omega": 0.02, "alpha": 0.05, "gamma": 0.02, "beta": 0.9,
                 "first_variance": 1.5}
        for ticker in "ABC"
    },
    "bootstrap": {"paths": 300, "mean_block": 7.0, "seed": 5},
    "gap_weight": 0.01,
    "history_jumps": {"of": "overnight", "sigmas": 2.5, "window": 280, "min_days": 90},
    "stress": {"grid": {}, "crises": True},
    "proxies": {"C": {"of": "A", "beta": 1.2}},
}  # fmt: skip


@pytest.mark.parametrize("method", ["filtered_ewma", "filtered_garch", "bootstrap"])
def test_every_setting_of_var_is_in_the_bundle(method: str, tmp_path: Path) -> None:
    # Paths that are drawn have no age.
    ageless = {"decay_half_life": None} if method == "bootstrap" else {}
    var = load_config(VarConfig, {**EVERY_SETTING, **ageless, "method": method})
    default = VarConfig().model_dump()
    assert {k for k, value in var.model_dump().items() if value == default[k]} == set(ageless)
    w = a_world()
    history = replace(w.manager.history, overnight=0.5 * w.manager.history.log_return)
    here = PortfolioRiskManager(w.manager.limits, SESSIONS, history=history, var=var)
    save_bundle(here, tmp_path / "gate.zip")
    there, _ = load_bundle(tmp_path / "gate.zip")
    assert there.config_digest == here.config_digest
    for trade in np.eye(len(w.table)):
        menu = Proposal(np.array([10.0 * trade, np.zeros(len(w.table))]))
        one, other = (
            RiskGate(m).decide(w.portfolio, w.market, menu).to_bytes() for m in (here, there)
        )
        assert one == other


@pytest.mark.parametrize(
    "changes",
    [{}, {"with_history": False, "limits": RiskLimits(caps=Caps(delta=1.0))}, {"events": ()}],
)
def test_saving_what_was_loaded_gives_the_same_bytes(changes, tmp_path: Path) -> None:
    first, second = tmp_path / "1.zip", tmp_path / "2.zip"
    digest = save_bundle(a_world(**changes).manager, first)
    assert save_bundle(load_bundle(first)[0], second) == digest
    assert first.read_bytes() == second.read_bytes()


def test_listing_events_in_another_order_gives_the_same_bytes(tmp_path: Path) -> None:
    twins = (*EVENTS, replace(EVENTS[0], source="another"), replace(EVENTS[0], known_at=NOW))
    digests = {
        save_bundle(a_world(events=order).manager, tmp_path / "b.zip")
        for order in (twins, twins[::-1], (twins[2], twins[0], twins[3], twins[1]))
    }
    assert len(digests) == 1


@pytest.mark.parametrize("part", range(4))
def test_a_flipped_byte_is_refused_or_changes_nothing(bundle: Path, part: int, tmp_path: Path):
    """Only what a zip does not need, such as a date, may change unnoticed."""
    body, digest = bundle.read_bytes(), load_bundle(bundle)[1]
    rng = np.random.default_rng(part)
    refused, at = 0, rng.choice(len(body), size=150, replace=False)
    # The last bytes hold the zip's directory: all of the end record, and a sample of the rest.
    at = np.append(at, np.arange(len(body) - 22, len(body))) if part == 0 else at
    path = tmp_path / "flipped.zip"
    for position in at:
        flipped = bytearray(body)
        flipped[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(flipped)
        try:
            assert load_bundle(path)[1] == digest
        except BundleError:
            refused += 1
    assert refused > 0.8 * len(at)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_bundle_is_refused(bundle: Path, share: float, tmp_path: Path) -> None:
    body = bundle.read_bytes()
    (tmp_path / "short.zip").write_bytes(body[: int(share * len(body))])
    with pytest.raises(BundleError, match="not a readable bundle"):
        load_bundle(tmp_path / "short.zip")


@pytest.mark.parametrize("name", sorted(["manifest.json", "limits.json", "var.json", "events.json",
    "event_policy.json", "session_opens.npy", "session_closes.npy", "history.json",
    "history_times.npy", "history_log_return.npy", "history_log_vol_change.npy"]))  # fmt: skip
def test_a_missing_or_changed_member_is_refused_by_name(bundle: Path, name, tmp_path: Path) -> None:
    content = members(bundle)
    assert name in content
    without = {key: body for key, body in content.items() if key != name}
    with pytest.raises(BundleError, match=name):
        load_bundle(write(tmp_path / "a.zip", without))
    changed = content | {name: content[name][:-1] + bytes([content[name][-1] ^ 1])}
    with pytest.raises(BundleError, match=name):
        load_bundle(write(tmp_path / "b.zip", changed))
    if name not in ("manifest.json", "history.json"):  # without the latter there is no history
        with pytest.raises(BundleError, match=name):
            load_bundle(signed(tmp_path / "c.zip", without))


def test_a_member_that_is_not_listed_is_refused(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="surprise"):
        load_bundle(write(tmp_path / "b.zip", members(bundle) | {"surprise.pkl": b"\x80\x04."}))


@pytest.mark.parametrize("form", [0, 2, "1", None])
def test_another_format_is_refused(bundle: Path, form, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="format"):
        load_bundle(signed(tmp_path / "b.zip", members(bundle), format=form))


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("events.json", b'[{"event_type": "cpi"}]'),
        ("events.json", b'[{"event_type": "cpi", "time": 1, "known_at": 2}]'),
        ("events.json", b"7"),
        ("session_opens.npy", b"not an array"),
        ("session_closes.npy", b"\x93NUMPY"),
        ("history.json", b"[]"),
        ("history.json", b"{"),
        ("history.json", b'{"underlyings": ["B", "A"]}'),
        ("history.json", b'{"underlyings": null}'),
    ],
)
def test_wrong_contents_with_right_digests_are_refused(bundle, name, body, tmp_path) -> None:
    with pytest.raises(BundleError):
        load_bundle(signed(tmp_path / "b.zip", members(bundle) | {name: body}))


@pytest.mark.parametrize(
    "manifest", [{"sha256": None}, {"sha256": []}, {"sha256": "x"}, {"format": [1]}]
)
def test_a_manifest_of_another_shape_is_refused(bundle: Path, manifest, tmp_path: Path) -> None:
    with pytest.raises(BundleError):
        load_bundle(signed(tmp_path / "b.zip", members(bundle), **manifest))


@pytest.mark.parametrize("body", [b"", b"hello", b"[]", b"PK\x03\x04"])
def test_something_else_is_refused(body: bytes, tmp_path: Path) -> None:
    (tmp_path / "b.zip").write_bytes(body)
    with pytest.raises(BundleError, match=r"b\.zip"):
        load_bundle(tmp_path / "b.zip")
    with pytest.raises(BundleError, match="no such file"):
        load_bundle(tmp_path / "absent.zip")
    with pytest.raises(BundleError):
        load_bundle(tmp_path)


def test_a_pickled_array_is_not_unpickled(bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "evil.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    content = members(bundle) | {"session_opens.npy": path.read_bytes()}
    with pytest.raises(BundleError, match="allow_pickle"):
        load_bundle(signed(tmp_path / "b.zip", content))


def test_a_limit_of_another_version_is_named(bundle: Path, tmp_path: Path) -> None:
    limits = json.loads(members(bundle)["limits.json"]) | {"surprise": 1}
    content = members(bundle) | {"limits.json": canonical.to_bytes(limits)}
    with pytest.raises(ConfigError, match="surprise: unknown key"):
        load_bundle(signed(tmp_path / "b.zip", content))


DECIDE = """
import numpy as np
from riskenv import InstrumentTable, Instrument, Market, Portfolio, RiskGate
gate = RiskGate.load(path)
a, b = Instrument("A"), Instrument("B")
table = InstrumentTable.of([a, b])
market = Market(now, table, np.array([100.0, 40.0]), 0.0, np.zeros(2),
                np.array([99.0, 39.0]), np.array([101.0, 41.0]), np.zeros(2))
book = Portfolio.of(table, {a: 7.0}, 1e6)
answer = gate.check(book, market, {a: -4.0, b: 90.0}).to_bytes() + repr(
    gate.report(book, market)).encode()
"""


def test_a_gate_loads_and_decides_without_torch_gymnasium_and_pandas(bundle: Path) -> None:
    here: dict = {"path": bundle, "now": NOW}
    exec(DECIDE, here)
    program = f"""
import sys
for name in ("torch", "gymnasium", "pandas", "scipy", "stable_baselines3", "vollib", "arch"):
    sys.modules[name] = None  # importing it fails
path, now = {str(bundle)!r}, {NOW}
{DECIDE}
sys.stdout.buffer.write(answer)
"""
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, env=dict(os.environ), check=False
    )
    assert result.stderr == b""
    assert result.stdout == here["answer"]
