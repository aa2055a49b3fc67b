"""What users bring that cannot work: found, named, and said how to mend."""

from __future__ import annotations

import multiprocessing
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset, TensorDataset

from fedlearn.errors import OutOfMemory
from fedlearn.experiment import Experiment
from fedlearn.simulation import simulate

Make = Callable[..., Experiment]


@pytest.fixture(autouse=True)
def nobody_is_left() -> Iterator[None]:
    yield
    assert multiprocessing.active_children() == []


def records(seed: int) -> TensorDataset:
    draw = torch.Generator().manual_seed(seed)
    return TensorDataset(torch.randn(12, 3, generator=draw), torch.randint(2, (12,), generator=draw))


def of(clients: dict[str, Any], **objects: Any) -> Experiment:
    values = {
        "rounds": 2,
        "model": {"name": "logistic", "arguments": {"classes": 2}},
        "training": {"batch_size": 4, "learning_rate": 0.1},
    }
    return Experiment.from_dict(values, clients=clients, **objects)


class Failing(Dataset[tuple[Tensor, ...]]):
    """Records that ``fail`` stands in the way of."""

    def __init__(self, fail: Callable[[], object]) -> None:
        self._fail = fail
        self._records = records(0)

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        self._fail()
        record: tuple[Tensor, ...] = self._records[index]
        return record


def raise_memory_error() -> None:
    raise MemoryError


def raise_on_the_gpu() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB\nmore")


def ask_numpy_for_too_much() -> None:
    np.ones(1 << 46)


def ask_torch_for_too_much() -> None:
    torch.ones(1 << 46)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    "fail", [raise_memory_error, raise_on_the_gpu, ask_numpy_for_too_much, ask_torch_for_too_much]
)
def test_out_of_memory_names_the_client_and_what_to_lower(
    tmp_path: Path, fail: Callable[[], object], workers: int
) -> None:
    clients = {"a": records(1), "b": Failing(fail), "c": records(2)}
    with pytest.raises(
        OutOfMemory, match=r"client 'b' ran out of memory on cpu.*training\.batch_size=4.*--workers"
    ):
        simulate(of(clients), out=tmp_path, workers=workers)


def take_more_than_there_is() -> None:
    limit = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm", encoding="ascii") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20), limit[1]))
    try:
        torch.ones(256 << 20)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limit)


def test_a_limit_on_a_worker_s_memory_is_reported_like_its_end(tmp_path: Path) -> None:
    clients = {"a": records(1), "b": Failing(take_more_than_there_is)}
    with pytest.raises(OutOfMemory, match="client 'b' ran out of memory"):
        simulate(of(clients), out=tmp_path, workers=2)


def test_another_runtime_error_stays_what_it_is(tmp_path: Path) -> None:
    def fail() -> None:
        raise RuntimeError("the shelf is empty")

    with pytest.raises(RuntimeError, match="the shelf is empty"):
        simulate(of({"a": Failing(fail), "b": records(1)}), out=tmp_path, workers=1)


class TestRepeatability:
    def test_a_loss_that_draws_from_an_unseeded_generator_is_a_finding(self, tmp_path: Path) -> None:
        draw = np.random.default_rng()

        def loss(outputs: Tensor, targets: Tensor) -> Tensor:
            return functional.cross_entropy(outputs, targets) * float(draw.uniform(0.5, 1.5))

        result = simulate(of({"a": records(1), "b": records(2)}, loss=loss), out=tmp_path, workers=1)
        assert any(
            "gives two updates" in finding and "no seed decides" in finding for finding in result.findings
        )

    def test_dropout_repeats(self, tmp_path: Path) -> None:
        model = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 2))
        result = simulate(of({"a": records(1), "b": records(2)}, model=model), out=tmp_path, workers=1)
        assert not any("two updates" in finding for finding in result.findings)

    def test_a_data_set_that_gives_other_records_each_time_is_a_finding(self, tmp_path: Path) -> None:
        class Augmented(Failing):
            def __getitem__(self, index: int) -> tuple[Tensor, ...]:
                inputs, target = super().__getitem__(index)
                return inputs + float(np.random.default_rng().normal()), target

        result = simulate(
            of({"a": Augmented(lambda: None), "b": Augmented(lambda: None)}), out=tmp_path, workers=1
        )
        assert any("gives two updates" in finding for finding in result.findings)

    def test_registered_parts_are_not_asked(
        self, experiment: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("fedlearn.simulation.repeatable._difference", lambda *_: "asked")
        assert "asked" not in simulate(experiment(rounds=1), out=tmp_path, workers=1).findings

    def test_what_fails_the_second_time_is_a_finding(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object) -> None:
            raise ValueError("the connection is closed")

        monkeypatch.setattr("fedlearn.simulation.repeatable._difference", fail)
        result = simulate(of({"a": records(1), "b": records(2)}), out=tmp_path, workers=1)
        assert any("ValueError: the connection is closed" in finding for finding in result.findings)
