"""Canaries in an experiment's own training: they find nothing where all is well, and each fault by name."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from fedlearn.attacks.canaries import ClientAudit, audit_client
from fedlearn.errors import ConfigError, PrivacyError
from fedlearn.experiment import Experiment
from fedlearn.training import fast_clip
from fedlearn.training.private import PrivateGradient


def experiment(*, sample_rate: float = 1.0, steps: int = 2, **privacy: Any) -> Experiment:
    rng = torch.Generator().manual_seed(0)
    inputs = torch.randn(40, 60, generator=rng)
    records = TensorDataset(inputs, (inputs[:, 0] > 0).long())
    protection = {"enabled": True, "noise_multiplier": 1.0, "delta": 1e-3, "max_grad_norm": 0.05, **privacy}
    return Experiment.from_dict(
        {
            "rounds": 2,
            "training": {"local_steps": steps, "sample_rate": sample_rate},
            "privacy": protection,
        },
        model=lambda: nn.Sequential(nn.Linear(60, 60), nn.Tanh(), nn.Linear(60, 2)),
        clients={
            "hospital-1": records,
            "hospital-2": TensorDataset(*(part[:20] for part in records.tensors)),
        },
    )


def audited(examined: Experiment, **options: Any) -> ClientAudit:
    return audit_client(examined, significance=1e-6, rng=np.random.default_rng(1), **options)


def test_an_honest_training_has_no_faults() -> None:
    found = audited(experiment())
    assert found.faults == []
    assert found.client == "hospital-1"
    assert found.noise_draws == found.event.steps == 4
    assert 0.4 * found.bounds.accounted <= found.bounds.gaussian <= found.bounds.accounted
    assert 0 < found.largest_contribution <= 1 + 1e-6
    assert found.bounds.canaries == 60 * 61 + 2 * 61


def test_canaries_leave_the_model_as_noise_alone_would() -> None:
    """What a canary added is gone from the release that the model moves by."""
    from fedlearn.attacks.canaries import CanarySource
    from fedlearn.training.record_privacy import RecordPrivacy

    privacy = RecordPrivacy(noise_multiplier=1e-3, max_grad_norm=1.0, sample_rate=1.0, declared_size=4)
    source = CanarySource(members=np.array([True, False]), places=np.array([2, 5]), privacy=privacy)
    values = np.arange(8, dtype=np.float32)
    released = source.perturb(values, stddev=1e-3)
    np.testing.assert_allclose(released, values, atol=0.01)
    np.testing.assert_allclose(source.scores, [1.0, 0.0], atol=0.01)


def test_rounds_canaries_and_client_can_be_chosen() -> None:
    found = audited(experiment(), client="hospital-2", canaries=100, rounds=1)
    assert (found.client, found.rounds, found.bounds.canaries, found.event.steps) == ("hospital-2", 1, 100, 2)


def test_half_of_the_noise_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    write = PrivateGradient.write

    def weak(self: Any, inputs: Any, targets: Any, *, privacy: Any, noise: Any) -> None:
        privacy = dataclasses.replace(privacy, noise_multiplier=privacy.noise_multiplier / 2)
        write(self, inputs, targets, privacy=privacy, noise=noise)

    monkeypatch.setattr(PrivateGradient, "write", weak)
    (fault,) = audited(experiment()).faults
    assert "above the accounted" in fault


def test_skipped_empty_steps_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    write = PrivateGradient.write

    def skipping(self: Any, inputs: Any, targets: Any, *, privacy: Any, noise: Any) -> None:
        if inputs is not None:
            write(self, inputs, targets, privacy=privacy, noise=noise)

    monkeypatch.setattr(PrivateGradient, "write", skipping)
    found = audited(experiment(sample_rate=0.01, steps=10))
    assert any("noise was drawn" in fault for fault in found.faults)


def test_missing_clipping_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast_clip, "factors_of", lambda squares, bound, rounding: torch.ones(len(squares)))
    assert any("one record moved a sum" in fault for fault in audited(experiment()).faults)


def test_what_cannot_be_audited_is_said() -> None:
    with pytest.raises(PrivacyError, match="no privacy to audit"):
        audited(experiment(enabled=False))
    shared = Experiment.from_dict(
        {
            "data": {"dataset": "breast-cancer", "partition": {"clients": 6}},
            "training": {"local_steps": 1},
            "privacy": {"enabled": True, "noise": "distributed", "epsilon": 2.0, "delta": 1e-3},
            "secure_aggregation": {"enabled": True},
        }
    )
    with pytest.raises(PrivacyError, match="not 'record' and 'distributed'"):
        audited(shared)
    with pytest.raises(ConfigError, match=r"'hospital-9'.*known: hospital-1"):
        audited(experiment(), client="hospital-9")
    with pytest.raises(ConfigError, match="rounds=3"):
        audited(experiment(), rounds=3)
    with pytest.raises(ConfigError, match="canaries=99999"):
        audited(experiment(), canaries=99999)
