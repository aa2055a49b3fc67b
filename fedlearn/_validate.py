"""Checks of arguments: each takes ``name=value``, and its error prints both with the bound.

>>> positive(learning_rate=0.1)
>>> positive(learning_rate=-1.0)
Traceback (most recent call last):
    ...
fedlearn.errors.ConfigError: learning_rate=-1.0 must be positive and finite
"""

from __future__ import annotations

import math

from fedlearn.errors import ConfigError


def positive(**values: float) -> None:
    """Raises ConfigError unless every value is finite and greater than zero."""
    for name, value in values.items():
        if not (math.isfinite(value) and value > 0):
            raise ConfigError(f"{name}={value} must be positive and finite")


def non_negative(**values: float) -> None:
    """Raises ConfigError unless every value is finite and at least zero."""
    for name, value in values.items():
        if not (math.isfinite(value) and value >= 0):
            raise ConfigError(f"{name}={value} must be finite and at least 0")


def in_range(low: float, high: float, **values: float) -> None:
    """Raises ConfigError unless every value lies in the closed interval [low, high]."""
    for name, value in values.items():
        if not low <= value <= high:
            raise ConfigError(f"{name}={value} must lie in [{low}, {high}]")


def between(low: float, high: float, **values: float) -> None:
    """Raises ConfigError unless every value lies in the open interval (low, high)."""
    for name, value in values.items():
        if not low < value < high:
            raise ConfigError(f"{name}={value} must lie strictly between {low} and {high}")
