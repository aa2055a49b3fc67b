"""One record's influence is bounded on every layer, whatever its gradient; empty steps are steps."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from opacus.layers import DPLSTM
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from fedlearn.config import TrainingConfig
from fedlearn.crypto.noise import NoiseSource
from fedlearn.errors import ConfigError, ModelError
from fedlearn.privacy.account import Account
from fedlearn.privacy.events import SampledGaussianEvent
from fedlearn.training import private
from fedlearn.training.batches import StepPlan
from fedlearn.training.clipping import Clipping, factors_of, kept_records, square_norms, taken
from fedlearn.training.local import LocalTrainer, Recipe, Workbench
from fedlearn.training.objective import cross_entropy
from fedlearn.training.optimizers import sgd
from fedlearn.training.private import PrivateGradient, check_clippable
from fedlearn.training.record_privacy import RecordPrivacy, poisson_sample
from fedlearn.training.vector import FlatModel

SILENT = 1e-12
"""A noise multiplier so small that the clipped sum shows through."""


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 4)
        self.lstm = DPLSTM(4, 5, batch_first=True)
        self.out = nn.Linear(5, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        hidden, _ = self.lstm(self.embed(tokens))
        return self.out(hidden[:, -1])  # type: ignore[no-any-return]


class Tied(nn.Module):
    """One weight used twice, and one layer called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 6)
        self.mix = nn.Linear(6, 6)
        self.out = nn.Linear(6, 11, bias=False)
        self.out.weight = self.embed.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.out(self.mix(torch.tanh(self.mix(self.embed(tokens)))).mean(dim=1))  # type: ignore[no-any-return]


def images(count: int) -> Tensor:
    return torch.randn(count, 2, 8, 8)


def tokens(count: int) -> Tensor:
    return torch.randint(0, 11, (count, 6))


def rows(count: int) -> Tensor:
    return torch.randn(count, 7)


Build = Callable[[], nn.Module]
MODELS: dict[str, tuple[Build, Callable[[int], Tensor]]] = {
    "linear": (lambda: nn.Linear(7, 3), rows),
    "mlp": (lambda: nn.Sequential(nn.Linear(7, 300), nn.ReLU(), nn.Linear(300, 3)), rows),
    "conv": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)
        ),
        images,
    ),
    "groupnorm": (
        lambda: nn.Sequential(nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(144, 3)),
        images,
    ),
    "layernorm": (lambda: nn.Sequential(nn.Linear(7, 6), nn.LayerNorm(6), nn.Linear(6, 3)), rows),
    "embedding": (lambda: nn.Sequential(nn.Embedding(11, 4), nn.Flatten(), nn.Linear(24, 3)), tokens),
    "lstm": (Recurrent, tokens),
    "tied": (Tied, tokens),
}


def settings_of(noise_multiplier: float = SILENT, bound: float = 0.5, size: int = 10) -> RecordPrivacy:
    return RecordPrivacy(
        noise_multiplier=noise_multiplier, max_grad_norm=bound, sample_rate=0.5, declared_size=size
    )


def clipped_sum(samples: list[Tensor], bound: float) -> Tensor:
    """The clipped sum of given per-record gradients of some parameters, (b, p) each."""
    factors = factors_of(torch.stack([square_norms(sample) for sample in samples]).sum(dim=0), bound)
    kept = kept_records(factors)
    return torch.cat([taken(factors, kept) @ taken(sample, kept) for sample in samples])


def one_at_a_time(module: nn.Module, inputs: Tensor, targets: Tensor, bound: float) -> Tensor:
    """The oracle: plain autograd on one record after another, clipped in float64."""
    total = torch.zeros(sum(p.numel() for p in module.parameters() if p.requires_grad), dtype=torch.float64)
    trainable = [p for p in module.parameters() if p.requires_grad]
    for record in range(len(inputs)):
        loss = cross_entropy(module(inputs[record : record + 1]), targets[record : record + 1])
        gradients = torch.autograd.grad(loss, trainable)
        flat = torch.cat([gradient.flatten() for gradient in gradients]).double()
        total += flat * min(1.0, bound / max(float(flat.norm()), 1e-300))
    return total


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("bound", [1e-2, 0.7, 1e3])
def test_clipped_sum_equals_one_record_at_a_time(name: str, bound: float) -> None:
    torch.manual_seed(1)
    build, draw = MODELS[name]
    module, inputs, targets = build(), draw(9), torch.randint(0, 3, (9,))
    expected = one_at_a_time(module, inputs, targets, bound) / 5
    model = FlatModel(module)
    gradient = PrivateGradient(model, cross_entropy)
    for _ in range(2):
        gradient.write(inputs, targets, privacy=settings_of(bound=bound), noise=NoiseSource())
        error = (model.gradient - expected).norm() / expected.norm()
        assert error < (2e-6 if bound == 1e3 else 1.2e-5)  # clipping rounds the factor down by 1e-5


