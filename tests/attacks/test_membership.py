"""Membership inference: its statistics against hand-made answers, and its bounds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from fedlearn.attacks.membership import Membership, auc, likelihood_ratios, tpr_at, upper_limit
from fedlearn.errors import ConfigError
from tests.attacks.scenes import PRIVATE, scene, victim


def test_auc_counts_ties_half() -> None:
    scores, members = np.array([1.0, 1.0, 0.0, 2.0]), np.array([True, False, False, True])
    assert auc(scores, members) == pytest.approx((0.5 + 1 + 1 + 1) / 4)


def test_true_positives_are_counted_above_the_threshold_alone() -> None:
    scores, members = np.array([0.0, 1.0, 2.0, 3.0, 9.0]), np.array([False, False, False, True, True])
    assert tpr_at(scores, members, fpr=0.01) == 1.0
    assert tpr_at(-scores, members, fpr=0.01) == 0.0


def test_ratio_of_two_known_normals_is_as_good_as_their_distance() -> None:
    """Members' confidence is N(1, 1), others' N(0, 1): the best AUC is Φ(1/√2) = 0.760."""
    rng = np.random.default_rng(0)
    inside = rng.random((200, 2000)) < 0.5
    confidence = rng.normal(size=inside.shape) + inside
    found = auc(likelihood_ratios(confidence, inside, 0), inside[0])
    # The standard error of an AUC over 1,000 and 1,000 is below 0.011; five of them are one in a million.
    assert abs(found - norm.cdf(1 / np.sqrt(2))) < 0.055


def test_upper_limit_is_student_s() -> None:
    assert upper_limit(np.array([0.0, 1.0])) == pytest.approx(0.5 + 6.3138 * 0.5, abs=1e-3)


def test_under_privacy_the_bound_is_reported_and_kept() -> None:
    report = Membership(models=16, targets=5).run(scene(victim(**PRIVATE)), rng=np.random.default_rng(0))
    assert report.details["epsilon"] == pytest.approx(3.0, abs=0.01)
    assert report.details["tpr_at_fpr_0.01"] <= report.details["tpr_bound_at_fpr_0.01"]


@pytest.mark.parametrize("arguments", [{"models": 4}, {"models": 16, "targets": 3}, {"targets": 64}])
def test_too_few_models_or_targets_are_refused(arguments: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="must lie in"):
        Membership(**arguments)
