"""How a client's update is protected, and what that spends, as one value.

What runs and what is accounted come from the same object, so they cannot drift apart: the trainer
reads its noise from :attr:`Protection.record`, the account charges :meth:`Protection.event`.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from fedlearn.errors import ConfigError, PrivacyError, SecureAggregationNeeded
from fedlearn.privacy.budget import Budget
from fedlearn.privacy.cohort_noise import CohortNoise
from fedlearn.privacy.events import Event, SampledGaussianEvent
from fedlearn.privacy.guarantee import Unit
from fedlearn.privacy.mechanisms import ClientMechanism
from fedlearn.secagg.fixed_point import FixedPoint
from fedlearn.secagg.parameters import SessionParameters
from fedlearn.secagg.roster import Roster
from fedlearn.training.batches import StepPlan
from fedlearn.training.record_privacy import RecordPrivacy


@dataclass(frozen=True, kw_only=True)
class SecureSum:
    """The server learns a sum and nothing else.

    Attributes:
      mode: "masked" runs the protocol; "ideal" sums the same ring elements without keys, which
        gives the same bits and protects nothing.
      parameters: quorum, threshold and floor of a session.
      encoding: how reals become ring elements.
      roster: the pinned identities of all clients.
      weights: public weight of each client, in (0, 1]; bound in every session.
      noise: integer noise that the cohort adds up to; None: each client protects its own vector, or
        nobody does.
      mechanism: client-level DP of the updates that are summed; None without.
    """

    mode: Literal["masked", "ideal"]
    parameters: SessionParameters
    encoding: FixedPoint
    roster: Roster
    weights: tuple[tuple[str, float], ...]
    noise: CohortNoise | None = None
    mechanism: ClientMechanism | None = None

    @cached_property
    def configuration_digest(self) -> bytes:
        """SHA-256 over everything that clients must agree on before they add up."""
        agreed = (self.parameters, self.encoding, self.weights, self.noise, self.mechanism)
        return hashlib.sha256(repr(agreed).encode()).digest()


@dataclass(frozen=True, kw_only=True)
class Protection:
    """One client's protection in every round of an experiment.

    Attributes:
      weight: public weight of the client's update, in (0, 1].
      plan: the steps of a round, from the declared size.
      record: record-level DP in each of these steps: with noise of its own, unless the cohort shares
        it; None trains without.
      mechanism: client-level DP of the whole update; None leaves it as it is. Excludes ``record``.
      secure: secure aggregation of the update; None sends it in the clear.
      budget: what the client's records may spend in the run; None leaves it to the number of rounds.
    """

    weight: float
    plan: StepPlan
    record: RecordPrivacy | None = None
    mechanism: ClientMechanism | None = None
    secure: SecureSum | None = None
    budget: Budget | None = None

    def __post_init__(self) -> None:
        if not 0 < self.weight <= 1:
            raise ConfigError(f"weight={self.weight} must lie in (0, 1]; divide by the largest weight")
        if self.shared is not None and self.plan.steps != 1:
            raise PrivacyError(
                f"{self.plan.steps} local steps under noise that the cohort shares: after the first, a record"
                " steers its own client's gradients under a fraction of the noise; take 1 step a round"
            )
        if self.mechanism is not None:
            self._check_mechanism(self.mechanism)

    def _check_mechanism(self, mechanism: ClientMechanism) -> None:
        if self.record is not None or self.shared is not None:
            raise ConfigError(
                "record-level and client-level DP are given together; one ε has one unit: choose"
            )
        if mechanism.added_by == "distributed" and self.secure is None:
            raise SecureAggregationNeeded(
                "privacy.noise='distributed' without secure aggregation: one client's part of the noise is a"
                " fraction of what protects it; set secure_aggregation.enabled=true, or noise='central'"
            )
        if self.secure is not None and self.secure.mechanism != mechanism:
            raise ConfigError("the mechanism of the update is not the one that the members agreed on")

    @property
    def shared(self) -> CohortNoise | None:
        """The noise that the cohort adds together; None if it does not."""
        return None if self.secure is None else self.secure.noise

    @property
    def unit(self) -> Unit:
        """What one round's event protects."""
        return "record" if self.mechanism is None else "client"

    @property
    def clip_norm(self) -> float:
        """C, L2 bound of one unit's contribution to one release; infinite without DP."""
        if self.mechanism is not None:
            return self.mechanism.sums.clip_norm
        if self.shared is not None:
            return self.shared.clip_norm
        return math.inf if self.record is None else self.record.max_grad_norm

    def event(self) -> Event | None:
        """Returns what one round spends, per :attr:`unit`; None without DP."""
        if self.mechanism is not None:
            return self.mechanism.event()
        if self.shared is not None:
            return self.shared.event(sample_rate=self.plan.sample_rate)
        if self.record is None:
            return None
        return SampledGaussianEvent(
            noise_multiplier=self.record.noise_multiplier,
            sample_rate=self.record.sample_rate,
            steps=self.plan.steps,
        )