@pytest.mark.parametrize("name", MODELS)
def test_an_empty_step_is_noise_alone(name: str) -> None:
    model = FlatModel(MODELS[name][0]())
    noise = NoiseSource()
    gradient = PrivateGradient(model, cross_entropy)
    gradient.write(None, None, privacy=settings_of(noise_multiplier=2.0), noise=noise)
    assert noise.draws == 1
    # On a grid of 1 / 64 of its stddev one value in 160 is zero.
    assert (model.gradient != 0).float().mean() > 0.9


def test_pieces_add_up_to_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(2)
    inputs, targets = rows(23), torch.randint(0, 3, (23,))
    model = FlatModel(nn.Linear(7, 3))
    gradient = PrivateGradient(model, cross_entropy)
    gradient.write(inputs, targets, privacy=settings_of(), noise=NoiseSource())
    whole = model.gradient.clone()
    monkeypatch.setattr(private, "_SMALLEST_PIECE", 5)
    monkeypatch.setattr(private, "_LARGEST_PIECE", 5)
    gradient = PrivateGradient(model, cross_entropy)
    noise = NoiseSource()
    gradient.write(inputs, targets, privacy=settings_of(), noise=noise)
    torch.testing.assert_close(model.gradient, whole, rtol=1e-5, atol=1e-7)
    assert noise.draws == 1


@pytest.mark.parametrize("clipping", ["auto", "ghost"])
def test_who_comes_first_is_clipped_as_whoever_comes_later(clipping: Clipping) -> None:
    torch.manual_seed(3)
    inputs, targets = rows(200), torch.randint(0, 3, (200,))
    module = nn.Sequential(nn.Linear(7, 30), nn.Dropout(0.2), nn.Linear(30, 3))
    gradient = PrivateGradient(FlatModel(module), cross_entropy, clipping=clipping)
    sums = []
    for _ in range(2):
        torch.manual_seed(4)
        sums.append(gradient.clipped_sum(inputs, targets, max_grad_norm=1.0))
    assert torch.equal(*sums)


def test_the_sum_without_noise_is_what_the_step_protects() -> None:
    torch.manual_seed(6)
    inputs, targets = rows(6), torch.randint(0, 3, (6,))
    model = FlatModel(MODELS["mlp"][0]())
    gradient = PrivateGradient(model, cross_entropy)
    total = gradient.clipped_sum(inputs, targets, max_grad_norm=0.5)
    torch.testing.assert_close(
        total.double(), one_at_a_time(model.module, inputs, targets, 0.5), rtol=1e-4, atol=1e-6
    )
    gradient.write(inputs, targets, privacy=settings_of(), noise=NoiseSource())
    torch.testing.assert_close(model.gradient, total / 5, rtol=1e-4, atol=1e-6)
    assert not gradient.clipped_sum(None, None, max_grad_norm=0.5).any()


def test_noise_is_added_once_to_the_sum_and_divided_by_public_numbers() -> None:
    privacy = RecordPrivacy(noise_multiplier=1.5, max_grad_norm=0.1, sample_rate=0.25, declared_size=40)
    model = FlatModel(nn.Linear(1000, 20))
    PrivateGradient(model, cross_entropy).write(None, None, privacy=privacy, noise=NoiseSource())
    # 20,020 values: the estimate is off by more than 3 % once in 10^9.
    assert float(model.gradient.std()) == pytest.approx(1.5 * 0.1 / (40 * 0.25), rel=0.03)


def test_frozen_parameters_are_left_alone() -> None:
    module = nn.Sequential(nn.Linear(7, 5), nn.Linear(5, 3))
    module[0].requires_grad_(False)
    before = [p.clone() for p in module[0].parameters()]
    model = FlatModel(module)
    assert model.dimension == 18
    inputs, targets = rows(4), torch.randint(0, 3, (4,))
    expected = one_at_a_time(module, inputs, targets, 0.5) / 5
    PrivateGradient(model, cross_entropy).write(inputs, targets, privacy=settings_of(), noise=NoiseSource())
    torch.testing.assert_close(model.gradient.double(), expected, rtol=1e-4, atol=1e-6)
    assert all(p.grad is None and p.equal(b) for p, b in zip(module[0].parameters(), before, strict=True))


