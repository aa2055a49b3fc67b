"""Which precision goes with which protection."""

from __future__ import annotations

from fedlearn.config import ExperimentConfig
from fedlearn.errors import ConfigError


def check_precision(config: ExperimentConfig) -> None:
    """Raises ConfigError for a way to compute under which record-level clipping would not hold.

    Under bfloat16 each record's part is rounded like the activations are, but its norm is taken of the very
    numbers that are summed, in float32; so the bound holds.
    """
    devices, clipping = config.devices, config.training.clipping
    if not (config.privacy.enabled and config.privacy.unit == "record"):
        return
    if devices.precision == "float16":
        raise ConfigError(
            "devices.precision='float16' scales the loss and skips steps that overflow, which would tell of"
            " the records under privacy.unit='record'; use bfloat16 or float32"
        )
    if devices.precision == "bfloat16" and clipping in ("hooks", "ghost"):
        raise ConfigError(
            f"training.clipping={clipping!r} takes norms in the precision of the pass, and a norm in bfloat16"
            " bounds nothing; use clipping 'auto' or 'fast', or precision float32"
        )
    if devices.compile:
        raise ConfigError(
            "devices.compile with privacy.unit='record': records are clipped layer by layer, and a compiled"
            " model has no layers; leave one of them out"
        )
