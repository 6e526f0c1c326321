"""Configuration from YAML, a mapping or code: one loader, one kind of error."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, NoReturn, Self, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, ValidationError, field_validator
from pydantic_core import CoreSchema, ErrorDetails

from riskenv.yaml_reader import YamlError, read_yaml


class ConfigError(ValueError):
    """A configuration was refused; the message lists every offending key at once."""


_SCALARS = frozenset({"int", "float", "bool", "str"})
# Parts of a core schema that hold the user's own values rather than schemas.
_OPAQUE = frozenset({"default", "expected", "metadata", "serialization", "config"})


def _make_scalars_strict(schema: Any) -> None:
    """Refuse "5" and True where a number is asked for, at any depth of a pydantic core schema."""
    if isinstance(schema, dict):
        if schema.get("type") in _SCALARS:
            schema["strict"] = True
        for key, part in schema.items():
            if key not in _OPAQUE:
                _make_scalars_strict(part)
    elif isinstance(schema, list | tuple):
        for part in schema:
            _make_scalars_strict(part)


class FixedMapping(dict[str, Any]):
    """A mapping within a frozen configuration, frozen as well: a cap that is changed after the
    digest was taken would hold in one place and not in another.

    Example:
        >>> FixedMapping(SPX=1)["SPX"]
        1
        >>> FixedMapping(SPX=1)["SPX"] = 2
        Traceback (most recent call last):
            ...
        TypeError: a configuration is frozen; allowed: a new one with other values
    """

    def _refused(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError("a configuration is frozen; allowed: a new one with other values")

    __setitem__ = __delitem__ = __ior__ = _refused
    clear = pop = popitem = setdefault = update = _refused

    def __reduce__(self) -> tuple[Any, ...]:
        return FixedMapping, (dict(self),)


class Config(BaseModel):
    """Base of every configuration.

    Frozen, mappings in it included. Unknown keys, NaN and infinities are refused, defaults
    included. Numbers, texts and booleans are taken as they are written: `"5"`, `5.0` or `true` is
    no integer, while an integer is a number. Lists become the tuples, and texts the dates, that a
    model asks for.

    Example:
        >>> class Caps(Config):
        ...     delta: float
        >>> Caps(delta=500).delta
        500.0
        >>> Caps(delta=500).model_copy(update={"delta": float("nan")})
        Traceback (most recent call last):
            ...
        riskenv.config.ConfigError: Caps is not valid:
          delta: got nan; input should be a finite number
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True
    )

    def __init__(self, /, **values: Any) -> None:
        """From code, with the same error as from YAML or a mapping.

        Raises:
            ConfigError: see `load_config`.
        """
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise _refused(type(self), type(self).__name__, error) from None

    @field_validator("*")
    @classmethod
    def _fixed(cls, value: Any) -> Any:
        return FixedMapping(value) if type(value) is dict else value

    # Pydantic's own mark of an __init__ that does nothing but validate: parts of a configuration
    # are then validated in place, and all their errors are reported together.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        # Pydantic's strict mode would also refuse a list for a tuple, which YAML cannot write.
        _make_scalars_strict(schema := handler(source))
        return schema

    def __eq__(self, other: object) -> bool:
        # By fields alone: pydantic also compares what a model has computed from them and kept, and
        # arrays among that raise instead.
        if type(other) is not type(self):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in type(self).model_fields)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with some fields replaced, validated like any other configuration.

        Raises:
            ConfigError: a replaced value is not allowed. (Pydantic's own copy does not look.)
        """
        copy = super().model_copy(deep=deep)
        # The fields alone: what a model has computed from them and kept is no key.
        fields = {name: getattr(copy, name) for name in type(self).model_fields}
        return copy if not update else load_config(type(self), {**fields, **update})


ConfigT = TypeVar("ConfigT", bound=Config)


def load_config(model: type[ConfigT], source: Mapping[str, Any] | str | Path) -> ConfigT:
    """Build `model` from a YAML file (a path) or a mapping.

    Args:
        model: a `Config` subclass.
        source: a path to a YAML file, or a mapping with the same keys.

    Raises:
        ConfigError: the file is missing or not YAML, a key is unknown, missing or written twice,
            or a value is of a wrong type or outside what is allowed. Each problem names the key,
            the value received and what is allowed.

    Example:
        >>> class Window(Config):
        ...     days: int
        >>> load_config(Window, {"days": 500}).days
        500
        >>> load_config(Window, {"dayz": 500})
        Traceback (most recent call last):
            ...
        riskenv.config.ConfigError: Window is not valid:
          days: is required and is missing
          dayz: unknown key (value 500); allowed keys: days
    """
    values: Any
    if isinstance(source, Mapping):
        name, values = model.__name__, dict(source)
    elif not isinstance(source, str | Path):
        raise ConfigError(
            f"{model.__name__}: got {_show(source)}; allowed: a mapping of keys, or the path of a "
            "YAML file"
        )
    else:
        name = f"{model.__name__} ({source})"
        try:
            values = read_yaml(Path(source))
        except YamlError as error:
            raise ConfigError(str(error)) from None
        if not isinstance(values, dict):
            raise ConfigError(f"{source}: got {_show(values)}; allowed: a mapping of keys")
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise _refused(model, name, error) from None


# --- words ----------------------------------------------------------------------------------------

# Long or deep values are cut: the message is for a person, and YAML aliases may stand for gigabytes
# of it.
_brief = reprlib.Repr()
_brief.maxstring = _brief.maxother = 80
_brief.maxdict = _brief.maxlist = _brief.maxtuple = 6
_brief.maxlevel = 3
_show = _brief.repr


def _refused(model: type[BaseModel], name: str, error: ValidationError) -> ConfigError:
    lines = "\n".join(f"  {line}" for line in _explain(model, error.errors()))
    return ConfigError(f"{name} is not valid:\n{lines}")


def _explain(model: type[BaseModel], errors: list[ErrorDetails]) -> list[str]:
    """One line for each offending key: the key, the value received and what is allowed."""
    lines: list[str] = []
    alternatives: dict[str, list[str]] = {}  # a union reports each of its members
    received: dict[str, str] = {}
    for error in errors:
        keys, _ = _walk(model, error["loc"])
        key = ".".join(keys) or "(whole)"
        if error["type"] == "missing":
            lines.append(f"{key}: is required and is missing")
        elif error["type"] == "extra_forbidden":
            _, owner = _walk(model, error["loc"][:-1])
            known = [name for m in _members(owner) if _is_model(m) for name in m.model_fields]
            lines.append(
                f"{key}: unknown key (value {_show(error['input'])}); "
                f"allowed keys: {', '.join(known)}"
            )
        else:
            what = "got the key" if error["loc"][-1:] == ("[key]",) else "got"
            received.setdefault(key, f"{what} {_show(error['input'])}")
            alternatives.setdefault(key, []).append(_allowed(error["msg"]))
    for key, allowed in alternatives.items():
        first, *others = dict.fromkeys(allowed)
        rest = "".join(f" or {other.removeprefix('input should be ')}" for other in others)
        lines.append(f"{key}: {received[key]}; {first}{rest}")
    return lines


def _allowed(message: str) -> str:
    """Pydantic's sentence, or a validator's own, to follow a semicolon."""
    for prefix in ("Value error, ", "Assertion failed, "):
        message = message.removeprefix(prefix)
    return message[:1].lower() + message[1:]


def _walk(model: type[BaseModel], location: tuple[int | str, ...]) -> tuple[list[str], Any]:
    """The keys that a user wrote on the way to an error, and the annotation found there.

    Pydantic's location also names the member of a union that it tried, which no user wrote.
    """
    keys: list[str] = []
    annotation: Any = model
    for part in location:
        members = _members(annotation)
        if len(members) > 1:
            annotation = next((m for m in members if part in _names(m)), None)
        elif part != "[key]":
            keys.append(str(part))
            annotation = _below(members[0], part)
    return keys, annotation


def _below(annotation: Any, part: int | str) -> Any:
    """The annotation of a model's field, a mapping's value or a sequence's item."""
    if _is_model(annotation):
        field = annotation.model_fields.get(str(part))
        return None if field is None else field.annotation
    arguments = get_args(annotation)
    if isinstance(part, int) and part < len(arguments) and Ellipsis not in arguments:
        return arguments[part]  # tuple[str, int]
    items = [argument for argument in arguments if argument is not Ellipsis]
    return items[-1] if items else None  # dict[K, V], list[V], tuple[V, ...]


def _members(annotation: Any) -> list[Any]:
    """The members of a union without None; of anything else, itself."""
    if get_origin(annotation) is Annotated:
        return _members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [m for a in get_args(annotation) if a is not type(None) for m in _members(a)]
    return [annotation]


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _names(member: Any) -> set[str]:
    """What pydantic may call a member of a union: its class, or a value of a Literal field."""
    if not _is_model(member):
        return {str(member)}
    tags = {tag for field in member.model_fields.values() for tag in get_args(field.annotation)}
    return {member.__name__} | {tag for tag in tags if isinstance(tag, str)}
