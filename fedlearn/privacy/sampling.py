"""How cohorts are drawn, and what not knowing them is worth to a client.

Amplification by sampling holds against those who learn nothing of who takes part: whoever is given the
model, and no transcript. It holds for cohorts in which each client enters by its own secret coin, divided
by a fixed number. The server draws the coins and the members of a cohort are named to each other: they
know, and nothing is amplified against them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fedlearn._validate import in_range, positive
from fedlearn.crypto.noise import NoiseSource
from fedlearn.errors import ConfigError, SamplerMismatch
from fedlearn.privacy.events import Event, SampledGaussianEvent


@dataclass(frozen=True, kw_only=True)
class CohortSampling:
    """Cohorts of a run.

    Attributes:
      clients: number of clients in the population, n.
      rate: share of them in a cohort, in (0, 1].
      poisson: each client by its own coin; else a fixed number.
      least: smaller cohorts are not asked, and their round is void.
      most: larger ones are not either.

    Raises:
      ConfigError: a value out of range.
    """

    clients: int
    rate: float
    poisson: bool
    least: int
    most: int

    def __post_init__(self) -> None:
        positive(clients=self.clients, rate=self.rate)
        in_range(0.0, 1.0, rate=self.rate)
        if not 0 <= self.least <= self.most <= self.clients:
            raise ConfigError(
                f"cohorts of {self.least} to {self.most} clients do not fit {self.clients} clients"
            )

    @property
    def truncation(self) -> float:
        """Odds that a round is void for its cohort's size, with or without any one client: the larger.

        The ideal sampler never voids a round. So this is its statistical distance from the one that runs.
        """
        if not self.poisson:
            return 0.0
        from scipy.stats import binom

        def outside(clients: int) -> float:
            law = binom(clients, self.rate)
            return float(law.cdf(self.least - 1) + law.sf(self.most))

        return max(outside(self.clients), outside(self.clients - 1))

    def draw(self, names: Iterable[str], coins: NoiseSource) -> tuple[str, ...]:
        """Returns a Poisson cohort, sorted: each client by its own coin, of a source that must be secret."""
        ordered = sorted(names)
        drawn = coins.bernoulli(len(ordered), self.rate)
        return tuple(name for name, enters in zip(ordered, drawn, strict=True) if enters)

    def amplified(self, event: Event) -> SampledGaussianEvent:
        """Returns what one round of the run spends against those who see no cohort, of every client.

        Args:
          event: what it spends of a client that is in the cohort.

        Raises:
          SamplerMismatch: cohorts are of a fixed size, or the event claims sampling of its own.
        """
        if not self.poisson or event.sample_rate != 1.0:
            raise SamplerMismatch(
                f"cohort.sampling={'poisson' if self.poisson else 'fixed'!r} with sample_rate="
                f"{event.sample_rate:g} earns no amplification: cohorts of a fixed size cost more under"
                " add/remove than the accountant's Poisson samples; set cohort.sampling='poisson'"
            )
        near = event if isinstance(event, SampledGaussianEvent) else event.near_gaussian()
        return SampledGaussianEvent(
            noise_multiplier=near.noise_multiplier,
            sample_rate=self.rate,
            steps=near.steps,
            log_ratio=near.log_ratio,
            distance=near.distance + self.truncation,
        )