def test_names_of_the_state_are_unchanged() -> None:
    model = FlatModel(MODELS["conv"][0]())
    names = list(model.module.state_dict())
    PrivateGradient(model, cross_entropy)
    assert list(model.module.state_dict()) == names


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), 1e38])
def test_one_poisoned_record_adds_nothing_unbounded(poison: float) -> None:
    torch.manual_seed(3)
    inputs, targets = rows(6), torch.randint(0, 3, (6,))
    module = MODELS["mlp"][0]()
    expected = one_at_a_time(module, inputs[1:], targets[1:], 0.5) / 5
    inputs[0] = poison
    model = FlatModel(module)
    PrivateGradient(model, cross_entropy).write(inputs, targets, privacy=settings_of(), noise=NoiseSource())
    assert (model.gradient - expected).norm() <= 0.5 / 5 * (1 + 1e-6)


finite_or_not = st.one_of(
    st.floats(width=32, allow_nan=True, allow_infinity=True),
    st.sampled_from([0.0, 1e38, -1e38, 1e19, 1e-38, 1e-45]).map(lambda v: float(np.float32(v))),
)
gradients = hnp.arrays(
    np.float32,
    st.tuples(st.integers(0, 5), st.sampled_from([1, 7, 256, 600])),
    elements=finite_or_not,
    fill=st.just(0.0),
)


@settings(max_examples=60)
@example(np.full((1, 9), 1e38, np.float32), 1e-3)
@given(gradients, st.sampled_from([1e-3, 1.0, 100.0]))
def test_one_record_more_changes_the_sum_by_the_bound_at_most(values: np.ndarray, bound: float) -> None:
    samples = torch.from_numpy(values)
    parts = [samples[:, :3], samples[:, 3:]]
    whole = clipped_sum(parts, bound).double()
    assert torch.isfinite(whole).all()
    for record in range(len(samples)):
        alone = clipped_sum([part[record : record + 1] for part in parts], bound).double()
        assert alone.norm() <= bound * (1 + 1e-6)
        rest = clipped_sum([part[torch.arange(len(part)) != record] for part in parts], bound).double()
        # The sum itself is rounded to float32, once per record.
        assert (whole - rest).norm() <= bound * (1 + 1e-6 * (1 + len(samples)))
    turned = clipped_sum([part.flip(0) for part in parts], bound).double()
    assert (whole - turned).norm() <= bound * 1e-6 * (1 + len(samples))


def test_the_bound_holds_for_adversarial_rounding() -> None:
    """One large value hides a million small ones from a float32 sum of squares."""
    hidden = torch.full((1, 1_000_000), 2e-4)
    hidden[0, 0] = 1.0
    assert clipped_sum([hidden], 0.1).double().norm() <= 0.1 * (1 + 1e-6)


def mean_over_counted(outputs: Tensor, targets: Tensor) -> Tensor:
    """Divides by how many targets count: a mean that couples records."""
    counted = (targets != 0).float()
    losses = nn.functional.cross_entropy(outputs, targets, reduction="none")
    return (losses * counted).sum() / counted.sum().clamp(min=1)


def test_a_loss_that_couples_records_is_taken_record_by_record() -> None:
    torch.manual_seed(4)
    inputs, targets = rows(4), torch.tensor([0, 0, 0, 1])
    model = FlatModel(nn.Linear(7, 3))
    gradient = PrivateGradient(model, mean_over_counted)
    gradient.write(inputs, targets, privacy=settings_of(bound=1e3), noise=NoiseSource())
    together = model.gradient.clone()
    gradient.write(inputs[3:], targets[3:], privacy=settings_of(bound=1e3), noise=NoiseSource())
    torch.testing.assert_close(together, model.gradient, rtol=1e-4, atol=1e-6)


