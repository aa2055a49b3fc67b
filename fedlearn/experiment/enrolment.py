"""The identities of a federation whose clients one owner sets up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fedlearn.config import ExperimentConfig
from fedlearn.crypto.identity import SigningKey
from fedlearn.experiment.population import Population
from fedlearn.secagg.roster import Roster


@dataclass(frozen=True, kw_only=True)
class Enrolment:
    """The identities of a federation that one owner sets up: a simulation's.

    Attributes:
      keys: each client's signing key; empty where nothing is signed.
      roster: all their public halves.
    """

    keys: Mapping[str, SigningKey]
    roster: Roster

    @classmethod
    def of(cls, clients: Mapping[str, object]) -> Enrolment:
        """Returns fresh keys for the clients, from the operating system."""
        keys = {name: SigningKey.generate() for name in clients}
        return cls(keys=keys, roster=Roster(version=1, members={n: k.public for n, k in keys.items()}))

    @classmethod
    def needed_by(cls, config: ExperimentConfig, population: Population) -> Enrolment:
        """Returns the keys that a run signs with.

        Members of masked sums sign what they send, and clients with DP sign what they have spent; but
        not virtual ones, which would all have to be made to put their keys on the roster.
        """
        secure = config.secure_aggregation
        masked = secure.enabled and secure.mode == "masked"
        signs = config.privacy.enabled and not population.virtual
        return cls.of(population.clients if masked or signs else {})
