"""A client's round: hand answers, and a result that seed, client and round alone decide."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from fedlearn._types import Vector
from fedlearn.errors import ConfigError, ModelError
from fedlearn.remedies.penalties.proximal import Proximal
from fedlearn.training.batches import StepPlan
from fedlearn.training.local import LocalTrainer, Recipe, Workbench
from fedlearn.training.objective import cross_entropy, mean_squared_error
from fedlearn.training.optimizers import adam, sgd
from fedlearn.training.record_privacy import RecordPrivacy
from fedlearn.training.schedules import constant, linear
from fedlearn.training.vector import FlatModel

RECIPE = Recipe(
    optimizer=sgd,
    learning_rate=0.1,
    momentum=0.0,
    weight_decay=0.0,
    schedule=constant,
    rounds=4,
    loss=cross_entropy,
)
BATCHES = StepPlan(steps=5, sample_rate=0.4, batch_size=4)


def records(seed: int = 0, count: int = 10) -> TensorDataset:
    generator = torch.Generator().manual_seed(seed)
    return TensorDataset(
        torch.randn(count, 3, generator=generator), torch.randint(2, (count,), generator=generator)
    )


def classifier() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 2))


def bench(recipe: Recipe = RECIPE, module: Callable[[], nn.Module] = classifier) -> Workbench:
    return Workbench(FlatModel(module()), recipe)


def trainer(on: Workbench, **changes: Any) -> LocalTrainer:
    given: dict[str, Any] = {
        "client": "a",
        "dataset": records(),
        "records": 10,
        "plan": BATCHES,
        "bench": on,
        "seed": 0,
    }
    return LocalTrainer(**given | changes)


START: Vector = FlatModel(classifier()).params()


def on_a_line(recipe: Recipe, steps: int, *, start: float = 0.0, round: int = 0) -> float:
    """Trains y = w·x from ``start`` on the one record x = 1, y = 1: the loss is (w − 1)²."""
    dataset = TensorDataset(torch.ones(1, 1), torch.ones(1, 1))
    table = bench(
        dataclasses.replace(recipe, loss=mean_squared_error), module=lambda: nn.Linear(1, 1, bias=False)
    )
    plan = StepPlan(steps=steps, sample_rate=1.0)
    client = trainer(table, dataset=dataset, records=1, plan=plan)
    return float(client.train(np.array([start], np.float32), round=round)[0])


class TestHandAnswers:
    def test_one_step_is_the_learning_rate_times_the_gradient(self) -> None:
        assert on_a_line(RECIPE, 1) == pytest.approx(0.2)

    def test_steps_close_in_by_a_factor_each(self) -> None:
        assert on_a_line(RECIPE, 3) == pytest.approx(1 - 0.8**3)

    def test_the_update_is_local_minus_global(self) -> None:
        assert on_a_line(RECIPE, 2, start=5.0) == pytest.approx((1 + 4 * 0.8**2) - 5.0)

    def test_the_schedule_scales_the_round(self) -> None:
        recipe = dataclasses.replace(RECIPE, schedule=linear)
        assert on_a_line(recipe, 1, round=1) == pytest.approx(0.75 * 0.2)

    def test_weight_decay_pulls_to_zero(self) -> None:
        recipe = dataclasses.replace(RECIPE, weight_decay=0.5)
        assert on_a_line(recipe, 1, start=1.0) == pytest.approx(-0.05)

    def test_fedprox_pulls_to_the_global_vector(self) -> None:
        """From w₀ = 0: w₁ = 0.2, then w₂ = w₁ − 0.1 (2 (w₁ − 1) + μ w₁)."""
        recipe = dataclasses.replace(RECIPE, penalties=(Proximal(strength=3.0),))
        assert on_a_line(recipe, 1) == pytest.approx(0.2)
        assert on_a_line(recipe, 2) == pytest.approx(0.2 - 0.1 * (2 * (0.2 - 1) + 3.0 * 0.2))

    def test_fedprox_keeps_clients_nearer(self) -> None:
        near = dataclasses.replace(RECIPE, penalties=(Proximal(strength=5.0),))
        assert np.linalg.norm(trainer(bench(near)).train(START, round=0)) < np.linalg.norm(
            trainer(bench()).train(START, round=0)
        )

    def test_full_batches_equal_plain_torch(self) -> None:
        twin = nn.Sequential(
            *[layer for layer in classifier().children() if not isinstance(layer, nn.Dropout)]
        )
        table = bench(module=lambda: nn.Sequential(*list(twin.children())))
        start = table.model.params()
        reference = FlatModel(nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2)))
        reference.load(start)
        inputs, targets = records().tensors
        optimizer = torch.optim.SGD(reference.module.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            cross_entropy(reference.module(inputs), targets).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        update = trainer(table, plan=StepPlan(steps=3, sample_rate=1.0)).train(start, round=0)
        wanted = torch.cat([p.detach().reshape(-1) for p in reference.module.parameters()]).numpy() - start
        np.testing.assert_allclose(update, wanted, atol=1e-6)

    def test_an_empty_batch_without_privacy_moves_nothing(self) -> None:
        plan = StepPlan(steps=3, sample_rate=1e-12)
        assert not trainer(bench(), plan=plan).train(START, round=0).any()


class TestDeterminism:
    def test_the_same_seed_client_and_round_give_the_same_bits(self) -> None:
        one, other = trainer(bench()).train(START, round=2), trainer(bench()).train(START, round=2)
        assert one.tobytes() == other.tobytes()
        assert one.dtype == np.float32
        assert one.shape == START.shape

    @pytest.mark.parametrize(("changes", "round"), [({"seed": 1}, 0), ({"client": "b"}, 0), ({}, 1)], ids=str)
    def test_each_of_them_changes_the_order_of_records(self, changes: dict[str, Any], round: int) -> None:
        usual = trainer(bench()).train(START, round=0)
        assert trainer(bench(), **changes).train(START, round=round).tobytes() != usual.tobytes()

    @pytest.mark.parametrize("optimizer", [sgd, adam])
    def test_what_a_workbench_did_before_leaves_no_trace(self, optimizer: Callable[..., Any]) -> None:
        recipe = dataclasses.replace(
            RECIPE, optimizer=optimizer, momentum=0.9, penalties=(Proximal(strength=0.1),)
        )
        fresh, used = bench(recipe), bench(recipe)
        others = trainer(used, client="b", dataset=records(1), seed=9)
        for round in range(2):
            others.train(START + round, round=round)
        used.model.gradient.fill_(1e6)
        assert trainer(used).train(START, round=3).tobytes() == trainer(fresh).train(START, round=3).tobytes()

    def test_a_client_that_failed_leaves_no_trace_either(self) -> None:
        table = bench()
        with pytest.raises(IndexError):
            trainer(table, records=99).train(START, round=0)
        assert (
            trainer(table).train(START, round=0).tobytes() == trainer(bench()).train(START, round=0).tobytes()
        )

    def test_torch_s_own_generator_neither_decides_nor_moves(self) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            before = torch.get_rng_state()
            one = trainer(bench()).train(START, round=0)
            assert torch.equal(before, torch.get_rng_state())
            torch.manual_seed(2)
            assert trainer(bench()).train(START, round=0).tobytes() == one.tobytes()

    def test_the_global_vector_stays_as_it_is_and_may_be_read_only(self) -> None:
        held = START.copy()
        held.flags.writeable = False
        update = trainer(bench()).train(held, round=0)
        assert held.tobytes() == START.tobytes()
        assert not np.shares_memory(update, held)

    def test_dropout_is_on_while_training(self) -> None:
        still = bench(module=lambda: nn.Sequential(*classifier().children()))
        for layer in still.model.module.modules():
            if isinstance(layer, nn.Dropout):
                layer.p = 0.0
        full = StepPlan(steps=1, sample_rate=1.0)
        with_dropout = trainer(bench(), plan=full).train(START, round=0)
        assert trainer(still, plan=full).train(START, round=0).tobytes() != with_dropout.tobytes()


class TestErrors:
    def test_divergence_says_what_to_lower(self) -> None:
        wild = dataclasses.replace(RECIPE, learning_rate=1e30)
        with pytest.raises(
            ModelError, match=r"round 0: training diverged .* lower training\.learning_rate=1e\+30"
        ):
            trainer(bench(wild)).train(START, round=0)

    def test_a_record_that_is_not_finite_is_divergence(self) -> None:
        inputs, targets = records().tensors
        broken = TensorDataset(inputs.clone().fill_(float("nan")), targets)
        with pytest.raises(ModelError, match="diverged"):
            trainer(bench(), dataset=broken).train(START, round=0)

    def test_privacy_without_a_noise_source_is_refused(self) -> None:
        privacy = RecordPrivacy(noise_multiplier=1.0, max_grad_norm=1.0, sample_rate=0.4, declared_size=10)
        with pytest.raises(ConfigError, match="client 'a': privacy is given without a noise source"):
            trainer(bench(), privacy=privacy)


def test_the_records_of_a_client_stay_out_of_its_representation() -> None:
    assert "Dataset" not in repr(trainer(bench()))
    assert "tensor" not in repr(trainer(bench()))
