"""A configuration is taken exactly as written, or refused in words that let its author mend it."""

from __future__ import annotations

import copy
import datetime
import pickle
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from pydantic import Field, ValidationError, create_model, field_validator, model_validator

from riskenv import RiskLimits
from riskenv.config import Config, ConfigError, load_config


class Cap(Config):
    kind: Literal["cap"] = "cap"
    limit: float = Field(gt=0)
    warn: float = 0.8


class Block(Config):
    kind: Literal["block"] = "block"
    sessions: int


class Pair(Config):
    either: Cap | Block


class Policy(Config):
    name: str
    main: Cap
    spare: Cap | None = None
    either: Cap | Block | None = None
    tagged: Cap | Block | None = Field(default=None, discriminator="kind")
    several: tuple[Cap, ...] = ()
    by_symbol: dict[str, Cap] = {}
    deep: dict[str, tuple[Block, ...]] = {}
    nested: tuple[Pair, ...] = ()
    horizon: int | None = None
    since: datetime.date | None = None
    label: int | str = 0
    rung: Literal["warn", "halt"] = "warn"

    @field_validator("name")
    @classmethod
    def _lower(cls, name: str) -> str:
        if name != name.lower():
            raise ValueError("Allowed: lower case")
        return name

    @model_validator(mode="after")
    def _warns_before(self) -> Policy:
        if self.spare and self.spare.limit > self.main.limit:
            raise ValueError("spare.limit must not exceed main.limit")
        return self


GOOD: dict[str, Any] = {"name": "p", "main": {"limit": 5}}


def refusal(source: Any, model: type[Config] = Policy) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(model, source)
    return str(caught.value)


def yaml_file(folder: Path, text: str) -> Path:
    path = folder / "policy.yaml"
    path.write_text(text, encoding="utf-8")
    return path


CAP_KEYS = "allowed keys: kind, limit, warn"


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"colour": 3}, "colour: unknown key (value 3); allowed keys: name, main, spare, either,"),
        ({"main": {}}, "main.limit: is required and is missing"),
        ({"main": {"limit": 5, "x": 1}}, f"main.x: unknown key (value 1); {CAP_KEYS}"),
        ({"spare": {"limit": 5, "x": 1}}, f"spare.x: unknown key (value 1); {CAP_KEYS}"),
        (
            {"several": [{"limit": 5}, {"limit": 5, "x": 1}]},
            f"several.1.x: unknown key (value 1); {CAP_KEYS}",
        ),
        (
            {"by_symbol": {"SPX": {"limit": 5, "x": 1}}},
            f"by_symbol.SPX.x: unknown key (value 1); {CAP_KEYS}",
        ),
        (
            {"by_symbol": {"limit": {"limit": 5, "x": 1}}},  # a ticker named like a field
            f"by_symbol.limit.x: unknown key (value 1); {CAP_KEYS}",
        ),
        (
            {"either": {"kind": "cap", "limit": "5"}},
            "either.limit: got '5'; input should be a valid number",
        ),
        (
            {"nested": [{"either": {"sessions": 1, "x": 1}}]},
            "nested.0.either.x: unknown key (value 1); allowed keys: kind, sessions\n",
        ),
        (
            {"deep": {"SPX": [{"sessions": 1, "x": 1}]}},
            "deep.SPX.0.x: unknown key (value 1); allowed keys: kind, sessions\n",
        ),
        (
            {"either": {"kind": "block", "sessions": 1, "x": 1}},
            "either.x: unknown key (value 1); allowed keys: kind, sessions\n",
        ),
        (
            {"tagged": {"kind": "block", "sessions": 1, "x": 1}},
            "tagged.x: unknown key (value 1); allowed keys: kind, sessions\n",
        ),
        ({"tagged": {"kind": "cape"}}, "tagged: got {'kind': 'cape'}; input tag 'cape' found"),
        ({"main": 7}, "main: got 7; input should be a valid dictionary or instance of Cap"),
        ({"main": None}, "main: got None; input should be a valid dictionary"),
        ({"main": {"limit": 0}}, "main.limit: got 0; input should be greater than 0"),
        ({"main": {"limit": "5"}}, "main.limit: got '5'; input should be a valid number"),
        ({"main": {"limit": True}}, "main.limit: got True; input should be a valid number"),
        ({"main": {"limit": float("nan")}}, "main.limit: got nan; input should be a finite number"),
        ({"main": {"limit": float("inf")}}, "main.limit: got inf; input should be a finite number"),
        ({"main": {"limit": 10**400}}, "main.limit: got 1000"),
        (
            {"by_symbol": {"SPX": {"limit": float("-inf")}}},
            "by_symbol.SPX.limit: got -inf; input should be a finite number",
        ),
        ({"horizon": "5"}, "horizon: got '5'; input should be a valid integer"),
        ({"horizon": True}, "horizon: got True; input should be a valid integer"),
        ({"horizon": 5.0}, "horizon: got 5.0; input should be a valid integer"),
        ({"name": 5}, "name: got 5; input should be a valid string"),
        ({"name": "P"}, "name: got 'P'; allowed: lower case"),
        ({"rung": "stop"}, "rung: got 'stop'; input should be 'warn' or 'halt'"),
        ({"since": "soon"}, "since: got 'soon'; input should be a valid date"),
        ({"label": [1]}, "label: got [1]; input should be a valid integer or a valid string"),
        ({"by_symbol": {1: {"limit": 5}}}, "by_symbol.1: got the key 1; input should be a valid s"),
        ({1: 2}, "1: got"),
        ({"spare": {"limit": 9}}, "(whole): got {"),
        ({"spare": {"limit": 9}}, "; spare.limit must not exceed main.limit"),
    ],
)
def test_a_refusal_names_the_key_the_value_and_what_is_allowed(
    change: dict[Any, Any], line: str
) -> None:
    assert line in refusal(GOOD | change) + "\n"


