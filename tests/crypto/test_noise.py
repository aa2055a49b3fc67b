"""The noise has the right law, is nobody's to predict, and is never drawn twice."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import DTypeLike, NDArray
from scipy import stats

from fedlearn.crypto.noise import NoiseSource
from fedlearn.errors import ConfigError

MILLION = 1_000_000


@pytest.fixture(scope="module")
def noise() -> NDArray[np.float64]:
    """A million noise values of stddev 3, always the same: nothing here can fail by chance."""
    source = NoiseSource.reproducible_from("test law")
    return source.perturb(np.zeros(MILLION, np.float32), stddev=3.0).astype(np.float64)


def test_stddev_is_met_within_three_per_mille(noise: NDArray[np.float64]) -> None:
    assert noise.std() == pytest.approx(3.0, rel=0.003)
    assert abs(noise.mean()) < 4 * 3.0 / np.sqrt(MILLION)


def test_law_is_normal_at_the_right_scale_and_no_other(noise: NDArray[np.float64]) -> None:
    # The law is continuous but for a grid of 1 / 64, which is blurred here as it was made.
    blur = np.random.default_rng(0).uniform(-0.5, 0.5, 200_000) / 64
    sample = noise[:200_000] / 3.0 + blur
    assert stats.kstest(sample, "norm").pvalue > 0.01
    for wrong in (0.96, 1.04):
        assert stats.kstest(sample / wrong, "norm").pvalue < 1e-6


def test_tails_and_fourth_moment_are_normal(noise: NDArray[np.float64]) -> None:
    scaled = np.abs(noise / 3.0)
    assert (scaled > 4).sum() == pytest.approx(MILLION * 2 * stats.norm.sf(4), abs=4 * 8)
    assert (scaled**4).mean() == pytest.approx(3.0, rel=0.02)


def test_neighbouring_values_and_successive_draws_are_uncorrelated() -> None:
    source = NoiseSource.reproducible_from("test independence")
    first, second = (source.perturb(np.zeros(100_000, np.float32), stddev=1.0) for _ in range(2))
    bound = 4.5 / np.sqrt(100_000)  # exceeded once in 150,000 trials
    for one, other in ((first[:-1], first[1:]), (first, second), (first**2 - 1, second**2 - 1)):
        assert abs(np.corrcoef(one, other)[0, 1]) < bound


def test_noise_does_not_depend_on_the_value_it_hides() -> None:
    value = np.linspace(-50, 50, 1000, dtype=np.float32)
    plain, shifted = (
        NoiseSource.reproducible_from("test shift").perturb(v, stddev=1.0)
        for v in (np.zeros_like(value), value)
    )
    # Both are rounded to a grid of 1 / 64; where more bits are needed, the two take different ones.
    np.testing.assert_allclose(shifted - value, plain, atol=2.01 / 64)


@pytest.mark.parametrize("stddev", [1e-3, 0.7, 1.0, 1e6])
def test_noisy_values_lie_on_a_grid_that_the_stddev_alone_decides(stddev: float) -> None:
    hidden = np.full(1000, stddev * 1e-9, np.float32)
    noisy = NoiseSource().perturb(hidden, stddev=stddev).astype(np.float64) / (stddev / 64)
    np.testing.assert_allclose(noisy, np.rint(noisy), atol=1e-4)


def test_every_float_of_noise_is_finite_and_draws_are_counted() -> None:
    source = NoiseSource()
    assert source.perturb(np.zeros(0, np.float32), stddev=1.0).shape == (0,)
    assert np.isfinite(source.perturb(np.zeros(100_001, np.float32), stddev=1e-20)).all()
    assert source.draws == 2


class Extremes:
    """Stands for a keystream whose words are the ends of the range."""

    def take(self, count: int, dtype: DTypeLike) -> NDArray[Any]:
        return np.resize(np.array([0, 2**63, 2**64 - 1], np.uint64).view(dtype), count)


def test_extreme_words_give_finite_noise_and_uniforms_below_one(monkeypatch: pytest.MonkeyPatch) -> None:
    source = NoiseSource()
    monkeypatch.setattr(source, "_stream", Extremes())
    noise = source.perturb(np.zeros(12, np.float32), stddev=1.0)
    assert np.isfinite(noise).all()
    assert np.abs(noise).max() == pytest.approx(11.0, abs=0.1)
    uniforms = source.uniform(3)
    assert uniforms.min() >= 0
    assert uniforms.max() < 1


def test_coins_fall_with_their_probability_and_the_ends_are_exact() -> None:
    source = NoiseSource.reproducible_from("test coins")
    heads = int(source.bernoulli(MILLION, 1 / 19).sum())
    assert abs(heads - MILLION / 19) < 4.5 * np.sqrt(MILLION * (1 / 19) * (18 / 19))
    assert not source.bernoulli(1000, 0.0).any()
    assert source.bernoulli(1000, 1.0).all()


def test_two_processes_under_one_torch_seed_draw_different_noise() -> None:
    program = (
        "import numpy, torch; torch.manual_seed(7); numpy.random.seed(7)\n"
        "from fedlearn.crypto.noise import NoiseSource\n"
        "print(NoiseSource().perturb(numpy.zeros(4, numpy.float32), stddev=1.0).tolist())"
    )
    children = [subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) for _ in range(2)]
    outputs = {child.communicate()[0] for child in children}
    assert all(child.returncode == 0 for child in children)
    assert len(outputs) == 2


def test_forked_child_leaves_its_parents_stream() -> None:
    source = NoiseSource()
    source.uniform(8)
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        os.write(write, source.uniform(8).tobytes())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(write)
    theirs = np.frombuffer(os.read(read, 64))
    os.close(read)
    assert not np.intersect1d(theirs, source.uniform(8)).size


def test_reproducible_noise_repeats_and_says_so() -> None:
    one, same, other = (NoiseSource.reproducible_from(7, "run", label) for label in ("a", "a", "b"))
    assert one.reproducible
    drawn = one.uniform(5)
    np.testing.assert_array_equal(drawn, same.uniform(5))
    assert not np.intersect1d(drawn, other.uniform(5)).size
    assert not NoiseSource().reproducible


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_source_cannot_be_duplicated(duplicate: Callable[[NoiseSource], object]) -> None:
    with pytest.raises(TypeError, match="cannot be copied"):
        duplicate(NoiseSource())


@pytest.mark.parametrize("stddev", [0.0, -1.0, float("nan"), float("inf")])
def test_noise_without_a_scale_is_refused(stddev: float) -> None:
    with pytest.raises(ConfigError, match="stddev"):
        NoiseSource().perturb(np.zeros(3, np.float32), stddev=stddev)


def test_probability_out_of_range_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"probability=1\.5"):
        NoiseSource().bernoulli(3, 1.5)
