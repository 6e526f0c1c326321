"""The README's policy and endpoints are read as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from riskenv.data.event_request import HttpEventsConfig

from riskenv import EventPolicy
from riskenv.config import load_config

README = Path(__file__).parents[3] / "README.md"


def blocks(word: str) -> list[str]:
    found = re.findall(r"```yaml\n(.*?)```", README.read_text(), re.S)
    return [block for block in found if block.startswith(word)]


def read(kind, text: str, folder: Path):
    path = folder / "block.yaml"
    path.write_text(text)
    return load_config(kind, path)


def test_the_policy_is_one(tmp_path: Path) -> None:
    (block,) = blocks("rules:")
    policy = read(EventPolicy, block, tmp_path)
    assert [rule.kind for rule in policy.rules] == [
        "tighten",
        "block_new",
        "reduce_size",
        "hedge_gap",
    ]


@pytest.mark.parametrize(("number", "kinds"), [(0, {"earnings"}), (1, {"cpi", "nfp"})])
def test_an_endpoint_is_one(number: int, kinds: set[str], tmp_path: Path) -> None:
    mapping = read(HttpEventsConfig, blocks("name:")[number], tmp_path).mapping
    assert {mapping.event_type, *mapping.event_types.values()} - {""} == kinds
