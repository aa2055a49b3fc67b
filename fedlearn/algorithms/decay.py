"""Decay rates of moving averages."""

from __future__ import annotations

from fedlearn.errors import ConfigError


def check_decay(**rates: float) -> None:
    """Raises ConfigError unless every rate lies in [0, 1): at 1 the average never forgets.

    >>> check_decay(momentum=0.9)
    """
    for name, rate in rates.items():
        if not 0 <= rate < 1:
            raise ConfigError(f"{name}={rate} must lie in [0, 1)")
