"""Opacus is loaded only for models that it has a say in."""

from __future__ import annotations

import subprocess
import sys

import pytest
from opacus.layers import DPLSTM
from opacus.validators import ModuleValidator
from torch import nn

from fedlearn.training import opacus_rules
from fedlearn.training.opacus_rules import complaints, has_formula, needs_opacus


class Own(nn.Module):
    """A layer of somebody's own."""


@pytest.fixture
def _not_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opacus_rules, "_is_loaded", lambda: False)


@pytest.mark.usefixtures("_not_loaded")
def test_plain_models_do_without() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), Own(), nn.Linear(3, 2))
    assert not needs_opacus(model)
    assert complaints(model) == ModuleValidator.validate(model, strict=False) == []


@pytest.mark.usefixtures("_not_loaded")
def test_every_kind_of_layer_that_the_validator_judges_is_put_before_it() -> None:
    assert len(ModuleValidator.VALIDATORS) >= 9
    assert not opacus_rules._PLAIN & set(ModuleValidator.VALIDATORS)
    assert all(kind.__module__.startswith("torch.") for kind in ModuleValidator.VALIDATORS)
    for layer in (nn.LSTM(2, 2), nn.GRU(2, 2), nn.BatchNorm1d(2), nn.MultiheadAttention(2, 1), DPLSTM(2, 2)):
        model = nn.Sequential(nn.Linear(2, 2), layer)
        assert needs_opacus(model)
        assert complaints(model) == [str(e) for e in ModuleValidator.validate(model, strict=False)]


@pytest.mark.usefixtures("_not_loaded")
def test_a_model_that_is_not_in_training_mode_is_put_before_it() -> None:
    assert "training mode" in complaints(nn.Linear(2, 2).eval())[0]


def test_whoever_has_loaded_it_may_have_registered_layers() -> None:
    assert needs_opacus(nn.Linear(2, 2))


def test_the_linear_layers_of_its_recurrent_ones_have_a_formula() -> None:
    kinds = {type(layer).__name__: has_formula(layer) for layer in DPLSTM(2, 2).modules()}
    assert kinds["RNNLinear"]
    assert not kinds["DPLSTM"]


@pytest.mark.slow
def test_a_private_step_of_a_linear_model_loads_no_opacus() -> None:
    program = """
import sys, torch
from fedlearn.crypto.noise import NoiseSource
from fedlearn.training.private import PrivateGradient
from fedlearn.training.record_privacy import RecordPrivacy
from fedlearn.training.vector import FlatModel
model = FlatModel(torch.nn.Sequential(torch.nn.Linear(3, 2)))
private = PrivateGradient(model, torch.nn.functional.cross_entropy)
privacy = RecordPrivacy(noise_multiplier=1.0, max_grad_norm=1.0, sample_rate=1.0, declared_size=4)
private.write(torch.randn(4, 3), torch.zeros(4, dtype=torch.long), privacy=privacy, noise=NoiseSource())
assert "opacus" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)
