"""Importance of inputs over clients, released under client-level differential privacy.

Each client's vector is its own importance, shares that add up to 1, clipped to an L2 norm of C = 1. The
sum over clients gets Gaussian noise of stddev σ · C in each coordinate and is divided by the public number
of clients.

Guarantee: one client more or less moves the sum by at most C in L2, so that the release is one
``SampledGaussianEvent(noise_multiplier=σ)`` per client. The simulation adds the noise to the sum and sees
the vectors: it protects against whoever receives the explanation. What is done with the sum
afterwards, such as cutting shares below 0, costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from secrets import token_hex

import numpy as np
from numpy.typing import NDArray

from fedlearn.crypto.noise import NoiseSource
from fedlearn.errors import TooFewClients
from fedlearn.privacy.accounting import ACCOUNTANT, epsilon
from fedlearn.privacy.calibration import calibrate_noise
from fedlearn.privacy.clipping import clipped
from fedlearn.privacy.events import Event, SampledGaussianEvent
from fedlearn.privacy.guarantee import PrivacyGuarantee
from fedlearn.privacy.ledger import Ledger
from fedlearn.privacy.release import Release

CLIP_NORM = 1.0


@dataclass(frozen=True, kw_only=True)
class PrivateImportance:
    """A released importance.

    Attributes:
      shares: noisy mean over clients, shape (d,), cut at 0.
      stddev: of the noise in each share, before the cut.
      event: what was executed, per client.
      guarantee: of this release alone.
    """

    shares: NDArray[np.float64] = field(repr=False)
    stddev: float
    event: SampledGaussianEvent
    guarantee: PrivacyGuarantee


def private_importance(
    vectors: Mapping[str, NDArray[np.float64]],
    *,
    epsilon: float,
    delta: float,
    noise: NoiseSource,
    ledgers: Mapping[str, Ledger] | None = None,
    run: str = "",
    dataset: str = "",
) -> PrivateImportance:
    """Returns the mean importance over clients, released once.

    Args:
      vectors: client → importance, shape (d,) each.
      epsilon: ε of the release.
      delta: its δ.
      noise: secret randomness.
      ledgers: client → what its records have spent; each client is charged before anything is released.
      run: run that the model came from, for the ledgers.
      dataset: the ledgers' name of the records.

    Raises:
      TooFewClients: fewer than two: an average over one client is that client.
      TargetUnreachable: no noise meets ε.
      BudgetExhausted: a client's budget does not allow it; nothing is released and nobody is charged.
    """
    if len(vectors) < 2:
        raise TooFewClients(f"{len(vectors)} client: an importance over clients needs at least 2")
    multiplier = calibrate_noise(epsilon=epsilon, delta=delta, sample_rate=1.0, steps=1)
    event = SampledGaussianEvent(noise_multiplier=multiplier, sample_rate=1.0, steps=1)
    release = Release(
        id=f"{run}/explanation-{token_hex(8)}",
        run=run,
        round=0,
        dataset=dataset,
        unit="client",
        clip_norm=CLIP_NORM,
        events=(event,),
    )
    with _charged(ledgers or {}, release):
        total = np.sum(
            [clipped(vector, clip_norm=CLIP_NORM).astype(np.float64) for vector in vectors.values()], axis=0
        )
        noisy = noise.perturb(total, stddev=multiplier * CLIP_NORM, factor=1.0 / len(vectors))
    return PrivateImportance(
        shares=np.maximum(noisy.astype(np.float64), 0.0),
        stddev=multiplier * CLIP_NORM / len(vectors),
        event=event,
        guarantee=_guarantee((event,), delta, "this explanation by itself"),
    )


def together(released: PrivateImportance, spent: Mapping[str, tuple[Event, ...]]) -> PrivacyGuarantee | None:
    """Returns the guarantee per record of a run and its explanation; None if the run guarantees nothing.

    A client's vector with one record more or less is another one of norm at most C, so that the release
    hides each record at half its noise multiplier.

    Args:
      released: the explanation.
      spent: client → what the run has spent per record.
    """
    if not spent:
        return None
    per_record = replace(released.event, noise_multiplier=released.event.noise_multiplier / 2.0)
    delta = released.guarantee.delta
    worst = max(spent.values(), key=lambda events: epsilon(events, delta=delta))
    return replace(
        _guarantee((*worst, per_record), delta, "training and explanation together"), unit="record"
    )


def _guarantee(events: tuple[Event, ...], delta: float, scope: str) -> PrivacyGuarantee:
    return PrivacyGuarantee(
        epsilon=epsilon(events, delta=delta),
        delta=delta,
        unit="client",
        noise="central",
        adversary="whoever receives the explanation",
        accountant=ACCOUNTANT,
        scope=scope,
    )


@contextmanager
def _charged(ledgers: Mapping[str, Ledger], release: Release) -> Iterator[None]:
    """Charges every client, or none: a reservation is taken back if another client refuses."""
    reserved: list[Ledger] = []
    try:
        for ledger in ledgers.values():
            ledger.reserve(release)
            reserved.append(ledger)
    except BaseException:
        for ledger in reserved:
            ledger.refund(release.id)
        raise
    # From here on the noise may have been drawn: what is reserved is spent, whatever happens.
    yield
    for ledger in reserved:
        ledger.commit(release.id, release.id.encode())