class Centred(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(7, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.out(inputs - inputs.mean(dim=0))  # type: ignore[no-any-return]


def test_a_model_in_which_records_meet_is_refused() -> None:
    gradient = PrivateGradient(FlatModel(Centred()), cross_entropy)
    with pytest.raises(ModelError, match="changes with another record"):
        gradient.write(rows(4), torch.zeros(4, dtype=torch.long), privacy=settings_of(), noise=NoiseSource())


@pytest.mark.parametrize("affine", [True, False])
def test_batchnorm_is_refused_by_name_with_the_fix(affine: bool) -> None:
    module = nn.Sequential(nn.Conv2d(2, 8, 3), nn.BatchNorm2d(8, affine=affine))
    with pytest.raises(ModelError, match=r"layer '1' is BatchNorm2d\(8\).*use nn\.GroupNorm\(8, 8\)"):
        check_clippable(module)


def test_a_layer_without_per_record_gradients_is_refused() -> None:
    with pytest.raises(ModelError, match=r"LSTM.*ModuleValidator\.fix"):
        check_clippable(nn.Sequential(nn.LSTM(3, 4)))


def test_poisson_samples_take_each_record_by_its_own_coin() -> None:
    privacy = RecordPrivacy(noise_multiplier=1.0, max_grad_norm=1.0, sample_rate=0.2, declared_size=50)
    noise = NoiseSource.reproducible_from("poisson test")
    taken = np.zeros((4000, 50))
    for step in range(4000):
        taken[step, poisson_sample(50, privacy, noise)] = 1
    deviations = (taken.mean(axis=0) - 0.2) / np.sqrt(0.16 / 4000)
    assert np.abs(deviations).max() < 4.8  # 50 coins: exceeded once in 12,000
    correlation = np.corrcoef(taken.T) - np.eye(50)
    assert np.abs(correlation).max() < 5.5 / np.sqrt(4000)
    assert taken.sum(axis=1).var() == pytest.approx(8.0, rel=0.15)


def private_trainer(records: int, privacy: RecordPrivacy, steps: int, noise: NoiseSource) -> LocalTrainer:
    torch.manual_seed(5)
    recipe = Recipe(
        optimizer=sgd,
        learning_rate=0.1,
        momentum=0.0,
        weight_decay=0.0,
        schedule=lambda round, rounds: 1.0,
        rounds=1,
        loss=cross_entropy,
    )
    return LocalTrainer(
        client="c",
        dataset=TensorDataset(rows(records), torch.randint(0, 3, (records,))),
        records=records,
        plan=StepPlan(steps=steps, sample_rate=privacy.sample_rate),
        bench=Workbench(FlatModel(nn.Linear(7, 3)), recipe),
        seed=0,
        privacy=privacy,
        noise=lambda round: noise,
    )


def test_draws_equal_steps_equal_events_even_when_most_batches_are_empty(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """8 records, batch 1: a third of the steps draws nobody, and is noised and charged all the same."""
    training = TrainingConfig(batch_size=1, epochs=5)
    plan = StepPlan.of(training, declared_size=8)
    privacy = RecordPrivacy(
        noise_multiplier=1.0, max_grad_norm=1.0, sample_rate=plan.sample_rate, declared_size=8
    )
    noise = NoiseSource()
    trainer = private_trainer(8, privacy, plan.steps, noise)
    empty = 0
    original = PrivateGradient.write

    def spy(self: PrivateGradient, inputs: Tensor | None, *args: object, **kwargs: object) -> None:
        nonlocal empty
        before = self._model.values.clone()
        original(self, inputs, *args, **kwargs)  # type: ignore[arg-type]
        empty += inputs is None
        assert self._model.gradient.abs().sum() > 0
        assert before.equal(self._model.values)

    monkeypatch.setattr(PrivateGradient, "write", spy)
    update = trainer.train(np.zeros(24, np.float32), round=0)
    account = Account()
    account.charge(SampledGaussianEvent(noise_multiplier=1.0, sample_rate=plan.sample_rate, steps=plan.steps))
    assert plan.steps == 40
    assert empty > 0
    assert noise.draws == plan.steps == account.steps
    assert (update != 0).all()


def test_one_workbench_serves_many_clients_and_rounds() -> None:
    privacy = settings_of(noise_multiplier=1.0)
    first = private_trainer(8, privacy, 3, NoiseSource())
    second = private_trainer(8, privacy, 3, NoiseSource())
    object.__setattr__(second, "bench", first.bench)
    updates = [
        trainer.train(np.zeros(24, np.float32), round=round)
        for round in range(3)
        for trainer in (first, second)
    ]
    assert all(np.isfinite(update).all() for update in updates)
    assert len({update.tobytes() for update in updates}) == 6


def test_torch_seed_does_not_reach_the_noise() -> None:
    privacy, start = settings_of(noise_multiplier=1.0), np.zeros(24, np.float32)
    one, other = (private_trainer(8, privacy, 3, NoiseSource()).train(start, round=0) for _ in range(2))
    assert not np.array_equal(one, other)


@pytest.mark.parametrize(
    "change",
    [{"noise_multiplier": 0.0}, {"max_grad_norm": -1.0}, {"sample_rate": 1.5}, {"declared_size": 0}],
)
def test_settings_that_protect_nobody_are_refused(change: dict[str, float]) -> None:
    values = {"noise_multiplier": 1.0, "max_grad_norm": 1.0, "sample_rate": 0.1, "declared_size": 10}
    with pytest.raises(ConfigError, match=next(iter(change))):
        RecordPrivacy(**(values | change))  # type: ignore[arg-type]
