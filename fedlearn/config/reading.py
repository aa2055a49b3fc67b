"""From TOML to tables, one line per mistake."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from fedlearn.config.section import Section
from fedlearn.errors import ConfigError
from fedlearn.registry import nearest

S = TypeVar("S", bound=Section)


def validated(section: type[S], values: Mapping[str, Any]) -> S:
    """Returns the section with these values; raises ConfigError with one line per mistake."""
    try:
        return section.model_validate(dict(values))
    except ValidationError as error:
        raise ConfigError("; ".join(_explain(detail, section) for detail in error.errors())) from None


def toml_file(path: str | Path) -> dict[str, Any]:
    """Returns the values of a TOML file; raises ConfigError if it cannot be read or parsed."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text at byte {error.start}") from None
    return parsed(text, str(path))


def parsed(text: str, where: str) -> dict[str, Any]:
    """Returns the values of TOML text; raises ConfigError that names where it stands."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where} is not valid TOML: {error}") from None


def overlaid(values: dict[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """Returns the values with each ``key=value`` laid over them; raises ConfigError for one that is none."""
    for setting in settings:
        key, separator, text = setting.partition("=")
        if not separator:
            raise ConfigError(f"setting {setting!r} must read key=value")
        *tables, last = key.strip().split(".")
        table = values
        for name in tables:
            table = table.setdefault(name, {})
            if not isinstance(table, dict):
                raise ConfigError(f"{key.strip()} is not a key: {name!r} holds a value, not a table")
        table[last] = _value(text.strip())
    return values


def _value(text: str) -> Any:
    """Reads a TOML value; a bare word is a string."""
    try:
        value: Any = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    return value


def _section(location: Sequence[str | int], root: type[Section]) -> type[Section]:
    section = root
    for name in location:
        field = section.model_fields.get(str(name))
        if field is None or not (
            isinstance(field.annotation, type) and issubclass(field.annotation, Section)
        ):
            break
        section = field.annotation
    return section


def _explain(detail: ErrorDetails, root: type[Section]) -> str:
    key = ".".join(str(part) for part in detail["loc"] if str(part) not in {"int", "dict[str,int]", "float"})
    if detail["type"] == "extra_forbidden":
        known = list(_section(detail["loc"][:-1], root).model_fields)
        hint = nearest(str(detail["loc"][-1]), known) or f" Known here: {', '.join(known)}"
        return f"{key} is not a key.{hint}"
    message = detail["msg"].removeprefix("Value error, ").removeprefix("Input ").rstrip(".")
    if detail["type"] == "value_error":
        return f"{key}: {message}" if key else message
    return f"{key}={detail['input']!r} {message}"