def test_every_problem_is_told_at_once() -> None:
    lines = refusal({"nam": "p", "main": {"limit": -1}, "horizon": "5"}).splitlines()
    assert lines[0] == "Policy is not valid:"
    assert sorted(line.split(":")[0].strip() for line in lines[1:]) == [
        "horizon",
        "main.limit",
        "nam",
        "name",
    ]


def test_a_huge_value_is_cut_in_the_message() -> None:
    levels: Any = [0] * 9
    for _ in range(12):  # as YAML aliases can: 9**13 items, of which few exist
        levels = [levels] * 9
    message = refusal(GOOD | {"horizon": levels, "label": "y" * 10_000})
    assert len(message) < 2_000


@pytest.mark.parametrize(
    ("annotation", "value", "taken"),
    [
        (float, 5, 5.0),
        (float | None, 5, 5.0),
        (tuple[float, ...], [1, 2.5], (1.0, 2.5)),
        (tuple[tuple[str, int], ...], [["a", 1]], (("a", 1),)),
        (frozenset[str], ["a", "b"], frozenset({"a", "b"})),
        (dict[str, float], {"a": 1}, {"a": 1.0}),
        (int | str, "5", "5"),
        (datetime.date, "2008-09-15", datetime.date(2008, 9, 15)),
        (datetime.date, datetime.date(2008, 9, 15), datetime.date(2008, 9, 15)),
        (Path, "a/b", Path("a/b")),
    ],
)
def test_what_yaml_can_write_becomes_what_the_model_asks_for(
    annotation: Any, value: Any, taken: Any
) -> None:
    model: Any = create_model("Model", __base__=Config, x=(annotation, ...))
    x = load_config(model, {"x": value}).x
    assert x == taken
    assert isinstance(x, type(taken))


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (tuple[float, ...], ["1"]),
        (tuple[float, ...], [True]),
        (tuple[float, float], [1.0, float("nan")]),
        (dict[str, int], {"a": True}),
        (dict[str, float | None], {"a": "1"}),
        (list[dict[str, tuple[int, ...]]], [{"a": [1, "2"]}]),
        (bool, 1),
        (bool, "yes"),
        (str, 1),
        (float, None),
    ],
)
def test_scalars_are_strict_at_any_depth(annotation: Any, value: Any) -> None:
    model: Any = create_model("Model", __base__=Config, x=(annotation, ...))
    assert "x" in refusal({"x": value}, model)


