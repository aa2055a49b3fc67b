"""Which records may spend how much: the policy that a ledger enforces.

A TOML file, written by the owner of the records::

    [datasets.heart-disease]
    epsilon = 8.0
    delta = 1e-3
    unit = "record"     # what ε is counted per: "record", if left out, or "client"
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, get_args

from fedlearn.errors import ConfigError, FedLearnError
from fedlearn.privacy.budget import Budget
from fedlearn.privacy.guarantee import Unit

_EXAMPLE = "[datasets.NAME] with epsilon = 8.0 and delta = 1e-5"


def read_policy(path: Path) -> dict[str, Budget]:
    """Returns data set → budget.

    Raises:
      ConfigError: the file is missing or is no policy; says what one looks like.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}); a policy reads {_EXAMPLE}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None
    declared = values.pop("datasets", None)
    if values or not isinstance(declared, dict) or not declared:
        raise ConfigError(f"{path} is no policy; it reads {_EXAMPLE}, and nothing else")
    return {name: _budget(path, name, entry) for name, entry in declared.items()}


def _budget(path: Path, name: str, entry: Any) -> Budget:
    numbers = {"epsilon", "delta"}
    given = dict(entry) if isinstance(entry, dict) else {}
    unit = given.pop("unit", "record")
    if given.keys() != numbers or not _are_numbers(given.values()) or unit not in get_args(Unit):
        raise ConfigError(
            f"{path}: datasets.{name} must have epsilon and delta, two numbers, and nothing else but unit,"
            " 'record' or 'client'"
        )
    try:
        return Budget(epsilon=float(given["epsilon"]), delta=float(given["delta"]), unit=unit)
    except FedLearnError as error:
        raise ConfigError(f"{path}: datasets.{name}: {error}") from None


def _are_numbers(values: Any) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
