"""Every way to clip gives what one record at a time gives, and norms are never too small."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from opacus.layers import DPGRU, DPLSTM
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fedlearn.errors import ModelError
from fedlearn.training.clip_rules import rules_of
from fedlearn.training.clipping import Clipping, factors_of
from fedlearn.training.fast_clip import FastClip
from fedlearn.training.hook_clip import HookClip
from fedlearn.training.layer_sums import LinearSum
from fedlearn.training.private import Clip, clip_of

RECORDS = 5
WAYS: tuple[Clipping, ...] = ("auto", "fast", "ghost", "hooks")


def losses(outputs: Tensor, targets: Tensor) -> Tensor:
    return cross_entropy(outputs, targets, reduction="none")


def clipped_sum(clip: Clip, module: nn.Module, inputs: Tensor, targets: Tensor, bound: float) -> Tensor:
    sums: dict[Tensor, Tensor] = {
        p: torch.zeros_like(p, requires_grad=False) for p in module.parameters() if p.requires_grad
    }
    clip.add_clipped_sum(sums, losses, inputs, targets, bound)
    return torch.cat([total.flatten() for total in sums.values()])


def one_at_a_time(module: nn.Module, inputs: Tensor, targets: Tensor, bound: float) -> Tensor:
    """The oracle: plain autograd on one record after another, clipped in float64."""
    trainable = [p for p in module.parameters() if p.requires_grad]
    total = torch.zeros(sum(p.numel() for p in trainable), dtype=torch.float64)
    for record in range(len(inputs)):
        loss = losses(module(inputs[record : record + 1]), targets[record : record + 1]).sum()
        parts = torch.autograd.grad(loss, trainable, allow_unused=True)
        flat = [
            torch.zeros(p.numel()) if g is None else g.flatten()
            for p, g in zip(trainable, parts, strict=True)
        ]
        gradient = torch.cat(flat).double()
        total += gradient * min(1.0, bound / max(float(gradient.norm()), 1e-300))
    return total


def check_every_way(
    build: Callable[[], nn.Module],
    inputs: Tensor,
    targets: Tensor,
    bound: float,
    ways: tuple[Clipping, ...] = WAYS,
) -> None:
    for way in ways:
        torch.manual_seed(11)
        module = build()
        expected = one_at_a_time(module, inputs, targets, bound)
        found = clipped_sum(clip_of(module, way), module, inputs, targets, bound)
        assert (found - expected).norm() <= 1.5e-6 * expected.norm(), way


def classes(count: int = RECORDS) -> Tensor:
    return torch.randint(0, 3, (count,))


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


class Tied(nn.Module):
    """One weight in two layers, beside a layer of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(6, 4)
        self.mix = nn.Linear(4, 4)
        self.out = nn.Linear(4, 6, bias=False)
        self.out.weight = self.embed.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.out(torch.tanh(self.mix(self.embed(tokens))).mean(dim=1))  # type: ignore[no-any-return]


class Affine(nn.Module):
    """A bare scale and bias: parameters of the user's own layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.linspace(0.5, 1.5, width))
        self.shift = nn.Parameter(torch.zeros(width))

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs * self.scale + self.shift


class Gated(nn.Module):
    """A parameter of its own around a known layer: differentiated as a whole."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Parameter(torch.tensor(0.3))
        self.inner = nn.Linear(7, 7)

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs + self.gate * torch.tanh(self.inner(inputs))


class LoRA(nn.Module):
    """A frozen layer with a trained correction of low rank."""

    def __init__(self) -> None:
        super().__init__()
        self.base = nn.Linear(7, 6).requires_grad_(False)
        self.down = nn.Linear(7, 2, bias=False)
        self.up = nn.Linear(2, 6, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.base(inputs) + self.up(self.down(inputs))  # type: ignore[no-any-return]


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.Module]) -> None:
        super().__init__()
        self.embed = nn.Embedding(6, 4)
        self.cells = kind(4, 5, batch_first=True)
        self.out = nn.Linear(5, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.out(self.cells(self.embed(tokens))[0][:, -1])  # type: ignore[no-any-return]


def headed(*layers: nn.Module, width: int) -> nn.Module:
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(width, 3))


