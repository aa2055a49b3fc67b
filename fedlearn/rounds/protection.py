"""How a client's update is protected, and what that spends, as one value.

What runs and what is accounted come from the same object, so they cannot drift apart: the trainer
reads its noise from :attr:`Protection.record`, the account charges :meth:`Protection.event`.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Literal

from fedlearn.errors import ConfigError, PrivacyError
from fedlearn.privacy.cohort_noise import CohortNoise
from fedlearn.privacy.events import SampledGaussianEvent
from fedlearn.privacy.guarantee import Unit
from fedlearn.privacy.ledger import Budget
from fedlearn.secagg.fixed_point import FixedPoint
from fedlearn.secagg.parameters import SessionParameters
from fedlearn.secagg.roster import Roster
from fedlearn.training.batches import StepPlan
from fedlearn.training.private import RecordPrivacy


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
    """

    mode: Literal["masked", "ideal"]
    parameters: SessionParameters
    encoding: FixedPoint
    roster: Roster
    weights: tuple[tuple[str, float], ...]
    noise: CohortNoise | None = None

    @property
    def configuration_digest(self) -> bytes:
        """SHA-256 over everything that clients must agree on before they add up."""
        agreed = (self.parameters, self.encoding, self.weights, self.noise)
        return hashlib.sha256(repr(agreed).encode()).digest()


@dataclass(frozen=True, kw_only=True)
class Protection:
    """One client's protection in every round of an experiment.

    Attributes:
      weight: public weight of the client's update, in (0, 1].
      plan: the steps of a round, from the declared size.
      record: record-level DP in each of these steps: with noise of its own, unless the cohort shares
        it; None trains without.
      secure: secure aggregation of the update; None sends it in the clear.
      budget: what the client's records may spend in the run; None leaves it to the number of rounds.
    """

    weight: float
    plan: StepPlan
    record: RecordPrivacy | None = None
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

    @property
    def shared(self) -> CohortNoise | None:
        """The noise that the cohort adds together; None if it does not."""
        return None if self.secure is None else self.secure.noise

    @property
    def unit(self) -> Unit:
        """What one round's event protects."""
        return "record"

    @property
    def clip_norm(self) -> float:
        """C, L2 bound of one unit's contribution to one release; infinite without DP."""
        if self.shared is not None:
            return self.shared.clip_norm
        return math.inf if self.record is None else self.record.max_grad_norm

    def event(self) -> SampledGaussianEvent | None:
        """Returns what one round spends, per record; None without DP."""
        if self.shared is not None:
            return self.shared.event(sample_rate=self.plan.sample_rate)
        if self.record is None:
            return None
        return SampledGaussianEvent(
            noise_multiplier=self.record.noise_multiplier,
            sample_rate=self.record.sample_rate,
            steps=self.plan.steps,
        )
