"""Standardisation, local and federated; the oracle of sums is NumPy on the pooled records."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedlearn.data.standardise import Standardisation, constants
from fedlearn.data.statistics import Sums, compose, largest_contribution
from fedlearn.errors import ConfigError, DataError

CUTS = st.lists(st.integers(0, 30), max_size=4)


def _rows(seed: int, n: int = 30, d: int = 3) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal([1.0, -2.0, 0.5], [1.0, 0.3, 2.0], (n, d)).astype(np.float32)


class TestStandardisation:
    def test_fit_and_apply_give_mean_zero_and_deviation_one(self) -> None:
        rows = _rows(0)
        scaled = Standardisation.fit(rows).apply(rows)
        assert scaled.dtype == np.float32
        np.testing.assert_allclose(scaled.mean(axis=0), 0.0, atol=1e-6)
        np.testing.assert_allclose(scaled.std(axis=0), 1.0, rtol=1e-6)

    @pytest.mark.parametrize("constant", [0.0, 0.1, 233.3, -1e6])
    def test_a_constant_feature_becomes_zero(self, constant: float) -> None:
        rows = np.full((7, 1), constant, np.float32)
        np.testing.assert_allclose(
            Standardisation.fit(rows).apply(rows), 0.0, atol=1e-5 * (1 + abs(constant))
        )
        assert Standardisation.fit(rows).spread.tolist() == [1.0]

    def test_images_are_standardised_pixel_by_pixel(self) -> None:
        images = np.random.default_rng(0).random((5, 1, 4, 4), dtype=np.float32)
        assert Standardisation.fit(images).apply(images).shape == images.shape

    def test_a_range_maps_to_two_either_way(self) -> None:
        scale = Standardisation.from_range([0.0, -1.0], [10.0, 1.0])
        assert scale.apply(np.array([[0.0, 1.0], [5.0, 0.0]], np.float32)).tolist() == [
            [-2.0, 2.0],
            [0.0, 0.0],
        ]

    def test_records_of_another_width_are_refused(self) -> None:
        with pytest.raises(DataError, match="do not fit"):
            Standardisation.from_range([0.0] * 3, [1.0] * 3).apply(np.zeros((2, 1), np.float32))
        with pytest.raises(DataError, match="do not fit"):
            Standardisation.from_range([0.0] * 3, [1.0] * 3).apply(np.zeros((2, 4), np.float32))

    @pytest.mark.parametrize(
        ("center", "spread", "named"),
        [([0.0], [0.0], "positive"), ([np.nan], [1.0], "finite"), ([0.0, 0.0], [1.0], "shape")],
    )
    def test_nonsense_is_refused(self, center: list[float], spread: list[float], named: str) -> None:
        with pytest.raises(DataError, match=named):
            Standardisation(center=np.array(center), spread=np.array(spread))

    def test_fit_refuses_no_records_and_broken_ones(self) -> None:
        with pytest.raises(DataError, match="0 records"):
            Standardisation.fit(np.zeros((0, 2), np.float32))
        with pytest.raises(DataError, match="finite"):
            Standardisation.fit(np.array([[np.nan], [1.0]], np.float32))


class TestConstants:
    PUBLIC = Standardisation.from_range([0.0] * 3, [1.0] * 3)

    def test_where_they_come_from(self) -> None:
        rows = _rows(1)
        assert constants("public", inputs=rows, public=self.PUBLIC) is self.PUBLIC
        assert constants("public", inputs=rows, public=None) is None
        assert constants("none", inputs=rows, public=self.PUBLIC) is None
        local = constants("local", inputs=rows, public=self.PUBLIC)
        assert local is not None
        np.testing.assert_allclose(local.center, rows.mean(axis=0, dtype=np.float64))

    def test_tokens_stay_as_they_are(self) -> None:
        assert constants("local", inputs=np.zeros((3, 4), np.int64), public=None) is None

    def test_an_unknown_mode_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="'global'"):
            constants("global", inputs=_rows(0), public=None)  # type: ignore[arg-type]


class TestSums:
    @settings(max_examples=50, deadline=None)
    @given(cuts=CUTS, seed=st.integers(0, 999))
    def test_sums_of_any_clients_are_those_of_the_pooled_records(self, cuts: list[int], seed: int) -> None:
        rows = _rows(seed)
        total = np.zeros(7)
        for part in np.split(rows, sorted(cuts)):
            total += Sums.of(part, bound=100.0).to_vector()
        found = Sums.from_vector(total).standardisation()
        np.testing.assert_allclose(found.center, rows.mean(axis=0, dtype=np.float64), rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(found.spread, rows.std(axis=0, dtype=np.float64), rtol=1e-6)

    def test_adding_is_adding_vectors(self) -> None:
        one, other = Sums.of(_rows(1), bound=5.0), Sums.of(_rows(2), bound=5.0)
        np.testing.assert_allclose((one + other).to_vector(), one.to_vector() + other.to_vector())

    @settings(max_examples=50, deadline=None)
    @given(bound=st.floats(0.1, 5.0), seed=st.integers(0, 999))
    def test_no_record_contributes_more_than_the_stated_norm(self, bound: float, seed: int) -> None:
        record = 10.0 * _rows(seed, n=1)
        norm = float(np.linalg.norm(Sums.of(record, bound=bound).to_vector()))
        assert norm <= largest_contribution(features=3, bound=bound) * (1 + 1e-12)

    def test_the_stated_norm_is_reached(self) -> None:
        record = np.full((1, 3), 1e3, np.float32)
        norm = float(np.linalg.norm(Sums.of(record, bound=2.0).to_vector()))
        assert norm == pytest.approx(largest_contribution(features=3, bound=2.0))

    def test_noise_below_zero_variance_leaves_the_least_spread(self) -> None:
        noisy = Sums(count=10.0, total=np.array([50.0]), squares=np.array([200.0]))
        assert noisy.standardisation(min_spread=0.25).spread.tolist() == [0.25]

    def test_a_count_that_noise_drowned_is_refused(self) -> None:
        for count in (-3.0, 0.4, float("nan")):
            with pytest.raises(DataError, match=f"count={count}"):
                Sums(count=count, total=np.zeros(1), squares=np.zeros(1)).standardisation()

    def test_nonsense_is_refused(self) -> None:
        with pytest.raises(DataError, match="2d"):
            Sums.from_vector(np.zeros(4))
        with pytest.raises(DataError, match="rows of features"):
            Sums.of(np.zeros((2, 1, 4, 4), np.float32), bound=1.0)
        with pytest.raises(ConfigError, match="bound=0"):
            Sums.of(_rows(0), bound=0.0)


def test_two_standardisations_compose_into_one() -> None:
    rows = 100.0 * _rows(5)
    inner = Standardisation.from_range([-300.0] * 3, [500.0] * 3)
    scaled = inner.apply(rows)
    outer = Sums.of(scaled, bound=8.0).standardisation()
    np.testing.assert_allclose(compose(outer=outer, inner=inner).apply(rows), outer.apply(scaled), atol=1e-4)
