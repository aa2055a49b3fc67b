"""Who holds which records: every record once, held out by class, decided by the seed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset

from fedlearn.config import DataConfig
from fedlearn.data.records import DataSet, Records
from fedlearn.data.standardise import Standardisation
from fedlearn.errors import ConfigError, DataError, UnknownName
from fedlearn.experiment.population import (
    Population,
    check_data_set_name,
    from_data_set,
    from_objects,
    load_data_set,
)
from fedlearn.training.batches import RecordSet


def data_set(count: int = 60, classes: int = 3, **changes: Any) -> DataSet:
    """Returns records whose one input is their number, so that each can be recognised."""
    columns: dict[str, Any] = {
        "inputs": np.arange(count, dtype=np.float32)[:, None],
        "targets": np.arange(count) % classes,
    }
    columns |= {
        name: changes.pop(name) for name in ("inputs", "targets", "owners", "is_test") if name in changes
    }
    about: dict[str, Any] = {
        "name": "numbers",
        "classes": classes,
        "shape": (1,),
        "kind": "tabular",
        "licence": "none",
        "source": "counted",
    }
    return DataSet(records=Records(**columns), **about | changes)


def config(**changes: Any) -> DataConfig:
    return DataConfig.model_validate({"partition": {"clients": 4}, "standardise": "none", **changes})


def numbers(records: RecordSet | None) -> list[int]:
    if records is None:
        return []
    assert isinstance(records, TensorDataset)
    return [int(value) for value in records.tensors[0].flatten()]


def dealt(population: Population) -> dict[str, tuple[list[int], list[int]]]:
    return {
        name: (numbers(client.train), numbers(client.test)) for name, client in population.clients.items()
    }


class TestDealing:
    @settings(max_examples=25)
    @given(
        count=st.integers(20, 80),
        clients=st.integers(1, 6),
        fraction=st.floats(0.05, 0.95),
        kind=st.sampled_from(["iid", "dirichlet", "quantity-skew"]),
        seed=st.integers(0, 2**63 - 1),
    )
    def test_every_record_is_held_once_to_train_or_to_test(
        self, count: int, clients: int, fraction: float, kind: str, seed: int
    ) -> None:
        wanted = config(partition={"kind": kind, "clients": clients}, test_fraction=fraction)
        population = from_data_set(data_set(count), wanted, seed=seed)
        held = [number for train, test in dealt(population).values() for number in train + test]
        assert sorted(held) == list(range(count))
        assert len(population.clients) == clients
        assert all(client.size == len(numbers(client.train)) > 0 for client in population.clients.values())

    def test_the_common_test_set_is_all_held_out_records_and_pooled_all_others(self) -> None:
        population = from_data_set(data_set(), config(), seed=0)
        held = dealt(population).values()
        assert sorted(numbers(population.test)) == sorted(number for _, test in held for number in test)
        assert sorted(numbers(population.pooled())) == sorted(number for train, _ in held for number in train)

    def test_inputs_and_targets_stay_together(self) -> None:
        population = from_data_set(data_set(), config(), seed=0)
        for client in population.clients.values():
            assert isinstance(client.train, TensorDataset)
            inputs, targets = client.train.tensors
            assert (inputs.flatten().long() % 3).tolist() == targets.tolist()
            assert (inputs.dtype, targets.dtype) == (torch.float32, torch.int64)

    def test_the_seed_alone_decides(self) -> None:
        one, again, other = (dealt(from_data_set(data_set(), config(), seed=seed)) for seed in (1, 1, 2))
        assert one == again
        assert one != other

    def test_clients_come_in_the_order_of_their_ids(self) -> None:
        owners = np.array(["zeta", "alpha", "mid"])[np.arange(60) % 3]
        by_owner = config(partition={"kind": "by-owner"})
        population = from_data_set(data_set(owners=owners), by_owner, seed=0)
        assert list(population.clients) == ["alpha", "mid", "zeta"]
        for name, (train, test) in dealt(population).items():
            assert {str(owners[number]) for number in train + test} == {name}

    def test_what_is_known_of_the_data_set_is_passed_on(self) -> None:
        population = from_data_set(data_set(), config(), seed=0)
        assert (population.shape, population.classes, population.vocabulary) == ((1,), 3, None)
        assert population.source == "numbers: counted"


class TestHeldOutPart:
    def test_of_each_class_of_each_client_its_share(self) -> None:
        population = from_data_set(data_set(300), config(test_fraction=0.2), seed=0)
        for train, test in dealt(population).values():
            for label in range(3):
                of_test = sum(number % 3 == label for number in test)
                share = 0.2 * (of_test + sum(number % 3 == label for number in train))
                assert abs(of_test - share) < 1

    def test_small_classes_are_held_out_in_the_right_share_on_average(self) -> None:
        """Of 2 records per class, 20 % is 0.4: held out or not by a coin; 400 coins, 5 σ (6e-7)."""
        held = 0
        for seed in range(20):
            population = from_data_set(data_set(40, classes=20), config(partition={"clients": 1}), seed=seed)
            held += len(numbers(population.test))
        assert abs(held - 160) < 5 * (400 * 0.4 * 0.6) ** 0.5

    def test_the_last_record_of_a_class_stays_to_train(self) -> None:
        single = config(partition={"clients": 1}, test_fraction=0.9)
        population = from_data_set(data_set(3), single, seed=0)
        assert population.test is None
        assert len(numbers(population.pooled())) == 3

    def test_a_data_set_s_own_test_part_is_kept(self) -> None:
        is_test = np.arange(60) >= 40
        population = from_data_set(data_set(is_test=is_test), config(test_fraction=0.9), seed=0)
        assert sorted(numbers(population.test)) == list(range(40, 60))

    def test_a_client_without_training_records_is_refused(self) -> None:
        owners = np.where(np.arange(60) < 30, "trains", "tests").astype(np.str_)
        held = data_set(owners=owners, is_test=owners == "tests")
        with pytest.raises(DataError, match=r"client 'tests' has no training records; use fewer clients"):
            from_data_set(held, config(partition={"kind": "by-owner"}), seed=0)


class TestStandardisation:
    SCALE = Standardisation.from_range(np.array([0.0]), np.array([100.0]))

    def test_public_constants_scale_train_and_test_alike(self) -> None:
        wanted = config(standardise="public")
        population = from_data_set(data_set(scale=self.SCALE), wanted, seed=0)
        plain = from_data_set(data_set(), config(), seed=0)
        for name, client in population.clients.items():
            for scaled, raw in (
                (client.train, plain.clients[name].train),
                (client.test, plain.clients[name].test),
            ):
                assert isinstance(scaled, TensorDataset)
                assert isinstance(raw, TensorDataset)
                wanted_inputs = self.SCALE.apply(raw.tensors[0].numpy())
                np.testing.assert_array_equal(scaled.tensors[0].numpy(), wanted_inputs)

    def test_local_constants_are_those_of_the_client_s_training_records(self) -> None:
        population = from_data_set(data_set(), config(standardise="local"), seed=0)
        for client in population.clients.values():
            assert isinstance(client.train, TensorDataset)
            inputs = client.train.tensors[0].numpy()
            assert abs(inputs.mean()) < 1e-5
            assert inputs.std() == pytest.approx(1, abs=1e-4)


class TestDeclaredSizes:
    def test_by_default_the_true_size(self) -> None:
        population = from_data_set(data_set(), config(), seed=0)
        assert all(client.declared_size == client.size for client in population.clients.values())

    def test_one_for_all(self) -> None:
        population = from_data_set(data_set(), config(declared_size=12), seed=0)
        assert {client.declared_size for client in population.clients.values()} == {12}

    def test_one_each(self) -> None:
        declared = {f"client-{number}": 10 + number for number in range(4)}
        population = from_data_set(data_set(), config(declared_size=declared), seed=0)
        assert {name: client.declared_size for name, client in population.clients.items()} == declared

    def test_a_client_without_one_is_named(self) -> None:
        with pytest.raises(ConfigError, match="declared_size has no entry for client 'client-1'"):
            from_data_set(data_set(), config(declared_size={"client-0": 10}), seed=0)

    @pytest.mark.parametrize("declared", [0, -3])
    def test_none_is_below_one(self, declared: int) -> None:
        with pytest.raises(
            ConfigError, match=f"declared_size={declared} of client 'client-0' must be at least 1"
        ):
            from_data_set(data_set(), config(declared_size=declared), seed=0)


class TestFindings:
    def test_a_single_class_and_a_small_client_are_told(self) -> None:
        shards = config(partition={"kind": "shards", "clients": 3, "arguments": {"per_client": 1}})
        population = from_data_set(data_set(30), shards, seed=0, batch_size=64)
        assert len(population.findings) == 6
        assert {finding.client for finding in population.findings} == set(population.clients)
        assert "fewer than batch_size=64" in " ".join(map(str, population.findings))

    def test_an_even_deal_has_none(self) -> None:
        assert from_data_set(data_set(), config(), seed=0, batch_size=4).findings == ()

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_a_value_that_is_not_finite_is_refused_with_the_client(self, value: float) -> None:
        inputs = np.zeros((60, 1), np.float32)
        inputs[17] = value
        with pytest.raises(
            DataError, match=r"client 'client-\d': 1 of 15 records have values that are NaN or"
        ):
            from_data_set(data_set(inputs=inputs), config(), seed=0)


class TestNames:
    def test_no_name_is_told(self) -> None:
        with pytest.raises(ConfigError, match=r"data\.dataset is missing: name a data set"):
            load_data_set(DataConfig())

    def test_a_name_is_checked_before_anything_is_loaded(self) -> None:
        with pytest.raises(UnknownName, match="Did you mean 'breast-cancer'"):
            check_data_set_name(DataConfig(dataset="breast-cancr"))
        with pytest.raises(ConfigError, match="data set 'digits' takes no argument 'sice'"):
            check_data_set_name(DataConfig(dataset="digits", arguments={"sice": 1}))
        check_data_set_name(DataConfig(dataset="heart-disease"))
        check_data_set_name(DataConfig())

    def test_a_registered_data_set_is_loaded(self) -> None:
        assert load_data_set(DataConfig(dataset="breast-cancer", folder="~/absent")).classes == 2


class Computed(Dataset[tuple[Tensor, ...]]):
    """Three records that are computed when asked for."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        if index >= len(self):
            raise IndexError(index)
        return torch.full((1,), float(index)), torch.tensor(index % 2)