def head_only() -> nn.Module:
    module = nn.Sequential(nn.Linear(7, 6), nn.Tanh(), nn.Linear(6, 3))
    module[0].requires_grad_(False)
    return module


def rows() -> Tensor:
    return torch.randn(RECORDS, 7)


def tokens() -> Tensor:
    return torch.randint(0, 6, (RECORDS, 4))


CASES: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor]]] = {
    "shared layers": (Shared, tokens),
    "tied weights": (Tied, tokens),
    "bare scale and bias": (lambda: nn.Sequential(nn.Linear(7, 6), Affine(6), nn.Linear(6, 3)), rows),
    "own layer around another": (lambda: nn.Sequential(Gated(), nn.Linear(7, 3)), rows),
    "LoRA": (lambda: nn.Sequential(LoRA(), nn.Tanh(), nn.Linear(6, 3)), rows),
    "head only": (head_only, rows),
    "LSTM": (lambda: Recurrent(DPLSTM), tokens),
    "GRU": (lambda: Recurrent(DPGRU), tokens),
    "padded embedding": (lambda: headed(nn.Embedding(6, 4, padding_idx=0), width=16), tokens),
    "convolution of sequences": (
        lambda: headed(nn.Conv1d(2, 3, 3, stride=2, padding=1, dilation=2), width=9),
        lambda: torch.randn(RECORDS, 2, 7),
    ),
    "grouped convolution": (
        lambda: headed(nn.Conv2d(2, 4, 3, groups=2, bias=False), nn.GroupNorm(2, 4), width=64),
        lambda: torch.randn(RECORDS, 2, 6, 6),
    ),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("bound", [1e-2, 0.7, 1e4])
def test_every_way_gives_what_one_record_at_a_time_gives(name: str, bound: float) -> None:
    torch.manual_seed(1)
    build, draw = CASES[name]
    # Opacus' hooks give the padding a gradient, which plain training does not.
    ways = WAYS[:-1] if name == "padded embedding" else WAYS
    check_every_way(build, draw(), classes(), bound, ways)


@settings(max_examples=25)
@given(st.data())
def test_every_way_agrees_under_drawn_shapes(data: st.DataObject) -> None:
    draw = data.draw
    torch.manual_seed(draw(st.integers(0, 2**16)))
    records, length, width = draw(st.integers(1, 4)), draw(st.integers(1, 9)), draw(st.integers(1, 5))
    kernel, stride = draw(st.integers(1, length)), draw(st.integers(1, 3))
    padding, bias = draw(st.integers(0, 2)), draw(st.booleans())
    if draw(st.booleans()):
        out = (length + 2 * padding - kernel) // stride + 1
        inputs = torch.randn(records, width, length, length)

        def build() -> nn.Module:
            return headed(
                nn.Conv2d(width, 3, kernel, stride, padding, bias=bias), nn.Tanh(), width=3 * out * out
            )
    else:
        inputs = torch.randn(records, length, width)

        def build() -> nn.Module:
            inner = nn.Sequential(nn.Linear(width, 6), nn.LayerNorm(6), nn.GELU(), nn.Linear(6, 2))
            return headed(inner, width=2 * length)

    check_every_way(build, inputs, classes(records), draw(st.sampled_from([1e-2, 1.0, 1e3])))


def test_the_choice_of_every_layer_is_told() -> None:
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), Affine(8), nn.Linear(8, 2))
    assert rules_of(module) == {"0": "opacus", "2": "own forward", "3": "book-keeping"}
    assert rules_of(module, "fast")["0"] == "book-keeping"
    assert rules_of(module, "hooks") == {"0": "opacus", "2": "own forward", "3": "opacus"}
    assert rules_of(Tied()) == {"embed": "opacus", "mix": "book-keeping", "out": "opacus"}
    assert rules_of(Recurrent(DPLSTM))["cells.l0.ih"] == "book-keeping"


@pytest.mark.parametrize("frozen", ["0.weight", "0.bias", "2.weight"])
def test_frozen_parts_of_a_layer_are_left_out(frozen: str) -> None:
    def build() -> nn.Module:
        module = nn.Sequential(nn.Linear(7, 5), nn.Tanh(), nn.Linear(5, 3))
        module.get_parameter(frozen).requires_grad_(False)
        return module

    torch.manual_seed(2)
    check_every_way(build, rows(), classes(), 0.3)


