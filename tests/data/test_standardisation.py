"""Standardisation, local and federated; the oracle of sums is NumPy on the pooled records."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedlearn.data.standardise import Standardisation, constants
from fedlearn.data.statistics import contributions, standardisation_of
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


class TestMoments:
    @settings(max_examples=50)
    @given(cuts=CUTS, seed=st.integers(0, 999))
    def test_sums_of_any_clients_are_those_of_the_pooled_records(self, cuts: list[int], seed: int) -> None:
        rows = _rows(seed)
        total = np.zeros(6)
        for part in np.split(rows, sorted(cuts)):
            total += contributions(part, bound=None).sum(axis=0)
        found = standardisation_of(total / len(rows))
        np.testing.assert_allclose(found.center, rows.mean(axis=0, dtype=np.float64), rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(found.spread, rows.std(axis=0, dtype=np.float64), rtol=1e-6)

    @settings(max_examples=100)
    @given(
        bound=st.floats(1e-3, 1e3),
        record=st.lists(
            st.one_of(st.floats(-1e38, 1e38), st.sampled_from([0.0, 1.0, np.nan, np.inf])),
            min_size=3,
            max_size=3,
        ),
    )
    def test_no_record_moves_the_sum_by_more_than_the_bound(self, bound: float, record: list[float]) -> None:
        rows = np.array([record], np.float32)
        moved = contributions(rows, bound=bound).sum(axis=0)
        assert np.isfinite(moved).all()
        assert np.linalg.norm(moved) <= bound

    def test_the_bound_is_reached_and_direction_kept(self) -> None:
        far = np.array([[30.0, 0.0, 0.0]])
        whole, cut = contributions(far, bound=None)[0], contributions(far, bound=2.0)[0]
        assert np.linalg.norm(cut) == pytest.approx(2.0)
        np.testing.assert_allclose(cut / 2.0, whole / np.linalg.norm(whole))

    def test_a_yes_no_feature_in_its_public_unit_has_no_square_to_tell(self) -> None:
        assert contributions(np.array([[1.0], [-1.0]]), bound=9.0)[:, 1].tolist() == [0.0, 0.0]

    def test_an_empty_client_contributes_nothing(self) -> None:
        assert contributions(np.zeros((0, 3), np.float32), bound=1.0).sum(axis=0).tolist() == [0.0] * 6

    def test_noise_below_zero_variance_leaves_the_least_spread(self) -> None:
        assert standardisation_of(np.array([5.0, -2.0]), min_spread=0.25).spread.tolist() == [0.25]

    def test_nonsense_is_refused(self) -> None:
        with pytest.raises(DataError, match="2d"):
            standardisation_of(np.zeros(3))
        with pytest.raises(DataError, match="finite"):
            standardisation_of(np.array([np.nan, 1.0]))
        with pytest.raises(DataError, match="rows of real features"):
            contributions(np.zeros((2, 1, 4, 4), np.float32), bound=1.0)
        with pytest.raises(DataError, match="rows of real features"):
            contributions(np.zeros((2, 4), np.int64), bound=1.0)
        with pytest.raises(ConfigError, match="bound=0"):
            contributions(_rows(0), bound=0.0)
