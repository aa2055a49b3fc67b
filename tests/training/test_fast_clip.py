"""The fast path gives what Opacus gives, and its norms are never too small."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from opacus.layers import DPLSTM
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fedlearn.errors import ModelError
from fedlearn.models import MODELS
from fedlearn.training.fast_clip import FastClip, LinearSum
from fedlearn.training.hook_clip import HookClip

RECORDS = 5
OURS: dict[str, tuple[tuple[int, ...], int]] = {
    "logistic": ((7,), 3),
    "mlp": ((7,), 3),
    "cnn": ((1, 28, 28), 3),
    "resnet-gn": ((3, 16, 16), 3),
    "lstm": ((9,), 11),
    "transformer": ((9,), 11),
}


def losses(outputs: Tensor, targets: Tensor) -> Tensor:
    return cross_entropy(outputs, targets, reduction="none")


def drawn(shape: tuple[int, ...], classes: int, name: str) -> tuple[Tensor, Tensor]:
    tokens = name in ("lstm", "transformer")
    inputs = torch.randint(0, classes, (RECORDS, *shape)) if tokens else torch.randn(RECORDS, *shape)
    return inputs, torch.randint(0, classes, (RECORDS,))


def both(module: nn.Module, inputs: Tensor, targets: Tensor, bound: float) -> tuple[Tensor, Tensor]:
    assert FastClip.supports(module)
    fast = FastClip(module).clipped_sum(losses, inputs, targets, bound)
    slow = HookClip(module).clipped_sum(losses, inputs, targets, bound)
    return fast, slow


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("bound", [1e-2, 1.0, 1e4])
def test_every_model_of_ours_takes_the_fast_path_to_opacus_result(name: str, bound: float) -> None:
    torch.manual_seed(0)
    shape, classes = OURS[name]
    module = MODELS.build(name, {}, shape=shape, classes=classes)
    fast, slow = both(module, *drawn(shape, classes, name), bound)
    assert (fast - slow).norm() <= 1.5e-5 * slow.norm()


class Shared(nn.Module):
    """Layers at many positions, several times, and never."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(6, 4)
        self.mix = nn.Linear(4, 4)
        self.norm = nn.LayerNorm(4)
        self.idle = nn.Linear(4, 4)
        self.out = nn.Linear(4, 3, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        states = self.embed(tokens) + self.embed(tokens.flip(1))
        for _ in range(3):
            states = self.norm(nn.functional.relu(self.mix(states)))
        return self.out(states.mean(dim=1))  # type: ignore[no-any-return]


def test_layers_may_be_called_often_or_never() -> None:
    torch.manual_seed(1)
    tokens, targets = torch.randint(0, 6, (RECORDS, 4)), torch.randint(0, 3, (RECORDS,))
    fast, slow = both(Shared(), tokens, targets, 0.3)
    torch.testing.assert_close(fast, slow, rtol=2e-5, atol=1e-6)


def test_an_autoencoder_takes_the_fast_path_too() -> None:
    torch.manual_seed(5)
    module = MODELS.build("autoencoder", {}, shape=(8,), classes=2)
    records = torch.randn(RECORDS, 8)

    def squared(outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs - targets).square().mean(dim=1)

    fast = FastClip(module).clipped_sum(squared, records, records, 0.1)
    slow = HookClip(module).clipped_sum(squared, records, records, 0.1)
    assert (fast - slow).norm() <= 1.5e-5 * slow.norm()


@pytest.mark.parametrize("frozen", ["0.weight", "0.bias", "2.weight"])
def test_frozen_parts_of_a_layer_are_left_out(frozen: str) -> None:
    torch.manual_seed(2)
    module = nn.Sequential(nn.Linear(7, 5), nn.Tanh(), nn.Linear(5, 3))
    module.get_parameter(frozen).requires_grad_(False)
    inputs, targets = torch.randn(RECORDS, 7), torch.randint(0, 3, (RECORDS,))
    fast, slow = both(module, inputs, targets, 0.3)
    torch.testing.assert_close(fast, slow, rtol=2e-5, atol=1e-6)


def tied() -> nn.Module:
    module = nn.Sequential(nn.Embedding(6, 4), nn.Linear(4, 6, bias=False))
    module[1].weight = module[0].weight
    return module


class Bare(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs * self.scale


@pytest.mark.parametrize(
    "build",
    [
        tied,
        Bare,
        lambda: DPLSTM(3, 4),
        lambda: nn.Embedding(5, 2, padding_idx=0),
        lambda: nn.Embedding(5, 2, scale_grad_by_freq=True),
        lambda: nn.Bilinear(2, 2, 3),
    ],
)
def test_what_the_formulas_do_not_cover_is_left_to_opacus(build: Callable[[], nn.Module]) -> None:
    assert not FastClip.supports(build())


class Flattened(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs = self.out(inputs.reshape(-1, 4))
        return outputs.view(len(inputs), -1, 3).mean(dim=1)  # type: ignore[no-any-return]


@pytest.mark.parametrize("clip", [FastClip, HookClip])
def test_records_that_are_not_the_first_dimension_are_refused(clip: type[FastClip | HookClip]) -> None:
    with pytest.raises(ModelError, match="first dimension"):
        clip(Flattened()).clipped_sum(
            losses, torch.randn(RECORDS, 2, 4), torch.zeros(RECORDS, dtype=torch.long), 1.0
        )


def test_an_activation_may_overwrite_its_layers_output() -> None:
    """Opacus' hooks refuse this; the oracle is the same network with a copying activation."""
    torch.manual_seed(4)
    inputs, targets = torch.randn(RECORDS, 1, 6, 6), torch.randint(0, 3, (RECORDS,))
    conv, dense = nn.Conv2d(1, 2, 3), nn.Linear(32, 3)
    overwriting, copying = (
        nn.Sequential(conv, nn.ReLU(inplace=inplace), nn.Flatten(), dense, nn.ReLU(inplace=inplace))
        for inplace in (True, False)
    )
    fast = FastClip(overwriting).clipped_sum(losses, inputs, targets, 0.3)
    slow = HookClip(copying).clipped_sum(losses, inputs, targets, 0.3)
    torch.testing.assert_close(fast, slow, rtol=2e-5, atol=1e-6)


class Overwriting(nn.Module):
    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what
        self.out = nn.Linear(3, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        copied = inputs.clone()
        outputs: Tensor = self.out(copied)
        (copied if self.what == "input" else outputs).mul_(0.5)
        return outputs.mean(dim=1)


@pytest.mark.parametrize("what", ["input", "output"])
def test_what_is_overwritten_beyond_repair_is_refused(what: str) -> None:
    with pytest.raises(ModelError, match="overwritten in place"):
        FastClip(Overwriting(what)).clipped_sum(
            losses, torch.randn(RECORDS, 2, 3), torch.zeros(RECORDS, dtype=torch.long), 1.0
        )


def test_a_poisoned_record_is_left_out() -> None:
    torch.manual_seed(3)
    module = Shared()
    tokens, targets = torch.randint(0, 6, (RECORDS, 4)), torch.randint(0, 3, (RECORDS,))
    with torch.no_grad():
        tokens[0], tokens[1:] = 5, tokens[1:].clamp(max=4)
        module.embed.weight[5] = float("nan")
    fast = FastClip(module).clipped_sum(losses, tokens, targets, 0.3)
    rest = FastClip(module).clipped_sum(losses, tokens[1:], targets[1:], 0.3)
    assert torch.isfinite(fast).all()
    torch.testing.assert_close(fast, rest, rtol=1e-5, atol=1e-7)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([1, 2, 7, 40]),
    st.sampled_from([(2, 3), (30, 50)]),
    st.sampled_from([1.0, 1e-3, 1e-6, 0.0]),
)
def test_a_clipped_sum_is_within_the_bound_even_where_positions_cancel(
    seed: int, positions: int, widths: tuple[int, int], left: float
) -> None:
    """Half of the positions undo the other half but for a part ``left``: a naive Gram norm is then noise."""
    torch.manual_seed(seed)
    inputs, gradients = (torch.randn(1, positions, width) for width in widths)
    if positions > 1:
        half = positions // 2
        inputs[:, half : 2 * half] = inputs[:, :half] * (1 + left * torch.randn(1, half, 1))
        gradients[:, half : 2 * half] = -gradients[:, :half]
    part = LinearSum(nn.Linear(*widths), [(inputs, gradients)])
    norm = part.squares().sqrt()
    weighed = torch.cat(list(part.weighed(torch.ones(1), None).values()))
    assert weighed.double().norm() <= norm * (1 + 1e-5)