def tensors(count: int = 5, value: float = 1.0) -> TensorDataset:
    return TensorDataset(torch.full((count, 1), value), torch.zeros(count, dtype=torch.int64))


class TestOwnObjects:
    def test_they_are_taken_as_they_are(self) -> None:
        given, test = {"b": tensors(), "a": Computed()}, tensors(2)
        population = from_objects(given, test, DataConfig())
        assert list(population.clients) == ["a", "b"]
        assert population.clients["a"].train is given["a"]
        assert [client.size for client in population.clients.values()] == [3, 5]
        assert population.test is test
        assert (population.shape, population.classes, population.source) == (None, None, "given as objects")

    def test_declared_sizes_hold_for_them_too(self) -> None:
        population = from_objects({"a": tensors()}, None, DataConfig(declared_size={"a": 8}))
        assert (population.clients["a"].size, population.clients["a"].declared_size) == (5, 8)

    def test_pooled_joins_tensors_and_chains_others(self) -> None:
        joined = from_objects({"a": tensors(2), "b": tensors(3)}, None, DataConfig()).pooled()
        chained = from_objects({"a": tensors(2), "b": Computed()}, None, DataConfig()).pooled()
        assert isinstance(joined, TensorDataset)
        assert len(joined) == 5
        assert [len(chained[index]) for index in range(5)] == [2] * 5

    def test_no_client_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="clients is empty: give at least one data set"):
            from_objects({}, None, DataConfig())

    @pytest.mark.parametrize(
        ("records", "reason"),
        [
            (tensors(0), "has no records"),
            (tensors(value=float("nan")), "5 of 5 records have values that are NaN"),
            (TensorDataset(torch.zeros(2, 1), torch.tensor([0, -1])), "target -1 of record 1"),
            (
                TensorDataset(torch.zeros(2, 1), torch.tensor([0.0, float("inf")])),
                "1 of 2 records have values",
            ),
            (TensorDataset(torch.zeros(2, 1)), r"1 tensors in a record; give \(inputs, targets\)"),
            (TensorDataset(*[torch.zeros(2, 1)] * 3), "3 tensors in a record"),
        ],
        ids=["empty", "nan", "target", "real-target", "one", "three"],
    )
    @pytest.mark.parametrize("name", ["hospital-3", "test"])
    def test_records_that_cannot_be_trained_or_tested_on_are_refused_by_name(
        self, records: TensorDataset, reason: str, name: str
    ) -> None:
        clients, test = ({"a": tensors()}, records) if name == "test" else ({name: records}, None)
        with pytest.raises(DataError, match=f"client '{name}'.*{reason}"):
            from_objects(clients, test, DataConfig())

    def test_targets_may_be_real_numbers(self) -> None:
        population = from_objects(
            {"a": TensorDataset(torch.zeros(2, 1), -torch.ones(2, 1))}, None, DataConfig()
        )
        assert population.clients["a"].size == 2
