"""What was promised to whom: an (ε, δ) that cannot be read without its meaning."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from fedlearn._validate import in_range
from fedlearn.errors import ConfigError

Unit: TypeAlias = Literal["record", "client"]
"""What one neighbour adds or removes: one record of one client, or one client with all it has."""

Relation: TypeAlias = Literal["add-remove"]
"""The neighbouring relation of every guarantee given here."""

Noise: TypeAlias = Literal["local", "distributed", "central"]
"""Who adds the noise: the client alone, the cohort together, or the server."""


@dataclass(frozen=True, kw_only=True)
class PrivacyGuarantee:
    """An (ε, δ) together with everything that it means nothing without.

    Attributes:
      epsilon: bound on the privacy loss; at least 0; infinite means that nothing is guaranteed.
      delta: probability with which the bound may fail, in [0, 1]; below 1/records to mean anything.
      unit: what is protected: one ``"record"`` or one ``"client"``.
      relation: which data sets are neighbours.
      noise: who adds it.
      adversary: against whom the guarantee holds, as a noun phrase ("the server and …").
      accountant: what computed ε, with its version.
      scope: which releases are composed ("60 rounds of run 3f2a", "all runs since 2024-01-02").

    Raises:
      ConfigError: a value out of range or an unknown word.

    >>> print(PrivacyGuarantee(
    ...     epsilon=4.1221, delta=1e-4, unit="record", noise="local", adversary="the server",
    ...     accountant="PLD", scope="10 rounds"))
    ε = 4.12 at δ = 0.0001 per record (add-remove, local noise) against the server; 10 rounds; PLD
    """

    epsilon: float
    delta: float
    unit: Unit
    relation: Relation = "add-remove"
    noise: Noise
    adversary: str
    accountant: str
    scope: str

    def __post_init__(self) -> None:
        in_range(0.0, math.inf, epsilon=self.epsilon)
        in_range(0.0, 1.0, delta=self.delta)
        _one_of(get_args(Unit), unit=self.unit)
        _one_of(get_args(Relation), relation=self.relation)
        _one_of(get_args(Noise), noise=self.noise)

    def __str__(self) -> str:
        epsilon = "∞ (no guarantee)" if math.isinf(self.epsilon) else format_epsilon(self.epsilon)
        return (
            f"ε = {epsilon} at δ = {self.delta:g} per {self.unit}"
            f" ({self.relation}, {self.noise} noise) against {self.adversary};"
            f" {self.scope}; {self.accountant}"
        )

    def attacker_tpr(self, fpr: float) -> float:
        """Returns the greatest true-positive rate of any membership test at false-positive rate ``fpr``.

        The bound min(1, e^ε · FPR + δ) of Wasserman & Zhou (2010) and Kairouz et al. (2015, Theorem 2.1).

        Args:
          fpr: false-positive rate in [0, 1].

        >>> fair = PrivacyGuarantee(
        ...     epsilon=1.0, delta=1e-5, unit="record", noise="local", adversary="the server",
        ...     accountant="PLD", scope="1 round")
        >>> round(fair.attacker_tpr(0.01), 4)
        0.0272
        """
        in_range(0.0, 1.0, fpr=fpr)
        if math.isinf(self.epsilon) or (fpr > 0 and self.epsilon > -math.log(fpr)):
            return 1.0
        return min(1.0, math.exp(self.epsilon) * fpr + self.delta) if fpr > 0 else self.delta


def adversary_of(noise: Noise, *, colluders: int = 0) -> str:
    """Returns against whom a mechanism protects, as a noun phrase.

    Args:
      noise: who adds it.
      colluders: members of a cohort that may tell what they know, where clients share the noise.

    >>> adversary_of("central")
    'every other client and whoever receives the model, but not the server, which adds the noise'
    """
    others = "every other client and whoever receives the model"
    if noise == "central":
        return f"{others}, but not the server, which adds the noise"
    if noise == "distributed":
        return f"the server, {others}, while at most {colluders} of the clients collude with them"
    return f"the server, {others}"


OUTSIDERS = "whoever receives the model and sees no cohort, neither the server nor any client"
"""Against whom drawing clients by secret coins amplifies."""


def format_epsilon(epsilon: float) -> str:
    """Returns ε as text: two decimals from 1 upwards, three significant digits below.

    >>> format_epsilon(11.0613), format_epsilon(0.00817)
    ('11.06', '0.00817')
    """
    return f"{epsilon:.2f}" if epsilon >= 1 else f"{epsilon:.3g}"


def _one_of(words: tuple[str, ...], **values: str) -> None:
    for name, value in values.items():
        if value not in words:
            raise ConfigError(f"{name}={value!r} must be one of {', '.join(map(repr, words))}")