def test_code_is_held_to_the_same_rules() -> None:
    with pytest.raises(ConfigError, match=r"limit: got '5'; input should be a valid number"):
        Cap(limit="5")  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match="frozen"):
        Cap(limit=5).limit = 6


def test_a_default_that_breaks_its_own_rule_is_refused() -> None:
    class Bad(Config):
        days: int = Field(default=0, gt=0)

    assert "days: got 0; input should be greater than 0" in refusal({}, Bad)


def test_a_default_that_looks_like_a_schema_is_left_alone() -> None:
    class Odd(Config):
        form: dict[str, str] = {"type": "int"}

    assert load_config(Odd, {}).form == {"type": "int"}


def test_a_changed_copy_is_validated() -> None:
    cap = Cap(limit=5)
    assert cap.model_copy(update={"limit": 6}) == Cap(limit=6)
    assert cap.model_copy() == cap
    for update in ({"limit": -1}, {"limit": float("nan")}, {"limt": 6}):
        with pytest.raises(ConfigError, match="Cap is not valid"):
            cap.model_copy(update=update)


YAML_HEAD = "name: p\nmain: {limit: 5}\n"


def test_a_file_and_a_mapping_give_the_same_configuration(tmp_path: Path) -> None:
    text = YAML_HEAD + "since: 2008-09-15\nseveral:\n  - limit: 1e5\n"
    mapping = GOOD | {"since": datetime.date(2008, 9, 15), "several": [{"limit": 100_000}]}
    path = yaml_file(tmp_path, text)
    assert load_config(Policy, path) == load_config(Policy, str(path))
    assert load_config(Policy, path) == load_config(Policy, mapping)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "got None; allowed: a mapping of keys"),
        ("- 1\n", "got [1]; allowed: a mapping of keys"),
        ("name: [", "not valid YAML"),
        ("name: a\n---\nname: b\n", "not valid YAML"),
        ("name: !!python/object:os.system x\n", "not valid YAML"),
        ("name: p\nmain: {limit: 5}\nname: q\n", "key 'name' is written twice; keep one"),
        ("name: p\nmain: {limit: 5,\n  limit: 6}\n", "line 3"),
        ("? [a]\n: 1\n", "a key must be a single value, got ['a']"),
        (YAML_HEAD + "since: 2008-13-45\n", "month must be in 1..12"),
        (YAML_HEAD + f"horizon: {'9' * 5000}\n", "not valid YAML"),
        (YAML_HEAD + "deep: " + "[" * 5000, "nested too deeply"),
        (YAML_HEAD + "label: &a [*a]\n", "label: got [[[[...]]]]"),
        (YAML_HEAD + "horizon: .nan\n", "horizon: got nan"),
        ("name: p\nmain: {limit: .inf}\n", "main.limit: got inf; input should be a finite number"),
        ("name: p\nmain: {limit: -.INF}\n", "main.limit: got -inf; input should be a finite"),
        ("name: p\nmain: {limit: '5'}\n", "main.limit: got '5'; input should be a valid number"),
        ("name: p\nmain: {limit: 12:30}\n", "main.limit: got '12:30'; input should be a valid"),
        ("name: p\nmain: {limit: yes}\n", "main.limit: got 'yes'; input should be a valid number"),
        ("name: p\nmain:\n", "main: got None"),
    ],
)
def test_a_bad_file_is_refused_by_name(tmp_path: Path, text: str, words: str) -> None:
    path = yaml_file(tmp_path, text)
    message = refusal(path)
    assert words in message
    assert str(path) in message


