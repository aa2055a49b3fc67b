"""Where clients train: devices that are asked for and are not there, and passes in less than float32."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset, TensorDataset

from fedlearn.config import DevicesConfig, ExperimentConfig
from fedlearn.crypto.noise import NoiseSource
from fedlearn.errors import ConfigError
from fedlearn.experiment import Experiment
from fedlearn.training import devices
from fedlearn.training.batches import StepPlan
from fedlearn.training.devices import Device, LossScale, devices_of
from fedlearn.training.local import LocalTrainer, Recipe, Workbench
from fedlearn.training.objective import cross_entropy
from fedlearn.training.optimizers import sgd
from fedlearn.training.private import PrivateGradient
from fedlearn.training.record_privacy import RecordPrivacy
from fedlearn.training.schedules import constant
from fedlearn.training.vector import FlatModel

RECIPE = Recipe(
    optimizer=sgd,
    learning_rate=0.1,
    momentum=0.0,
    weight_decay=0.0,
    schedule=constant,
    rounds=1,
    loss=cross_entropy,
)
GPU = pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
DEVICES = [
    pytest.param(Device(precision="bfloat16"), id="cpu in bfloat16"),
    pytest.param(Device(precision="float16"), id="cpu in float16"),
    pytest.param(Device(name="cuda:0"), marks=GPU, id="cuda"),
    pytest.param(Device(name="cuda:0", precision="bfloat16"), marks=GPU, id="cuda in bfloat16"),
    pytest.param(Device(name="cuda:0", precision="float16"), marks=GPU, id="cuda in float16"),
]


def network() -> FlatModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        layers = [nn.Conv1d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 18, 16), nn.ReLU()]
        return FlatModel(nn.Sequential(nn.Unflatten(1, (1, 20)), *layers, nn.Linear(16, 3)))


def records(count: int = 24) -> TensorDataset:
    draw = torch.Generator().manual_seed(0)
    return TensorDataset(torch.randn(count, 20, generator=draw), torch.randint(3, (count,), generator=draw))


class Listed(Dataset[tuple[torch.Tensor, ...]]):
    """The same records, one by one."""

    def __len__(self) -> int:
        return len(records())

    def __getitem__(self, index: int) -> tuple[torch.Tensor, ...]:
        record: tuple[torch.Tensor, ...] = records()[index]
        return record


def update(device: Device, dataset: Dataset[tuple[torch.Tensor, ...]] | None = None) -> np.ndarray:
    given = records() if dataset is None else dataset
    trainer = LocalTrainer(
        client="a",
        dataset=given,
        records=24,
        plan=StepPlan(steps=6, sample_rate=0.25, batch_size=8),
        bench=Workbench(network(), RECIPE, device=device),
        seed=0,
    )
    return trainer.train(network().params(), round=0)


@pytest.mark.parametrize("device", DEVICES)
def test_every_device_gives_nearly_the_update_of_the_processor(device: Device) -> None:
    exact, other = update(Device()), update(device)
    assert other.dtype == np.float32
    assert 0 <= np.linalg.norm(other - exact) / np.linalg.norm(exact) < 0.02


def test_less_precision_is_taken() -> None:
    assert np.any(update(Device(precision="bfloat16")) != update(Device()))


@pytest.mark.parametrize("device", DEVICES)
def test_records_that_come_one_by_one_train_alike(device: Device) -> None:
    np.testing.assert_allclose(update(device, Listed()), update(device), atol=1e-6)


@pytest.mark.parametrize(
    "device", [device for device in DEVICES if "float16" not in str(device.id).replace("bfloat16", "")]
)
@pytest.mark.parametrize("clipping", ["auto", "fast"])
def test_one_record_never_counts_more_than_the_bound(device: Device, clipping: Any) -> None:
    model, (inputs, targets) = network(), records().tensors
    at = device.opened()
    model.move_to(at)
    gradient = PrivateGradient(model, cross_entropy, clipping=clipping, device=device)
    bound, whole = 1e-2, gradient.clipped_sum(inputs.to(at), targets.to(at), max_grad_norm=1e-2)
    for left_out in range(4):
        kept = torch.arange(len(inputs)) != left_out
        rest = gradient.clipped_sum(inputs[kept].to(at), targets[kept].to(at), max_grad_norm=bound)
        # Each sum over the others is rounded, too: by 24 terms of at most the bound.
        assert float((whole - rest).norm()) <= bound * (1 + 1e-5)


def test_noise_and_update_stay_in_full_precision() -> None:
    model = network()
    gradient = PrivateGradient(model, cross_entropy, device=Device(precision="bfloat16"))
    inputs, targets = records().tensors
    total = gradient.clipped_sum(inputs, targets, max_grad_norm=1.0)
    assert total.dtype == model.gradient.dtype == torch.float32
    assert torch.any(total != total.bfloat16().float())


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*")
@pytest.mark.slow
@pytest.mark.parametrize("name", ["cpu", pytest.param("cuda:0", marks=GPU)])
def test_a_compiled_model_gives_the_same_update(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "cpu" and not devices._has_compiler():
        pytest.skip("no C++ compiler here")
    with monkeypatch.context() as context:
        context.setenv("TORCHINDUCTOR_COMPILE_THREADS", "1")
        compiled = update(Device(name=name, compile=True))
    np.testing.assert_allclose(compiled, update(Device(name=name)), atol=1e-5)


class TestLossScale:
    def test_a_gradient_is_restored(self) -> None:
        scale, gradient = LossScale(), torch.tensor([1024.0, -512.0])
        assert scale.restored(gradient)
        assert gradient.tolist() == [1.0, -0.5]

    def test_an_overflow_halves_the_factor_and_skips_the_step(self) -> None:
        scale = LossScale()
        assert not scale.restored(torch.tensor([1.0, float("inf")]))
        assert scale.factor == LossScale.FIRST / 2

    def test_training_goes_on_after_an_overflow(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(LossScale, "FIRST", 2.0**17)
        plain, scaled = update(Device()), update(Device(precision="float16"))
        assert np.isfinite(scaled).all()
        assert 0 < np.linalg.norm(scaled) <= 1.1 * np.linalg.norm(plain)


class TestChoice:
    @pytest.fixture
    def two(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)

    def test_the_processor_is_the_default(self) -> None:
        assert devices_of(DevicesConfig()) == (Device(),)

    @pytest.mark.usefixtures("two")
    def test_auto_takes_every_gpu(self) -> None:
        assert [device.name for device in devices_of(DevicesConfig(use="auto"))] == ["cuda:0", "cuda:1"]

    def test_auto_takes_the_processor_where_there_is_no_gpu(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
        assert devices_of(DevicesConfig(use="auto")) == (Device(),)
        with pytest.raises(ConfigError, match="found none; use bfloat16"):
            devices_of(DevicesConfig(use="auto", precision="float16"))

    @pytest.mark.usefixtures("two")
    def test_a_gpu_that_is_not_there_is_named_with_those_that_are(self) -> None:
        with pytest.raises(ConfigError, match="cuda:7 is not there; this machine has cpu, cuda:0, cuda:1"):
            devices_of(DevicesConfig(use=["cuda:1", "cuda:7"]))

    def test_a_machine_without_gpus_says_so(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
        with pytest.raises(ConfigError, match=r"cuda:0 is not there; this machine has cpu and no GPU"):
            devices_of(DevicesConfig(use="cuda:0"))

    def test_compiling_needs_a_compiler(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", "/nowhere")
        with pytest.raises(ConfigError, match=r"needs a C\+\+ compiler"):
            devices_of(DevicesConfig(compile=True))

    @pytest.mark.parametrize(
        "use", ["gpu", "cuda", "cuda:x", [], ["auto", "cuda:0"], ["cpu", "cuda:0"], ["cuda:0"] * 2]
    )
    def test_what_is_no_device_is_refused(self, use: Any) -> None:
        with pytest.raises(ConfigError, match=r"devices.*use="):
            ExperimentConfig.from_dict({"devices": {"use": use}})

    def test_float16_is_for_gpus(self) -> None:
        with pytest.raises(ConfigError, match="needs a GPU: CPUs compute it slower"):
            ExperimentConfig.from_dict({"devices": {"precision": "float16"}})


class TestWithPrivacy:
    @pytest.mark.parametrize(
        ("tables", "reason"),
        [
            ({"devices": {"use": "cuda:0", "precision": "float16"}}, "would tell of the records"),
            ({"devices": {"compile": True}}, "a compiled model has no layers"),
            (
                {"devices": {"precision": "bfloat16"}, "training": {"clipping": "hooks"}},
                "a norm in bfloat16 bounds nothing",
            ),
            (
                {"devices": {"precision": "bfloat16"}, "training": {"clipping": "ghost"}},
                "a norm in bfloat16 bounds nothing",
            ),
        ],
    )
    def test_what_would_break_the_bound_is_refused(self, tables: dict[str, Any], reason: str) -> None:
        values = {"data": {"dataset": "breast-cancer"}, "privacy": {"enabled": True, "epsilon": 3.0}}
        with pytest.raises(ConfigError, match=reason):
            Experiment.from_dict(values | tables)

    def test_client_level_privacy_takes_any_precision(self) -> None:
        privacy = {
            "enabled": True,
            "unit": "client",
            "noise": "central",
            "noise_multiplier": 1.0,
            "delta": 1e-3,
        }
        tables = {"precision": "bfloat16", "compile": True}
        values = {"data": {"dataset": "breast-cancer"}, "privacy": privacy, "devices": tables}
        Experiment.from_dict({**values, "aggregation": {"weights": "uniform"}})


def test_private_training_in_bfloat16_moves_the_model() -> None:
    recipe = dataclasses.replace(RECIPE, learning_rate=0.5)
    privacy = RecordPrivacy(noise_multiplier=1e-6, max_grad_norm=1.0, sample_rate=1.0, declared_size=24)
    updates = [
        LocalTrainer(
            client="a",
            dataset=records(),
            records=24,
            plan=StepPlan(steps=3, sample_rate=1.0),
            bench=Workbench(network(), recipe, device=device),
            seed=0,
            privacy=privacy,
            noise=lambda round: NoiseSource(),
        ).train(network().params(), round=0)
        for device in (Device(), Device(precision="bfloat16"))
    ]
    assert 0 < np.linalg.norm(updates[1] - updates[0]) / np.linalg.norm(updates[0]) < 0.05
