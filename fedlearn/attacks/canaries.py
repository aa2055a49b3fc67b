"""Canaries in a client's own training: an audit of the releases that an experiment really makes.

The client trains as it always does, through its own code. Only its source of randomness is another:
in every step it adds, before the noise, the clipped gradient of each canary that the step's coins let in,
and notes what came out. Canaries lie along coordinates of the model, one each, so that they do not
meet; what they added is taken out again before the model moves, so that they disturb nothing.

The adversary is the one of the accountant: it sees every noisy sum and knows every other record.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedlearn._types import Vector
from fedlearn._validate import in_range
from fedlearn.attacks.audit import AuditBounds, bounds_of
from fedlearn.crypto.noise import NoiseSource
from fedlearn.errors import ConfigError, PrivacyError
from fedlearn.experiment import Experiment
from fedlearn.experiment.protections import protections
from fedlearn.privacy.events import SampledGaussianEvent
from fedlearn.training.batches import fetch
from fedlearn.training.local import LocalTrainer, Workbench
from fedlearn.training.record_privacy import RecordPrivacy

MOST_CANARIES = 10_000
SIGNIFICANCE = 1e-3
_PROBED_RECORDS = 64


@dataclass(frozen=True, kw_only=True)
class ClientAudit:
    """What auditing one client showed.

    Attributes:
      client: its id.
      rounds: number of rounds trained.
      event: what they are charged as.
      bounds: what was found, could have been found, and is accounted.
      noise_draws: number of noise vectors that were drawn; equal to the steps charged.
      largest_contribution: greatest L2 norm that one real record had in a sum, over ``max_grad_norm``.
    """

    client: str
    rounds: int
    event: SampledGaussianEvent
    bounds: AuditBounds
    noise_draws: int
    largest_contribution: float

    @property
    def faults(self) -> list[str]:
        """What contradicts the accounted ε; empty if nothing does."""
        found = []
        if self.bounds.refuted:
            found.append(
                f"canaries show ε ≥ {max(self.bounds.gaussian, self.bounds.one_run):.3g}, above the accounted"
                f" {self.bounds.accounted:.3g}"
            )
        if self.noise_draws != self.event.steps:
            found.append(f"noise was drawn {self.noise_draws} times in {self.event.steps} charged steps")
        if self.largest_contribution > 1 + 1e-6:
            found.append(f"one record moved a sum by {self.largest_contribution:.6g} times max_grad_norm")
        return found


class CanarySource(NoiseSource):
    """A source of randomness through which canaries enter each release.

    Args:
      members: which canaries are in, shape (m,).
      places: the coordinate of each, shape (m,), distinct.
      privacy: bound and sampling rate; the noise is what the caller asks for.

    Attributes:
      members: as given.
      scores: what was released along each canary beyond the real records, summed over steps, (m,).
    """

    def __init__(
        self, *, members: NDArray[np.bool_], places: NDArray[np.int64], privacy: RecordPrivacy
    ) -> None:
        super().__init__()
        self.members = members
        self.scores = np.zeros(len(members))
        self._places = places
        self._privacy = privacy

    def perturb(
        self, values: Vector, *, stddev: float, factor: float = 1.0, out: Vector | None = None
    ) -> Vector:
        """Returns factor · (values + noise), having noted how the release looks with the canaries in it."""
        drawn = self.members & self.bernoulli(len(self.members), self._privacy.sample_rate)
        added = np.where(drawn, np.float32(self._privacy.max_grad_norm), np.float32(0))
        crowded = values.copy()
        crowded[self._places] += added
        released = super().perturb(crowded, stddev=stddev)
        self.scores += released[self._places].astype(np.float64) - values[self._places]
        released[self._places] -= added
        return np.multiply(released, np.float32(factor), out=out)


class _Silence(NoiseSource):
    """A source that adds nothing: it shows the clipped sum itself."""

    def perturb(
        self, values: Vector, *, stddev: float, factor: float = 1.0, out: Vector | None = None
    ) -> Vector:
        """Returns factor · values."""
        del stddev
        return np.multiply(values, np.float32(factor), out=out)


def audit_client(
    experiment: Experiment,
    *,
    client: str | None = None,
    canaries: int | None = None,
    rounds: int | None = None,
    significance: float = SIGNIFICANCE,
    rng: np.random.Generator,
) -> ClientAudit:
    """Returns what canaries in a client's training show.

    Args:
      experiment: what is audited; only record-level DP with local noise can be.
      client: whose training; None: the client with the most declared records.
      canaries: how many; None: one per parameter, at most 10,000.
      rounds: number of rounds; None: all.
      significance: chance of a false alarm, in (0, 1).
      rng: decides who is in and where each lies; not secret.

    Raises:
      PrivacyError: the experiment has no record-level DP with local noise.
      ConfigError: no such client, or a number out of range.
    """
    name = client or _largest(experiment)
    if name not in experiment.population.clients:
        known = ", ".join(sorted(experiment.population.clients)[:8])
        raise ConfigError(f"client {name!r} is not in the experiment; known: {known}")
    privacy = experiment.config.privacy
    if (privacy.unit, privacy.noise) != ("record", "local"):
        raise PrivacyError(
            "the audit plants canaries under one client's own noise: it needs privacy.unit = 'record' and"
            f" noise = 'local', not {privacy.unit!r} and {privacy.noise!r}"
        )
    protection = protections(experiment.config, experiment.population, None)[name]
    if protection.record is None:
        raise PrivacyError("the experiment has no privacy to audit: set privacy.enabled = true")
    rounds = experiment.config.rounds if rounds is None else rounds
    in_range(1, experiment.config.rounds, rounds=rounds)
    bench = experiment.workbench()
    source = _source(bench.model.dimension, canaries, protection.record, rng)
    _train(experiment, name, bench, source, rounds)
    event = SampledGaussianEvent(
        noise_multiplier=protection.record.noise_multiplier,
        sample_rate=protection.record.sample_rate,
        steps=protection.plan.steps * rounds,
    )
    return ClientAudit(
        client=name,
        rounds=rounds,
        event=event,
        bounds=_bounds(source, protection.record, event, experiment.config.privacy.delta, significance),
        noise_draws=source.draws,
        largest_contribution=_largest_contribution(experiment, name, bench, protection.record),
    )


def _largest(experiment: Experiment) -> str:
    clients = experiment.population.clients
    return max(clients, key=lambda name: clients[name].declared_size)


def _source(
    dimension: int, canaries: int | None, privacy: RecordPrivacy, rng: np.random.Generator
) -> CanarySource:
    count = min(dimension, MOST_CANARIES) if canaries is None else canaries
    in_range(2, dimension, canaries=count)
    places = rng.choice(dimension, size=count, replace=False).astype(np.int64)
    return CanarySource(members=rng.random(count) < 0.5, places=places, privacy=privacy)


def _train(experiment: Experiment, name: str, bench: Workbench, source: CanarySource, rounds: int) -> None:
    """Trains the client alone, from the initial model; how the model moves is no part of the account."""
    data = experiment.population.clients[name]
    protection = protections(experiment.config, experiment.population, None)[name]
    trainer = LocalTrainer(
        client=name,
        dataset=data.train,
        records=data.size,
        plan=protection.plan,
        bench=bench,
        seed=experiment.config.seed,
        privacy=protection.record,
        noise=lambda round: source,
    )
    params = experiment.initial_params.copy()
    for round in range(rounds):
        params += trainer.train(params, round=round)


def _bounds(
    source: CanarySource,
    privacy: RecordPrivacy,
    event: SampledGaussianEvent,
    delta: float,
    significance: float,
) -> AuditBounds:
    deviation = privacy.noise_multiplier * privacy.max_grad_norm * np.sqrt(event.steps)
    scores = source.scores / deviation
    inside, outside = scores[source.members], scores[~source.members]
    return bounds_of(inside, outside, event=event, delta=delta, significance=significance)


def _largest_contribution(
    experiment: Experiment, name: str, bench: Workbench, privacy: RecordPrivacy
) -> float:
    """Returns the greatest norm of one record's part in a sum, over the bound, among some records."""
    data, largest = experiment.population.clients[name], 0.0
    for index in range(min(data.size, _PROBED_RECORDS)):
        inputs, targets = fetch(data.train, np.array([index]))
        bench.model.gradient.zero_()
        bench.private_gradient.write(inputs, targets, privacy=privacy, noise=_Silence())
        part = bench.model.gradient.numpy().astype(np.float64) * privacy.expected_batch
        largest = max(largest, float(np.linalg.norm(part)) / privacy.max_grad_norm)
    return largest
