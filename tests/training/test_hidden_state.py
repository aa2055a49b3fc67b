"""Models that keep something of a client beside their parameters are found before they train."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from fedlearn.errors import ModelError
from fedlearn.experiment import Experiment
from fedlearn.models import MODELS
from fedlearn.training.hidden_state import check_no_hidden_state

INPUTS = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))


class Keeping(nn.Module):
    """Keeps whatever ``keep`` does to it."""

    def __init__(self, keep: Callable[[Any, Tensor], None]) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.register_buffer("mean", torch.zeros(3))
        self.seen: Any = None
        self._keep = keep

    def forward(self, inputs: Tensor) -> Tensor:
        self._keep(self, inputs)
        outputs: Tensor = self.layer(inputs)
        return outputs


def count(module: Any, inputs: Tensor) -> None:
    module.seen = (module.seen or 0) + len(inputs)


def average(module: Any, inputs: Tensor) -> None:
    module.mean.mul_(0.9).add_(inputs.mean(dim=0), alpha=0.1)


def collect(module: Any, inputs: Tensor) -> None:
    module.seen = [*(module.seen or []), inputs.detach()]


def collect_by_name(module: Any, inputs: Tensor) -> None:
    module.seen = {"outputs": [*((module.seen or {}).get("outputs", [])), inputs.numpy().sum()]}


def remember(module: Any, inputs: Tensor) -> None:
    module.seen = inputs.numpy() + (0.0 if module.seen is None else module.seen)


@pytest.mark.parametrize(
    ("keep", "name"),
    [(count, "seen"), (average, "mean"), (collect, "seen"), (collect_by_name, "seen"), (remember, "seen")],
)
def test_what_a_pass_changes_is_named(keep: Callable[[Any, Tensor], None], name: str) -> None:
    with pytest.raises(ModelError, match=rf"keeps state in '1\.{name}'.*from one client to the next"):
        check_no_hidden_state(nn.Sequential(nn.Identity(), Keeping(keep)), INPUTS)


def build_once(module: Any, inputs: Tensor) -> None:
    if module.seen is None:
        module.seen = torch.arange(len(inputs))


def note_the_shape(module: Any, inputs: Tensor) -> None:
    module.seen = {"shape": tuple(inputs.shape), "device": inputs.device}


@pytest.mark.parametrize("keep", [build_once, note_the_shape])
def test_what_later_passes_only_read_is_no_state(keep: Callable[[Any, Tensor], None]) -> None:
    check_no_hidden_state(Keeping(keep), INPUTS)


def test_the_check_draws_nothing_from_the_generator() -> None:
    module = nn.Sequential(nn.Dropout(0.5), nn.Linear(3, 2))
    before = torch.random.get_rng_state()
    check_no_hidden_state(module, INPUTS)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("name", MODELS)
def test_no_registered_model_keeps_any(name: str) -> None:
    tokens = name in ("lstm", "transformer")
    shape: tuple[int, ...] = (12,) if tokens else (1, 16, 16)
    module = MODELS.build(name, {"vocabulary": 20} if tokens else {}, shape=shape, classes=4)
    inputs = torch.randint(20, (2, 12)) if tokens else torch.randn(2, *shape)
    check_no_hidden_state(module.train(), inputs)


@pytest.mark.parametrize("privacy", [{"enabled": False}, {"enabled": True, "epsilon": 3.0, "delta": 1e-3}])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_with_such_a_model_ends_before_it_trains(
    privacy: dict[str, Any], workers: int, tmp_path: Any
) -> None:
    from fedlearn.simulation import simulate

    clients = {name: TensorDataset(INPUTS, torch.zeros(4, dtype=torch.int64)) for name in ("a", "b", "c")}
    experiment = Experiment.from_dict(
        {"rounds": 1, "privacy": privacy, "training": {"local_steps": 1, "sample_rate": 1.0}},
        clients=clients,
        model=lambda: Keeping(count),
    )
    with pytest.raises(ModelError, match="keeps state in 'seen'"):
        simulate(experiment, out=tmp_path, workers=workers)
    assert np.isfinite(INPUTS.numpy()).all()
