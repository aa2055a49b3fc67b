"""What each partitioner promises beyond the contract: sizes, label mixes, and Dirichlet's moments."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from fedlearn.data.partition import client_names, partition
from fedlearn.data.partitions.by_owner import by_owner
from fedlearn.data.partitions.dirichlet import _draw, dirichlet
from fedlearn.data.partitions.iid import iid
from fedlearn.data.partitions.quantity_skew import quantity_skew
from fedlearn.data.partitions.shards import shards
from fedlearn.data.records import Records
from fedlearn.errors import ConfigError, DataError


def _rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def _labels(records: int, classes: int) -> NDArray[np.int64]:
    return _rng(99).permutation(np.arange(records) % classes)


class TestIID:
    @settings(max_examples=30)
    @given(records=st.integers(1, 200), data=st.data())
    def test_sizes_differ_by_at_most_one(self, records: int, data: st.DataObject) -> None:
        clients = data.draw(st.integers(1, records))
        sizes = [len(part) for part in iid(np.zeros(records, np.int64), clients, rng=_rng())]
        assert max(sizes) - min(sizes) <= 1

    def test_every_record_is_as_likely_to_go_to_any_client(self) -> None:
        """10 records × 5 clients, 2,000 draws; false alarm 1e-4.

        Rows and columns of each draw both have fixed sums: 10/9 of a χ² with 9 · 4 degrees.
        """
        counts = np.zeros((10, 5))
        rng = _rng(1)
        for _ in range(2000):
            for client, part in enumerate(iid(np.zeros(10, np.int64), 5, rng=rng)):
                counts[part, client] += 1
        assert ((counts - 400) ** 2 / 400).sum() < stats.chi2.isf(1e-4, 36) * 10 / 9


class TestDirichlet:
    @pytest.mark.parametrize("alpha", [0.1, 1.0, 10.0])
    def test_shares_of_a_class_have_the_moments_of_the_distribution(self, alpha: float) -> None:
        """Var p = (K − 1) / (K²(Kα + 1)); 1,500 draws of K = 4 shares, bound 5 standard errors.

        One class, so that shares are the sizes; ``min_records`` would bend the law, so draws of the
        partition itself are looked at.
        """
        clients, draws, records = 4, 1500, 2000
        rng, labels = _rng(2), np.zeros(records, np.int64)
        sizes = [
            np.bincount(_draw(labels, clients, rng=rng, alpha=alpha), minlength=clients) for _ in range(draws)
        ]
        shares = np.array(sizes) / records
        variance = (clients - 1) / (clients**2 * (clients * alpha + 1))
        squares = (shares - 1 / clients) ** 2
        error = squares.std(axis=0) / draws**0.5
        assert (np.abs(shares.mean(axis=0) - 1 / clients) < 5 * (variance / draws) ** 0.5).all()
        assert (np.abs(squares.mean(axis=0) - variance) < 5 * error + 1e-6).all()

    def test_smaller_alpha_skews_labels_more(self) -> None:
        labels = _labels(2000, 10)

        def largest_share(alpha: float) -> float:
            parts = dirichlet(labels, 10, rng=_rng(3), alpha=alpha)
            return float(np.mean([np.bincount(labels[p], minlength=10).max() / len(p) for p in parts]))

        assert largest_share(0.1) > largest_share(1.0) > largest_share(100.0)
        assert largest_share(100.0) < 0.2
        assert largest_share(0.1) > 0.4

    def test_keeps_its_least_number_of_records(self) -> None:
        parts = dirichlet(_labels(500, 5), 5, rng=_rng(4), alpha=0.5, min_records=40)
        assert min(len(part) for part in parts) >= 40

    def test_gives_up_by_name_of_client_and_bound(self) -> None:
        with pytest.raises(DataError, match=r"alpha=0\.001 client \d has \d+ records, .* min_records=10"):
            dirichlet(_labels(100, 2), 10, rng=_rng(), alpha=0.001, min_records=10)

    def test_refuses_an_alpha_of_zero(self) -> None:
        with pytest.raises(ConfigError, match=r"alpha=0"):
            dirichlet(_labels(100, 2), 2, rng=_rng(), alpha=0.0)


class TestShards:
    def test_most_clients_hold_as_many_classes_as_shards(self) -> None:
        labels = _labels(1000, 10)
        parts = shards(labels, 10, rng=_rng(), per_client=2)
        assert {len(part) for part in parts} == {100}
        assert all(1 <= len(np.unique(labels[part])) <= 2 for part in parts)

    def test_one_shard_of_balanced_classes_is_one_class(self) -> None:
        labels = _labels(300, 5)
        for part in shards(labels, 5, rng=_rng(1), per_client=1):
            assert len(np.unique(labels[part])) == 1

    def test_refuses_no_shard(self) -> None:
        with pytest.raises(ConfigError, match="at least 1"):
            shards(_labels(10, 2), 2, rng=_rng(), per_client=0)


class TestQuantitySkew:
    @settings(max_examples=60)
    @given(
        clients=st.integers(1, 8),
        ratio=st.floats(1.0, 50.0),
        classes=st.integers(1, 5),
        least=st.integers(1, 20),
        seed=st.integers(0, 99),
    )
    def test_labels_are_stratified_to_within_one_record(
        self, clients: int, ratio: float, classes: int, least: int, seed: int
    ) -> None:
        labels = _rng(seed).integers(classes, size=200)
        parts = quantity_skew(labels, clients, rng=_rng(seed), ratio=ratio, min_records=least)
        assert min(len(part) for part in parts) >= least
        for part in parts:
            wanted = np.bincount(labels, minlength=classes) * len(part) / 200
            assert (np.abs(np.bincount(labels[part], minlength=classes) - wanted) < 2 + clients).all()

    def test_a_client_holds_each_class_in_proportion(self) -> None:
        labels = _labels(569, 2)
        for part in quantity_skew(labels, 5, rng=_rng()):
            assert labels[part].mean() == pytest.approx(labels.mean(), abs=1.5 / len(part) + 0.01)

    def test_sizes_are_a_geometric_progression(self) -> None:
        sizes = [len(p) for p in quantity_skew(_labels(1500, 3), 4, rng=_rng(), ratio=8.0)]
        assert sizes == [800, 400, 200, 100]

    def test_ratio_of_one_is_equal_shares(self) -> None:
        assert [len(p) for p in quantity_skew(_labels(90, 3), 3, rng=_rng(), ratio=1.0)] == [30, 30, 30]

    def test_alpha_draws_the_sizes(self) -> None:
        one, other = (
            [len(p) for p in quantity_skew(_labels(900, 3), 6, rng=_rng(seed), alpha=0.5)] for seed in (1, 2)
        )
        assert one != other
        assert sum(one) == sum(other) == 900

    def test_clients_below_the_least_are_lifted_and_the_rest_shared_by_size(self) -> None:
        parts = quantity_skew(_labels(100, 2), 3, rng=_rng(), ratio=1000.0, min_records=10)
        assert [len(part) for part in parts] == [80, 10, 10]

    @pytest.mark.parametrize("arguments", [{"ratio": 0.5}, {"alpha": -1.0}, {"ratio": 2.0, "alpha": 1.0}])
    def test_arguments_out_of_range_are_refused(self, arguments: dict[str, float]) -> None:
        with pytest.raises(ConfigError, match=r"ratio|alpha"):
            quantity_skew(_labels(100, 2), 3, rng=_rng(), **arguments)  # type: ignore[arg-type]


class TestByOwner:
    OWNERS = np.array(["va", "cleveland", "va", "hungarian", "va"])

    def test_one_client_per_owner_in_the_order_of_names(self) -> None:
        parts = by_owner(np.zeros(5, np.int64), rng=_rng(), owners=self.OWNERS)
        assert [part.tolist() for part in parts] == [[1], [3], [0, 2, 4]]

    def test_fewer_clients_share_whole_owners(self) -> None:
        owners = np.array([f"o{i % 7}" for i in range(70)])
        parts = by_owner(np.zeros(70, np.int64), 3, rng=_rng(), owners=owners)
        held = [set(owners[part]) for part in parts]
        assert sorted(len(names) for names in held) == [2, 2, 3]
        assert set.union(*held) == set(owners)
        assert sum(len(names) for names in held) == 7

    def test_more_clients_than_owners_are_refused(self) -> None:
        with pytest.raises(DataError, match="too few for 4 clients"):
            by_owner(np.zeros(5, np.int64), 4, rng=_rng(), owners=self.OWNERS)

    def test_an_owner_is_needed_for_each_record(self) -> None:
        with pytest.raises(DataError, match="5 owners for 6 records"):
            by_owner(np.zeros(6, np.int64), rng=_rng(), owners=self.OWNERS)


class TestNames:
    RECORDS = Records(
        inputs=np.zeros((5, 1), np.float32), targets=np.zeros(5, np.int64), owners=TestByOwner.OWNERS
    )

    def test_a_client_with_one_owner_has_the_owner_s_name(self) -> None:
        parts = partition(self.RECORDS, kind="by-owner", clients=None, rng=_rng(), arguments={})
        assert list(parts) == ["cleveland", "hungarian", "va"]

    def test_clients_of_several_owners_are_numbered(self) -> None:
        parts = partition(self.RECORDS, kind="by-owner", clients=2, rng=_rng(), arguments={})
        assert list(parts) == ["client-0", "client-1"]

    def test_names_sort_as_numbers(self) -> None:
        assert sorted(client_names(101)) == client_names(101)
        assert client_names(1) == ["client-0"]

    def test_the_number_of_clients_is_needed_where_owners_do_not_give_it(self) -> None:
        with pytest.raises(DataError, match="needs the number of clients"):
            partition(self.RECORDS, kind="iid", clients=None, rng=_rng(), arguments={})

    def test_owners_are_needed_where_the_partition_asks_for_them(self) -> None:
        nameless = Records(inputs=self.RECORDS.inputs, targets=self.RECORDS.targets)
        with pytest.raises(DataError, match="names none"):
            partition(nameless, kind="by-owner", clients=None, rng=_rng(), arguments={})

    def test_a_foreign_argument_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="Did you mean 'per_client'"):
            partition(self.RECORDS, kind="shards", clients=1, rng=_rng(), arguments={"per_clients": 2})
