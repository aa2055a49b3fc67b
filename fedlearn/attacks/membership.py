"""Whether a record was trained on, told from the final model (LiRA)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import norm, rankdata
from scipy.stats import t as student
from torch import Tensor

from fedlearn._validate import in_range
from fedlearn.attacks.scene import Scene, Trained, with_records
from fedlearn.errors import ConfigError
from fedlearn.experiment import Experiment
from fedlearn.privacy.tradeoff import largest_auc
from fedlearn.runs.attack_report import AttackReport

SUCCESS_AUC = 0.6
_SMALLEST_SPREAD = 1e-6


@dataclass(frozen=True, kw_only=True)
class _Shadows:
    """Models trained on halves of the records.

    Attributes:
      inside: who was in which, (models, n).
      confidence: of each in each record's class, (models, n).
      accuracy: mean over the models on the public records.
      trained: the last of them.
    """

    inside: NDArray[np.bool_] = field(repr=False)
    confidence: NDArray[np.float64] = field(repr=False)
    accuracy: float
    trained: Trained


@dataclass(frozen=True, kw_only=True)
class Membership:
    """A recipient of the model tells members from others by likelihood ratio.

    Every model is trained, with all protections, on a random half of each client's records. For each
    target the others are shadow models: a record's confidence in those that saw it and in those that
    did not are two normals, and their likelihood ratio is the score (Carlini et al. 2022, algorithm 1,
    with one variance for all records as in section VI.C, because the models are few).

    Attributes:
      models: number of models trained, at least 16.
      targets: how many of them are attacked in turn, at least 5 and at most ``models``.
    """

    models: int = 32
    targets: int = 8

    def __post_init__(self) -> None:
        in_range(16, 4096, models=self.models)
        in_range(5, self.models, targets=self.targets)

    def run(self, scene: Scene, *, rng: np.random.Generator) -> AttackReport:
        """Trains the models and attacks; the score is the mean AUC over the targets."""
        shadows = self._shadows(scene, rng)
        inside, confidence = shadows.inside, shadows.confidence
        scores = [likelihood_ratios(confidence, inside, target) for target in range(self.targets)]
        areas = np.array([auc(score, inside[target]) for target, score in enumerate(scores)])
        rates = [tpr_at(score, inside[target], fpr=0.01) for target, score in enumerate(scores)]
        details = {
            "auc_upper_95": round(upper_limit(areas), 4),
            "tpr_at_fpr_0.01": round(float(np.mean(rates)), 4),
            "models": self.models,
            "targets": self.targets,
            "accuracy": round(shadows.accuracy, 4),
            **_promised(shadows.trained),
        }
        return AttackReport(
            attack="membership",
            adversary="a recipient of the model",
            sees="the final model",
            score="auc",
            value=round(float(areas.mean()), 4),
            null=0.5,
            success=SUCCESS_AUC,
            details=details,
        )

    def _shadows(self, scene: Scene, rng: np.random.Generator) -> _Shadows:
        """Trains every model on its half of the records."""
        held = scene.held()
        sizes = {name: len(targets) for name, (_, targets) in held.items()}
        if min(sizes.values()) < 2:
            raise ConfigError("a client has 1 record, and no half of it; membership needs at least 2")
        inputs = torch.cat([inputs for inputs, _ in held.values()])
        targets = torch.cat([targets for _, targets in held.values()])
        inside = np.zeros((self.models, len(targets)), dtype=np.bool_)
        confidence = np.zeros(inside.shape)
        public = scene.public_records()
        correct = []
        for number in range(self.models):
            chosen = {name: np.sort(rng.permutation(size)[: size // 2]) for name, size in sizes.items()}
            inside[number] = _mask(chosen, sizes)
            half = with_records(scene.experiment, chosen)
            trained = scene.train(half)
            confidence[number] = confidences(half, trained.params, inputs, targets)
            correct.append(float((confidences(half, trained.params, *public, rival=torch.amax) > 0).mean()))
        return _Shadows(
            inside=inside, confidence=confidence, accuracy=float(np.mean(correct)), trained=trained
        )


def confidences(
    experiment: Experiment,
    params: NDArray[np.float32],
    inputs: Tensor,
    targets: Tensor,
    *,
    rival: Callable[..., Tensor] = torch.logsumexp,
) -> NDArray[np.float64]:
    """Returns log p/(1 − p) of the true class for each record, (n,): near normal over models.

    Args:
      experiment: whose model it is.
      params: of the model.
      inputs: (n, …).
      targets: true classes, (n,).
      rival: what the other classes' logits come to; their greatest makes this the margin of the true class.
    """
    model = experiment.build_model()
    model.load(params)
    model.module.eval()
    with torch.no_grad():
        logits = model.module(inputs).double()
    own = logits.gather(1, targets[:, None]).squeeze(1)
    others = rival(logits.scatter(1, targets[:, None], -torch.inf), dim=1)
    result: NDArray[np.float64] = (own - others).numpy()
    return result


def likelihood_ratios(
    confidence: NDArray[np.float64], inside: NDArray[np.bool_], target: int
) -> NDArray[np.float64]:
    """Returns the log likelihood ratio of "in" against "out" for each record of one target model, (n,).

    Args:
      confidence: (models, n).
      inside: (models, n), who was trained on.
      target: the row that is attacked; the others are the shadow models.
    """
    shadows = np.arange(len(confidence)) != target
    values, members = confidence[shadows], inside[shadows]
    normals = []
    for group in (members, ~members):
        count = np.maximum(group.sum(axis=0), 1)
        mean = (values * group).sum(axis=0) / count
        spread = math.sqrt(float((np.square(values - mean) * group).sum() / group.sum()))
        normals.append(norm(mean, max(spread, _SMALLEST_SPREAD)))
    ratio: NDArray[np.float64] = normals[0].logpdf(confidence[target]) - normals[1].logpdf(confidence[target])
    return ratio


def auc(scores: NDArray[np.float64], members: NDArray[np.bool_]) -> float:
    """Returns the chance that a member scores above a non-member, ties counted half.

    >>> auc(np.array([0.1, 0.9, 0.5]), np.array([False, True, False]))
    1.0
    """
    ranks, count = rankdata(scores), int(members.sum())
    others = len(members) - count
    return float((ranks[members].sum() - count * (count + 1) / 2) / (count * others))


def tpr_at(scores: NDArray[np.float64], members: NDArray[np.bool_], *, fpr: float) -> float:
    """Returns the share of members above the score that a share ``fpr`` of the others exceeds."""
    threshold = np.quantile(scores[~members], 1 - fpr, method="higher")
    return float((scores[members] > threshold).mean())


def upper_limit(values: NDArray[np.float64]) -> float:
    """Returns the one-sided 95 % upper confidence limit of the mean (Student's t)."""
    error = float(values.std(ddof=1)) / math.sqrt(len(values))
    return float(values.mean() + student.ppf(0.95, len(values) - 1) * error)


def _promised(trained: Trained) -> dict[str, float]:
    """Returns what the accounted privacy alone promises: ε, and bounds on both rates."""
    if trained.epsilon is None:
        return {}
    bound = math.exp(min(trained.epsilon, 50)) * 0.01 + trained.delta
    promised = {"epsilon": trained.epsilon, "tpr_bound_at_fpr_0.01": round(min(1.0, bound), 4)}
    return promised | ({"auc_bound": round(largest_auc(trained.events), 4)} if trained.events else {})


def _mask(chosen: dict[str, NDArray[np.int64]], sizes: dict[str, int]) -> NDArray[np.bool_]:
    parts = []
    for name, size in sizes.items():
        part = np.zeros(size, dtype=np.bool_)
        part[chosen[name]] = True
        parts.append(part)
    return np.concatenate(parts)
