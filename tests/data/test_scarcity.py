"""Scarcity on purpose: counts, and that nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedlearn.data.scarcity import few_labels, few_records, missing_features
from fedlearn.errors import ConfigError, DataError

PARTS = {"a": np.arange(0, 30), "b": np.arange(30, 41)}


def _rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@settings(max_examples=30, deadline=None)
@given(per_client=st.integers(1, 11), seed=st.integers(0, 99))
def test_few_records_keeps_that_many_of_each_client_s_own(per_client: int, seed: int) -> None:
    for client, kept in few_records(PARTS, per_client=per_client, rng=_rng(seed)).items():
        assert len(kept) == len(set(kept)) == per_client
        assert set(kept) <= set(PARTS[client])


def test_few_records_refuses_a_client_with_fewer() -> None:
    with pytest.raises(DataError, match="client 'b' has 11 records, fewer than per_client=12"):
        few_records(PARTS, per_client=12, rng=_rng())
    with pytest.raises(ConfigError, match="per_client=0"):
        few_records(PARTS, per_client=0, rng=_rng())


@settings(max_examples=30, deadline=None)
@given(percent=st.integers(1, 100), seed=st.integers(0, 99))
def test_few_labels_divides_every_client_s_records(percent: int, seed: int) -> None:
    for client, (labelled, unlabelled) in few_labels(PARTS, fraction=percent / 100, rng=_rng(seed)).items():
        assert len(labelled) == -(-percent * len(PARTS[client]) // 100)
        assert sorted([*labelled, *unlabelled]) == PARTS[client].tolist()


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.1, float("nan")])
def test_few_labels_refuses_a_fraction_out_of_range(fraction: float) -> None:
    with pytest.raises(ConfigError, match="fraction="):
        few_labels(PARTS, fraction=fraction, rng=_rng())


def test_missing_features_are_the_same_for_all_records_of_a_client() -> None:
    inputs = _rng(1).normal(size=(41, 10)).astype(np.float32)
    before, fill = inputs.copy(), np.arange(10) + 100.0
    thinned = missing_features(inputs, PARTS, fraction=0.3, rng=_rng(), fill=fill)
    np.testing.assert_array_equal(inputs, before)
    lost = {}
    for client, part in PARTS.items():
        changed = thinned[part] != inputs[part]
        lost[client] = np.flatnonzero(changed[0]).tolist()
        assert len(lost[client]) == 3
        assert (changed == changed[0]).all()
        np.testing.assert_array_equal(thinned[part][:, lost[client]][0], fill[lost[client]])
    assert lost["a"] != lost["b"]


def test_missing_features_leaves_records_outside_the_parts_alone() -> None:
    inputs = np.ones((50, 4), np.float32)
    assert (missing_features(inputs, PARTS, fraction=0.5, rng=_rng())[41:] == 1.0).all()
    assert (missing_features(inputs, PARTS, fraction=0.0, rng=_rng()) == 1.0).all()


def test_missing_features_refuses_what_it_cannot_thin() -> None:
    with pytest.raises(ConfigError, match=r"fraction=1\.0"):
        missing_features(np.ones((41, 4), np.float32), PARTS, fraction=1.0, rng=_rng())
    with pytest.raises(DataError, match="rows of features"):
        missing_features(np.ones((41, 1, 2, 2), np.float32), PARTS, fraction=0.5, rng=_rng())
