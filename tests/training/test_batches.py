"""Step plans, batches and the records at some indices."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from fedlearn.config import TrainingConfig
from fedlearn.errors import DataError
from fedlearn.training.batches import StepPlan, fetch, fetched, size_of


class Squares(Dataset[tuple[Tensor, ...]]):
    """A map-style data set that computes its records."""

    def __init__(self, records: int) -> None:
        self.records = records

    def __len__(self) -> int:
        return self.records

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        return torch.full((2,), float(index)), torch.tensor(index * index)


class Endless(IterableDataset[tuple[Tensor, ...]]):
    """A data set that has no length."""

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        yield torch.zeros(2), torch.tensor(0)


class TestPlan:
    @pytest.mark.parametrize(
        ("training", "declared", "plan"),
        [
            ({}, 100, (1, 1.0, None)),
            ({"epochs": 3}, 100, (3, 1.0, None)),
            ({"local_steps": 5}, 100, (5, 1.0, None)),
            ({"batch_size": 32}, 100, (4, 0.32, 32)),
            ({"batch_size": 25}, 100, (4, 0.25, 25)),
            ({"batch_size": 32, "epochs": 2}, 100, (8, 0.32, 32)),
            ({"batch_size": 32, "local_steps": 3}, 100, (3, 0.32, 32)),
            ({"batch_size": 200}, 100, (1, 1.0, 200)),
            ({"batch_size": 1}, 1, (1, 1.0, 1)),
            ({"sample_rate": 0.05}, 100, (20, 0.05, None)),
            ({"sample_rate": 0.3, "epochs": 2}, 100, (8, 0.3, None)),
            ({"sample_rate": 1.0}, 100, (1, 1.0, None)),
        ],
    )
    def test_hand_answers(
        self, training: dict[str, float], declared: int, plan: tuple[int, float, int | None]
    ) -> None:
        made = StepPlan.of(TrainingConfig.model_validate(training), declared_size=declared)
        assert (made.steps, made.sample_rate, made.batch_size) == plan

    @given(st.integers(1, 10**6), st.integers(1, 10**6))
    def test_an_epoch_has_as_many_steps_as_batches_cover_the_records(self, batch: int, declared: int) -> None:
        plan = StepPlan.of(TrainingConfig(batch_size=batch), declared_size=declared)
        assert plan.steps == -(-declared // batch)
        assert 0 < plan.sample_rate <= 1


class TestDealtBatches:
    def test_a_pass_holds_each_record_once_and_the_next_is_shuffled_anew(self) -> None:
        plan = StepPlan(steps=6, sample_rate=0.4, batch_size=4)
        dealt = list(plan.batches(10, np.random.default_rng(0)))
        assert [len(batch) for batch in dealt] == [4, 4, 2, 4, 4, 2]
        passes = np.concatenate(dealt[:3]), np.concatenate(dealt[3:])
        assert all(sorted(each) == list(range(10)) for each in passes)
        assert passes[0].tolist() != passes[1].tolist()

    @given(st.integers(1, 40), st.integers(1, 50), st.integers(1, 20))
    def test_there_are_as_many_steps_as_planned_whatever_the_client_holds(
        self, records: int, batch: int, steps: int
    ) -> None:
        plan = StepPlan(steps=steps, sample_rate=0.5, batch_size=batch)
        dealt = list(plan.batches(records, np.random.default_rng(0)))
        assert len(dealt) == steps
        assert all(0 < len(indices) <= min(batch, records) for indices in dealt)
        assert all(len(set(indices.tolist())) == len(indices) for indices in dealt)


class TestPoissonBatches:
    def test_a_full_rate_takes_every_record_in_every_step(self) -> None:
        plan = StepPlan(steps=3, sample_rate=1.0)
        assert [batch.tolist() for batch in plan.batches(3, np.random.default_rng(0))] == [[0, 1, 2]] * 3

    def test_batch_sizes_are_binomial(self) -> None:
        """2,000 batches of Binomial(50, 0.2): mean within 5 standard errors (false alarm 6e-7)."""
        plan = StepPlan(steps=2000, sample_rate=0.2)
        sizes = [len(batch) for batch in plan.batches(50, np.random.default_rng(5))]
        error = (50 * 0.2 * 0.8 / 2000) ** 0.5
        assert abs(np.mean(sizes) - 10) < 5 * error
        assert min(sizes) < 5
        assert max(sizes) > 15

    def test_a_batch_may_be_empty(self) -> None:
        plan = StepPlan(steps=50, sample_rate=1e-3)
        assert any(len(batch) == 0 for batch in plan.batches(2, np.random.default_rng(0)))


@pytest.mark.parametrize(
    "plan", [StepPlan(steps=4, sample_rate=0.4, batch_size=4), StepPlan(steps=4, sample_rate=0.4)]
)
def test_the_generator_alone_decides(plan: StepPlan) -> None:
    first, again, other = (list(plan.batches(10, np.random.default_rng(seed))) for seed in (1, 1, 2))
    assert [batch.tolist() for batch in first] == [batch.tolist() for batch in again]
    assert [batch.tolist() for batch in first] != [batch.tolist() for batch in other]


class TestRecords:
    @pytest.mark.parametrize("records", [1, 7])
    def test_size_is_the_length(self, records: int) -> None:
        assert size_of(Squares(records), client="a") == records

    def test_no_records_are_refused_by_the_client_s_name(self) -> None:
        with pytest.raises(DataError, match="client 'hospital-3' has no records; leave it out"):
            size_of(Squares(0), client="hospital-3")

    def test_a_stream_is_refused_with_the_way_out(self) -> None:
        with pytest.raises(DataError, match="client 'a': the data set has no length; use a map-style"):
            size_of(Endless(), client="a")

    def test_tensors_and_computed_records_give_the_same(self) -> None:
        computed = Squares(6)
        columns = zip(*(computed[index] for index in range(6)), strict=True)
        stacked = TensorDataset(*(torch.stack(column) for column in columns))
        indices = np.array([4, 0, 4])
        for dataset in (computed, stacked):
            inputs, targets = fetch(dataset, indices)
            assert inputs.tolist() == [[4, 4], [0, 0], [4, 4]]
            assert targets.tolist() == [16, 0, 16]


@given(
    sizes=st.lists(st.integers(0, 5), max_size=12),
    room=st.integers(0, 12),
)
def test_records_fetched_ahead_are_those_of_each_batch(sizes: list[int], room: int) -> None:
    records = TensorDataset(torch.arange(60).view(20, 3), torch.arange(20))
    draw = np.random.default_rng(0)
    batches = [draw.integers(20, size=size) for size in sizes]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fedlearn.training.batches._AHEAD", 3 * room)
        got = list(fetched(records, iter(batches)))
    assert len(got) == len(batches)
    for indices, (inputs, targets) in zip(batches, got, strict=True):
        assert len(inputs) == len(indices)
        assert targets.tolist() == indices.tolist()
        assert inputs.tolist() == [[3 * index + k for k in range(3)] for index in indices]


def test_records_that_come_one_by_one_are_fetched_for_one_batch_at_a_time() -> None:
    asked: list[int] = []

    class Noting(Dataset[tuple[torch.Tensor, ...]]):
        def __len__(self) -> int:
            return 6

        def __getitem__(self, index: int) -> tuple[torch.Tensor, ...]:
            asked.append(index)
            return torch.tensor([float(index)]), torch.tensor(index)

    batches = fetched(Noting(), iter([np.array([0, 1]), np.array([2, 3])]))
    next(batches)
    assert asked == [0, 1]
