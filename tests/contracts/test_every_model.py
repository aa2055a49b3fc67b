"""What every registered model must hold; a newly registered one is covered without a new test."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from fedlearn.errors import ModelError
from fedlearn.models import MODELS

SHAPES = [(30,), (12,), (1, 8, 8), (3, 16, 16), (1, 28, 28)]
CLASSES = 3
BATCH = 5

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def _takes_tokens(name: str) -> bool:
    return "vocabulary" in inspect.signature(MODELS.resolve(name)).parameters


def _built(name: str, shape: tuple[int, ...], seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model: nn.Module = MODELS.build(name, {}, shape=shape, classes=CLASSES)
    return model


def _accepted() -> list[Any]:
    """Every model with every shape that it takes."""
    cases = []
    for name in MODELS:
        for shape in SHAPES:
            try:
                _built(name, shape)
            except ModelError:
                continue
            cases.append(pytest.param(name, shape, id=f"{name}-{'x'.join(map(str, shape))}"))
    return cases


def _batch(name: str, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(7)
    targets = torch.randint(CLASSES, (BATCH,), generator=generator)
    if _takes_tokens(name):
        return torch.randint(CLASSES, (BATCH, *shape), generator=generator), targets
    return torch.randn((BATCH, *shape), generator=generator), targets


def _reconstructs(model: nn.Module) -> bool:
    return getattr(model, "output", "logits") == "reconstruction"


def _losses(model: nn.Module, inputs: Tensor, targets: Tensor, reconstructs: bool | None = None) -> Tensor:
    """One loss per record, shape (n,)."""
    outputs = model(inputs)
    if _reconstructs(model) if reconstructs is None else reconstructs:
        return functional.mse_loss(outputs, inputs.flatten(1), reduction="none").mean(dim=1)
    return functional.cross_entropy(outputs, targets, reduction="none")


def _gradient(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    loss = _losses(model, inputs, targets).sum()
    grads = torch.autograd.grad(loss, list(model.parameters()))
    return torch.cat([grad.flatten() for grad in grads])


@pytest.mark.parametrize("name", MODELS)
def test_takes_some_shape(name: str) -> None:
    assert any(case.values[0] == name for case in _accepted())


@pytest.mark.parametrize(("name", "shape"), _accepted())
class TestEveryModel:
    def test_output_has_the_promised_shape_and_is_finite(self, name: str, shape: tuple[int, ...]) -> None:
        model = _built(name, shape)
        outputs = model(_batch(name, shape)[0])
        width = CLASSES
        if _reconstructs(model):
            width = int(torch.tensor(shape).prod())
        assert outputs.shape == (BATCH, width)
        assert outputs.dtype == torch.float32
        assert torch.isfinite(outputs).all()

    def test_same_seed_builds_the_same_parameters(self, name: str, shape: tuple[int, ...]) -> None:
        first, second = _built(name, shape, seed=3), _built(name, shape, seed=3)
        for one, other in zip(first.parameters(), second.parameters(), strict=True):
            assert torch.equal(one, other)

    def test_parameters_are_the_only_state(self, name: str, shape: tuple[int, ...]) -> None:
        model = _built(name, shape)
        assert list(model.buffers()) == []
        assert set(model.state_dict()) == {key for key, _ in model.named_parameters()}
        inputs = _batch(name, shape)[0]
        assert torch.equal(model(inputs), model(inputs))

    def test_training_and_evaluation_mode_agree(self, name: str, shape: tuple[int, ...]) -> None:
        model = _built(name, shape)
        inputs = _batch(name, shape)[0]
        torch.testing.assert_close(model.train()(inputs), model.eval()(inputs))

    def test_every_parameter_gets_a_gradient(self, name: str, shape: tuple[int, ...]) -> None:
        model = _built(name, shape)
        _losses(model, *_batch(name, shape)).sum().backward()  # type: ignore[no-untyped-call]
        for key, parameter in model.named_parameters():
            assert parameter.requires_grad, key
            assert parameter.grad is not None, key
            assert torch.isfinite(parameter.grad).all(), key

    def test_no_layer_mixes_records(self, name: str, shape: tuple[int, ...]) -> None:
        model = _built(name, shape)
        assert not any(isinstance(module, BATCH_NORMS) for module in model.modules())
        inputs = _batch(name, shape)[0]
        together = model(inputs)
        alone = torch.cat([model(inputs[i : i + 1]) for i in range(BATCH)])
        torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)

    def test_is_valid_for_opacus(self, name: str, shape: tuple[int, ...]) -> None:
        from opacus.validators import ModuleValidator

        assert ModuleValidator.validate(_built(name, shape).train(), strict=False) == []

    def test_per_record_gradients_are_those_of_single_records(
        self, name: str, shape: tuple[int, ...]
    ) -> None:
        """The oracle is plain autograd on batches of one record."""
        from opacus import GradSampleModule

        inputs, targets = _batch(name, shape)
        model = _built(name, shape).train()
        wanted = torch.stack([_gradient(model, inputs[i : i + 1], targets[i : i + 1]) for i in range(BATCH)])
        hooked = GradSampleModule(model, loss_reduction="sum")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _losses(hooked, inputs, targets, _reconstructs(model)).sum().backward()  # type: ignore[no-untyped-call]
        found = torch.cat([p.grad_sample.flatten(1) for p in hooked.parameters()], dim=1)
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-5)

    def test_gradient_descent_lowers_the_loss(self, name: str, shape: tuple[int, ...]) -> None:
        model = _built(name, shape)
        batch = _batch(name, shape)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        before = _losses(model, *batch).mean().item()
        for _ in range(15):
            optimizer.zero_grad()
            _losses(model, *batch).mean().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        assert _losses(model, *batch).mean().item() < 0.9 * before


def test_a_model_from_elsewhere_is_built_by_its_path() -> None:
    model = MODELS.build("fedlearn.models.mlp:mlp", {"hidden": [4]}, shape=(3,), classes=2)
    assert model(torch.zeros(1, 3)).shape == (1, 2)
