"""Configuration from YAML, a mapping or code: one loader, one kind of error."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError


class ConfigError(ValueError):
    """A configuration was refused; the message lists every offending key at once."""


class Config(BaseModel):
    """Base of every configuration: frozen, unknown keys refused, NaN and infinities refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


ConfigT = TypeVar("ConfigT", bound=Config)


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML 1.2 forbids a key written twice; PyYAML would silently keep the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                line = key_node.start_mark.line + 1
                raise ConfigError(f"line {line}: key {key!r} is written twice; keep one")
            seen.add(key)
        return super().construct_mapping(node, deep)


def load_config(model: type[ConfigT], source: Mapping[str, Any] | str | Path) -> ConfigT:
    """Build `model` from a YAML file (a path) or a mapping.

    Args:
        model: a `Config` subclass.
        source: a path to a YAML file, or a mapping with the same keys.

    Raises:
        ConfigError: the file is missing or not YAML, a key is unknown or missing, or a value is
            of a wrong type or outside what is allowed. Each problem names the key, the value
            received and what is allowed.

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
    if isinstance(source, Mapping):
        name, values = model.__name__, dict(source)
    else:
        path = Path(source)
        name = f"{model.__name__} ({path})"
        values = _read_yaml(path)
    try:
        return model.model_validate(values)
    except ValidationError as error:
        lines = "\n".join(f"  {_explain(model, item)}" for item in error.errors())
        raise ConfigError(f"{name} is not valid:\n{lines}") from None


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    try:
        values = yaml.load(text, Loader=_UniqueKeyLoader)  # a SafeLoader subclass
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected a mapping of keys, got {type(values).__name__}")
    return values


def _explain(model: type[BaseModel], item: Any) -> str:
    """One line for one pydantic error: key, value received, what is allowed."""
    key = ".".join(str(part) for part in item["loc"]) or "(whole)"
    if item["type"] == "missing":
        return f"{key}: is required and is missing"
    if item["type"] == "extra_forbidden":
        return f"{key}: unknown key (value {item['input']!r}); allowed keys: " + ", ".join(
            _allowed_keys(model, item["loc"][:-1])
        )
    message = item["msg"].removeprefix("Value error, ")
    return f"{key}: got {item['input']!r}; {message[0].lower()}{message[1:]}"


def _allowed_keys(model: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    """The keys of the sub-model at `location`, found by walking the annotations."""
    for part in location:
        field = model.model_fields.get(str(part))
        found = _sub_model(field.annotation) if field is not None else None
        if found is not None:
            model = found
    return list(model.model_fields)


def _sub_model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _sub_model(argument)
        if found is not None:
            return found
    return None
