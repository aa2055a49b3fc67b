"""From how well canaries are told apart to a lower bound on the ε that was spent.

Every canary is in or out by its own coin, and has a score that is larger if it was in. Two bounds:

*Gaussian*: assumes the mechanism that is accounted (Poisson-sampled Gaussian releases) and asks how
little noise it can have had for the scores to separate so well; without sampling this is a bound on
μ of Gaussian DP (Dong et al. 2022, section 2.2). Errors at every threshold are bounded by
Clopper–Pearson, with Bonferroni's correction over thresholds.

*One run*: assumes nothing about the mechanism (Steinke et al. 2023, Theorem 5.2), and is lower for it.

Both hold for canaries that do not meet: each moves a coordinate of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, binom, norm

from fedlearn._validate import between
from fedlearn.errors import ConfigError
from fedlearn.privacy import accounting
from fedlearn.privacy.events import SampledGaussianEvent

# Fixed before the scores are seen, in standard deviations of the accounted noise.
THRESHOLDS = np.arange(-2.0, 6.0, 0.25)

# The noise is searched for between a quarter and eight times the accounted one, to within 0.4 %.
_LEAST, _MOST = 0.25, 8.0
_HALVINGS = 10
_LOSSES = np.concatenate([np.linspace(0.0, 4.0, 41), np.linspace(4.25, 20.0, 64)])
_GUESS_SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0)


@dataclass(frozen=True, kw_only=True)
class AuditBounds:
    """What the scores of one run show, and the most that they could have shown.

    Attributes:
      gaussian: lower bound on ε, taking the mechanism to be the accounted one with unknown noise.
      one_run: lower bound on ε without any assumption on the mechanism.
      reachable: ``gaussian`` if every canary had been told right; more canaries raise it.
      accounted: the ε that is printed for the same releases.
      delta: δ of all of them.
      significance: chance that ``gaussian`` lies above the truth; and that ``one_run`` does.
      canaries: number of canaries, in or out.
    """

    gaussian: float
    one_run: float
    reachable: float
    accounted: float
    delta: float
    significance: float
    canaries: int

    @property
    def refuted(self) -> bool:
        """Whether the accounted ε cannot be true, but for a chance of ``significance``."""
        return max(self.gaussian, self.one_run) > self.accounted


def bounds_of(
    inside: NDArray[np.float64],
    outside: NDArray[np.float64],
    *,
    event: SampledGaussianEvent,
    delta: float,
    significance: float,
) -> AuditBounds:
    """Returns what the scores show about the releases that ``event`` accounts for.

    Args:
      inside: scores of the canaries that were in, shape (a,), in standard deviations of the accounted noise.
      outside: scores of the others, shape (b,), b > 0.
      event: what was charged.
      delta: δ in (0, 1).
      significance: chance of a false alarm, in (0, 1).

    Raises:
      ConfigError: no canary is in, or none is out.
    """
    between(0.0, 1.0, delta=delta, significance=significance)
    if not len(inside) or not len(outside):
        raise ConfigError(
            f"{len(inside)} canaries are in and {len(outside)} out; both must be some: add canaries"
        )
    apart = np.full(len(inside), np.inf), np.full(len(outside), -np.inf)
    return AuditBounds(
        gaussian=gaussian_bound(inside, outside, event=event, delta=delta, significance=significance),
        one_run=one_run_bound(inside, outside, delta=delta, significance=significance),
        reachable=gaussian_bound(*apart, event=event, delta=delta, significance=significance),
        accounted=accounting.epsilon([event], delta=delta),
        delta=delta,
        significance=significance,
        canaries=len(inside) + len(outside),
    )


def gaussian_bound(
    inside: NDArray[np.float64],
    outside: NDArray[np.float64],
    *,
    event: SampledGaussianEvent,
    delta: float,
    significance: float,
) -> float:
    """Returns the ε of the noisiest mechanism of the event's kind that the scores do not refute.

    Args: as :func:`bounds_of`.
    """
    errors = _error_limits(inside, outside, significance)
    if event.sample_rate == 1:
        mu = max(0.0, float(np.max(norm.isf(errors[:, 0]) - norm.ppf(errors[:, 1]))))
        return 0.0 if mu == 0 else accounting.epsilon([_release(1 / mu)], delta=delta)
    noise = _noisiest(event, errors)
    if noise is None:
        return 0.0
    executed = SampledGaussianEvent(noise_multiplier=noise, sample_rate=event.sample_rate, steps=event.steps)
    return accounting.epsilon([executed], delta=delta)


def one_run_bound(
    inside: NDArray[np.float64], outside: NDArray[np.float64], *, delta: float, significance: float
) -> float:
    """Returns the ε that guessing who was in refutes, whatever the mechanism.

    The highest scores are guessed to be in and the lowest out, as many of each; of several numbers of
    guesses the best counts, at a corrected level.
    """
    scores = np.concatenate([inside, outside])
    members = np.concatenate([np.ones(len(inside), bool), np.zeros(len(outside), bool)])
    order = np.argsort(scores, kind="stable")
    level = significance / len(_GUESS_SHARES)
    best = 0.0
    for share in _GUESS_SHARES:
        count = int(share * len(scores) / 2)
        if count:
            correct = int(members[order[-count:]].sum() + (~members[order[:count]]).sum())
            best = max(best, _refuted(len(scores), 2 * count, correct, delta, level))
    return best


def _error_limits(
    inside: NDArray[np.float64], outside: NDArray[np.float64], significance: float
) -> NDArray[np.float64]:
    """Returns upper limits on (false positive, false negative) rate at every threshold, shape (t, 2)."""
    level = significance / (2 * len(THRESHOLDS))
    false_positives = (outside[None] > THRESHOLDS[:, None]).sum(axis=1)
    false_negatives = (inside[None] <= THRESHOLDS[:, None]).sum(axis=1)
    return np.stack(
        [_upper(false_positives, len(outside), level), _upper(false_negatives, len(inside), level)], axis=1
    )


def _upper(errors: NDArray[np.int64], trials: int, level: float) -> NDArray[np.float64]:
    """Returns Clopper–Pearson's upper limit on a rate."""
    limit = beta.isf(level, errors + 1.0, np.maximum(trials - errors, 1))
    return np.where(errors < trials, limit, 1.0)


