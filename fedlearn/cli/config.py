"""``fedlearn config``: every key of an experiment with its type, default and meaning."""

from __future__ import annotations

import argparse
from typing import Any

from pydantic.fields import FieldInfo

from fedlearn.config import ExperimentConfig, keys
from fedlearn.errors import ConfigError
from fedlearn.registry import nearest


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of ``fedlearn config``."""
    parser.add_argument("file", nargs="?", help="an experiment: print it resolved, with every default")
    parser.add_argument("--explain", metavar="KEY", help="explain one key, as privacy.epsilon")


def run(arguments: argparse.Namespace) -> int:
    """Prints the keys, one key, or a resolved experiment."""
    if arguments.explain:
        print(_explained(arguments.explain))
    elif arguments.file:
        print(ExperimentConfig.from_toml(arguments.file).to_toml(), end="")
    else:
        for key, field in keys():
            print(f"{key:36} {_default(field):16} {field.description or ''}")
    return 0


def _explained(key: str) -> str:
    known = dict(keys())
    if key not in known:
        raise ConfigError(f"{key!r} is not a key.{nearest(key, list(known))}")
    field = known[key]
    limits = ", ".join(str(limit) for limit in field.metadata) or "none"
    return "\n".join(
        (
            f"{key}: {field.description}",
            f"  type     {_type(field)}",
            f"  default  {_default(field)}",
            f"  range    {limits}",
        )
    )


def _type(field: FieldInfo) -> str:
    annotation: Any = field.annotation
    return annotation.__name__ if isinstance(annotation, type) else str(annotation).replace("typing.", "")


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    return "none" if value is None else repr(value)
