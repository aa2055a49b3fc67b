"""Rates of noise, and what accounting costs a client in every round after its first."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch

from fedlearn.crypto.noise import NoiseSource
from fedlearn.privacy.account import Account
from fedlearn.privacy.events import SampledGaussianEvent
from tests.bench.figure import Figure, in_turns

VALUES = 200_000


def noise() -> Iterator[Figure]:
    """Gaussians added to a vector, against torch's generator; discrete Gaussians."""
    source, vector = NoiseSource(), np.zeros(VALUES, np.float32)

    def ours() -> None:
        source.perturb(vector, stddev=1.0)

    def theirs() -> None:
        torch.zeros(VALUES).add_(torch.randn(VALUES))

    ours_taken, theirs_taken = in_turns(ours, theirs, ours, theirs, repeats=41)[2:]
    each = 1e9 / VALUES
    yield Figure(
        name="Gaussian noise, drawn, added and rounded (reference: torch.randn, added)",
        ours=ours_taken.median * each,
        spread=ours_taken.spread(each),
        reference=theirs_taken.median * each,
        unit="ns per value",
        ratio=theirs_taken.median / ours_taken.median,
        bar="ours <= 50",
        holds=ours_taken.median * each <= 50,
    )
    for stddev, bar in ((1.0, 8.0), (40.0, 8.0), (1000.0, 8.0), (2.0**16, None)):
        yield _discrete(source, stddev, bar)


def _discrete(source: NoiseSource, stddev: float, bar: float | None) -> Figure:
    def draw() -> None:
        source.discrete_gaussian(VALUES, stddev=stddev)

    draw()
    taken, each = in_turns(draw, repeats=41)[0], 1e9 / VALUES
    return Figure(
        name=f"discrete Gaussian, stddev {stddev:g}",
        ours=taken.median * each,
        spread=taken.spread(each),
        unit="ns per value",
        bar=f"ours <= {bar:g}" if bar else "none",
        holds=taken.median * each <= bar if bar else None,
    )


def accounting() -> Iterator[Figure]:
    """A projection, a charge and the ε of a round, for one client among a hundred with one mechanism."""
    event = SampledGaussianEvent(noise_multiplier=1.01, sample_rate=1 / 19, steps=19)
    accounts = [Account() for _ in range(100)]
    rounds = []
    for _ in range(4):
        # The first client of a round composes; the ε of an equal history is known to the others.
        first = in_turns(_round_of(accounts[0], event), repeats=1)[0].median
        others = [in_turns(_round_of(account, event), repeats=1)[0].median for account in accounts[1:]]
        rounds.append((first + sum(others)) / len(accounts))
    later = rounds[1:]
    yield Figure(
        name="accounting, per client and round after the first, 100 clients",
        ours=float(np.median(later)) * 1e3,
        spread=(min(later) * 1e3, max(later) * 1e3),
        reference=rounds[0] * 1e3,
        unit="ms",
        bar="ours <= 1",
        holds=float(np.median(later)) * 1e3 <= 1,
    )


def _round_of(account: Account, event: SampledGaussianEvent) -> Callable[[], None]:
    def account_for() -> None:
        account.projected_epsilon(event, delta=1e-4)
        account.charge(event)
        account.epsilon(delta=1e-4)

    return account_for