def _release(noise_multiplier: float) -> SampledGaussianEvent:
    return SampledGaussianEvent(noise_multiplier=noise_multiplier, sample_rate=1.0, steps=1)


def _noisiest(event: SampledGaussianEvent, errors: NDArray[np.float64]) -> float | None:
    """Returns the largest noise multiplier that errors so small leave possible; None if all do."""

    def allowed(log_factor: float) -> bool:
        noise = event.noise_multiplier * math.exp(log_factor)
        return _allows(noise, event.sample_rate, event.steps, errors)

    low, high = math.log(_LEAST), math.log(_MOST)
    if allowed(high):
        return None
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if allowed(middle) else (low, middle)
    return event.noise_multiplier * math.exp(low)


def _allows(noise_multiplier: float, sample_rate: float, steps: int, errors: NDArray[np.float64]) -> bool:
    """Returns whether a mechanism with these parameters can err as little as at every threshold.

    Whatever the test, FNR ≥ 1 − δ(ε) − e^ε · FPR for every ε, and the same with the rates exchanged.
    """
    deltas = _profile(noise_multiplier, sample_rate, steps)
    room = 1 - deltas[:, None]
    slope = np.exp(_LOSSES)[:, None]
    false_positive, false_negative = errors[:, 0], errors[:, 1]
    forward = false_negative >= room - slope * false_positive
    backward = false_positive >= room - slope * false_negative
    return bool(forward.all() and backward.all())


@lru_cache(maxsize=256)
def _profile(noise_multiplier: float, sample_rate: float, steps: int) -> NDArray[np.float64]:
    """Returns δ(ε) at ``_LOSSES``, rounded up."""
    from dp_accounting.pld import privacy_loss_distribution

    loss = privacy_loss_distribution.from_gaussian_mechanism(
        noise_multiplier,
        pessimistic_estimate=True,
        value_discretization_interval=min(0.02, 0.1 / math.sqrt(steps)),
        sampling_prob=sample_rate,
    ).self_compose(steps)
    return np.asarray(loss.get_delta_for_epsilon(_LOSSES), dtype=np.float64)


def _refuted(canaries: int, guesses: int, correct: int, delta: float, level: float) -> float:
    """Returns the largest ε that so many correct guesses refute (Steinke et al. 2023, appendix D)."""
    low, high = 0.0, 1.0
    if _chance(canaries, guesses, correct, low, delta) > level:
        return 0.0
    while _chance(canaries, guesses, correct, high, delta) <= level and high < 64:
        low, high = high, 2 * high
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (
            (middle, high) if _chance(canaries, guesses, correct, middle, delta) <= level else (low, middle)
        )
    return low


def _chance(canaries: int, guesses: int, correct: int, epsilon: float, delta: float) -> float:
    """Returns a bound on the chance of at least so many correct guesses under (ε, δ)-DP."""
    each = 1 / (1 + math.exp(-epsilon))
    back = np.arange(1, correct + 1)
    heap = np.cumsum(binom.pmf(correct - back, guesses, each))
    slack = float(np.max(heap / back, initial=0.0))
    return min(1.0, float(binom.sf(correct - 1, guesses, each)) + 2 * canaries * delta * slack)
