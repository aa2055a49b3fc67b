"""What keys the secret randomness of a run's parties: the OS, or the seed if the experiment says so."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from fedlearn.config import ExperimentConfig
from fedlearn.crypto.noise import NoiseSource
from fedlearn.crypto.prg import Keystream
from fedlearn.secagg.rounding import RandomBits


def noise_of(config: ExperimentConfig, run: str, name: str, *use: str) -> Callable[[int], NoiseSource]:
    """Returns round → secret randomness of a party for a use."""
    if not config.reproducible_noise:
        return lambda round: NoiseSource()
    return lambda round: NoiseSource.reproducible_from(config.seed, run, name, *use, round)


def rounding_of(config: ExperimentConfig, run: str, name: str, *use: str) -> Callable[[int], RandomBits]:
    """Returns round → secret bits of a party for stochastic rounding."""
    if not config.reproducible_noise:
        return lambda round: Keystream.from_os()
    label = (config.seed, run, name, *use)
    return lambda round: Keystream(hashlib.sha256(repr(("rounding", *label, round)).encode()).digest())