@pytest.mark.parametrize(
    ("embedding", "option"),
    [
        (nn.Embedding(5, 2, scale_grad_by_freq=True), "scale_grad_by_freq"),
        (nn.Embedding(5, 2, max_norm=1.0), "max_norm"),
    ],
)
def test_an_embedding_that_couples_records_is_refused(embedding: nn.Module, option: str) -> None:
    with pytest.raises(ModelError, match=f"'0'.*{option}"):
        FastClip(nn.Sequential(embedding))


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Bilinear(7, 7, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.mix(inputs, inputs)  # type: ignore[no-any-return]


class Noisy(Affine):
    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs) + torch.randn(1)


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (TwoInputs, r"'mix' \(Bilinear\) is not called with one tensor"),
        (lambda: Noisy(7), "Noisy has no per-record"),
    ],
)
def test_a_layer_that_cannot_be_clipped_is_named(build: Callable[[], nn.Module], says: str) -> None:
    module = build()
    with pytest.raises(ModelError, match=says):
        clipped_sum(FastClip(module), module, rows(), classes(), 1.0)


class Flattened(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs = self.out(inputs.reshape(-1, 4))
        return outputs.view(len(inputs), -1, 3).mean(dim=1)  # type: ignore[no-any-return]


@pytest.mark.parametrize("way", WAYS)
def test_records_that_are_not_the_first_dimension_are_refused(way: Clipping) -> None:
    module = Flattened()
    with pytest.raises(ModelError, match="first dimension"):
        clipped_sum(clip_of(module, way), module, torch.randn(RECORDS, 2, 4), classes(), 1.0)


def test_an_activation_may_overwrite_its_layers_output() -> None:
    """Opacus' hooks refuse this; the oracle is the same network with a copying activation."""
    torch.manual_seed(4)
    inputs, targets = torch.randn(RECORDS, 1, 6, 6), classes()
    conv, dense = nn.Conv2d(1, 2, 3), nn.Linear(32, 3)
    overwriting, copying = (
        nn.Sequential(conv, nn.ReLU(inplace=inplace), nn.Flatten(), dense, nn.ReLU(inplace=inplace))
        for inplace in (True, False)
    )
    fast = clipped_sum(FastClip(overwriting), overwriting, inputs, targets, 0.3)
    slow = clipped_sum(HookClip(copying), copying, inputs, targets, 0.3)
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
    module = Overwriting(what)
    with pytest.raises(ModelError, match="overwritten in place"):
        clipped_sum(FastClip(module), module, torch.randn(RECORDS, 2, 3), classes(), 1.0)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("poisoned", [1, RECORDS])
def test_poisoned_records_are_left_out(way: Clipping, poisoned: int) -> None:
    torch.manual_seed(3)
    module = Shared()
    inputs, targets = tokens(), classes()
    with torch.no_grad():
        inputs[:poisoned], inputs[poisoned:] = 5, inputs[poisoned:].clamp(max=4)
        module.embed.weight[5] = float("nan")
    found = clipped_sum(clip_of(module, way), module, inputs, targets, 0.3)
    assert torch.isfinite(found).all()
    if poisoned == RECORDS:
        assert not found.any()
    else:
        rest = one_at_a_time(module, inputs[poisoned:], targets[poisoned:], 0.3)
        assert (found - rest).norm() <= 1.5e-6 * rest.norm()


@settings(max_examples=60)
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
    layer = nn.Linear(*widths)
    part = LinearSum(layer, inputs, gradients)
    bound = 1e-3
    factors = factors_of(part.squares(), bound, rounding=part.rounding())
    sums: dict[Tensor, Tensor] = {p: torch.zeros_like(p, requires_grad=False) for p in layer.parameters()}
    with torch.no_grad():
        part.add_to(sums, factors, None)
    weighed = torch.cat([total.flatten() for total in sums.values()])
    assert weighed.double().norm() <= bound * (1 + 1e-6)