def test_a_file_that_cannot_be_read_is_refused_by_name(tmp_path: Path) -> None:
    assert f"{tmp_path / 'none.yaml'}: cannot be read" in refusal(tmp_path / "none.yaml")
    assert "cannot be read" in refusal(tmp_path)  # a folder
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"name: caf\xe9\n")
    assert "cannot be read" in refusal(latin)


@pytest.mark.parametrize(
    ("scalar", "value"),
    [
        ("ON", "ON"),
        ("no", "no"),
        ("y", "y"),
        ("true", True),
        ("1e5", 1e5),
        ("1e-4", 1e-4),
        ("-1.5E+3", -1500.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("1_000", 1000),
        ("1_000.5", 1000.5),
        ("010", 10),
        ("+7", 7),
        ("0x1F", 31),
        ("0o17", 15),
        ("12:30", "12:30"),
        ("1:30:00", "1:30:00"),
        ("'5'", "5"),
        ("~", None),
        ("1.2.3", "1.2.3"),
        ("2008-09-15", datetime.date(2008, 9, 15)),
    ],
)
def test_scalars_are_read_as_yaml_1_2(tmp_path: Path, scalar: str, value: Any) -> None:
    class Anything(Config):
        x: Any
        keys: dict[str, int] = {}

    read = load_config(Anything, yaml_file(tmp_path, f"x: {scalar}\nkeys: {{ON: 1, NO: 2}}\n"))
    assert read.x == value
    assert type(read.x) is type(value)
    assert read.keys == {"ON": 1, "NO": 2}


def test_merge_keys_work_and_the_explicit_key_wins(tmp_path: Path) -> None:
    text = (
        "name: p\nmain: &base {limit: 5, warn: 0.5}\n"
        "several:\n  - {<<: *base, limit: 4}\n  - {limit: 3, <<: *base}\n"
    )
    several = load_config(Policy, yaml_file(tmp_path, text)).several
    assert several == (Cap(limit=4, warn=0.5), Cap(limit=3, warn=0.5))


class Ages(Config):
    seconds: float
    of: dict[str, int] = {}

    @cached_property
    def array(self) -> np.ndarray:
        return np.array([self.seconds, 1.0])


class Other(Ages):
    pass


def test_what_a_configuration_has_computed_and_kept_is_no_part_of_its_value() -> None:
    one, same = Ages(seconds=5.0), Ages(seconds=5.0)
    assert one.array is not same.array
    assert one == same
    assert one != Ages(seconds=6.0)
    assert one != Ages(seconds=5.0, of={"a": 1})
    assert one != Other(seconds=5.0)
    assert one != 5.0
    assert pickle.loads(pickle.dumps(one)) == one


def test_a_mapping_in_a_configuration_cannot_be_changed() -> None:
    limits = load_config(RiskLimits, {"caps": {}, "by_underlying": {"A": {"delta": 5}}})
    before = limits.digest
    for change in (
        lambda m: m.__setitem__("A", 1), lambda m: m.__delitem__("A"), lambda m: m.pop("A"),
        lambda m: m.update(A=1), lambda m: m.clear(), lambda m: m.setdefault("B", 1),
        lambda m: m.popitem(), lambda m: m.__ior__({"B": 1}),
    ):  # fmt: skip
        for mapping in (limits.by_underlying, limits.by_expiry):
            with pytest.raises(TypeError, match="frozen"):
                change(mapping)
    assert limits.digest == before
    for copied in (pickle.loads(pickle.dumps(limits)), copy.deepcopy(limits)):
        assert copied == limits
        with pytest.raises(TypeError, match="frozen"):
            copied.by_underlying["A"] = 1
