"""Client-level mechanisms: what one client can move, what noise hides it, and what is charged for it."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy import stats

from fedlearn.crypto.noise import NoiseSource
from fedlearn.errors import ConfigError, MalformedMessage, PrivacyError, RingTooSmall
from fedlearn.privacy import distributed as module_under_test
from fedlearn.privacy.accounting import epsilon, epsilon_rdp
from fedlearn.privacy.clipping import QuantileTracker, clipped, l2_norm
from fedlearn.privacy.distributed import DistributedGaussian
from fedlearn.privacy.events import SampledGaussianEvent
from fedlearn.privacy.mechanisms import CentralGaussian, ClientMechanism, ClippedSum
from fedlearn.privacy.rotation import Rotation, padded
from fedlearn.privacy.rounding import round_conditionally, rounded_norm

DIMENSION = 24
LABEL = ("run", 3)
TRACKER = QuantileTracker(quantile=0.5, learning_rate=0.2, bit_stddev=8.0)
AWKWARD = st.sampled_from([0.0, -0.0, 1e38, -3e38, 1e-45, 1.0, math.nan, math.inf, -math.inf])
UPDATES = arrays(
    np.float32,
    DIMENSION,
    elements=st.one_of(st.floats(width=32), AWKWARD.map(lambda x: float(np.float32(x)))),
)


def sums(
    *, sigma: float = 1.5, tracker: QuantileTracker | None = None, dimension: int = DIMENSION
) -> ClippedSum:
    return ClippedSum(
        noise_multiplier=sigma,
        clip_norm=0.7,
        dimension=dimension,
        expected_weight=20.0,
        expected_clients=20.0,
        tracker=tracker,
    )


def distributed(bits: int = 16, **of: Any) -> DistributedGaussian:
    return DistributedGaussian(sums=sums(**of), modulus_bits=bits, clients=20, min_survivors=12, colluders=2)


class Quiet(NoiseSource):
    """Coins as ever, and no noise: shows what a mechanism bounds before it adds any."""

    def discrete_gaussian(self, count: int, *, stddev: float) -> NDArray[np.int64]:
        return np.zeros(count, np.int64)


class TestClipping:
    @given(update=UPDATES, clip_norm=st.floats(1e-3, 1e3))
    def test_no_update_is_longer_than_the_norm(self, update: NDArray[np.float32], clip_norm: float) -> None:
        made = clipped(update, clip_norm=clip_norm)
        assert made.dtype == np.float32
        assert l2_norm(made.astype(np.float64)) <= clip_norm

    @given(update=UPDATES)
    def test_the_norm_neither_overflows_nor_lies(self, update: NDArray[np.float32]) -> None:
        if np.isfinite(update).all():
            exact = math.sqrt(math.fsum(float(x) ** 2 for x in update))
            assert l2_norm(update) == pytest.approx(exact, rel=1e-12)
        else:
            assert not math.isfinite(l2_norm(update))

    @pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
    def test_one_value_that_is_not_finite_makes_all_of_the_update_zero(self, bad: float) -> None:
        update = np.ones(5, np.float32)
        update[2] = bad
        assert not clipped(update, clip_norm=1.0).any()

    def test_a_short_update_stays_and_an_empty_one_is_empty(self) -> None:
        short = np.array([0.1, -0.2], np.float32)
        np.testing.assert_array_equal(clipped(short, clip_norm=1.0), short)
        assert clipped(np.empty(0, np.float32), clip_norm=1.0).shape == (0,)

    @given(update=UPDATES)
    def test_direction_is_kept(self, update: NDArray[np.float32]) -> None:
        if np.isfinite(update).all() and l2_norm(update) > 1e-3:
            made = clipped(update, clip_norm=0.5).astype(np.float64)
            cosine = made @ update / (l2_norm(made) * l2_norm(update))
            assert cosine == pytest.approx(1.0, abs=1e-6)


MECHANISMS: dict[str, ClientMechanism] = {
    "central": CentralGaussian(sums=sums()),
    "central, in a ring": CentralGaussian(sums=sums(), resolution=2.0**-9),
    "central, adaptive": CentralGaussian(sums=sums(tracker=TRACKER)),
    "distributed, 16 bits": distributed(16),
    "distributed, 32 bits": distributed(32),
    "distributed, adaptive": distributed(16, tracker=TRACKER),
}


@pytest.fixture(params=sorted(MECHANISMS))
def mechanism(request: pytest.FixtureRequest) -> ClientMechanism:
    return MECHANISMS[request.param]


def scale_of(mechanism: ClientMechanism) -> float:
    """Returns the sensitivity that the noise is a multiple of, in what is summed."""
    return mechanism.greatest_norm if isinstance(mechanism, DistributedGaussian) else 1.0


class TestOneClient:
    @settings(max_examples=60)
    @given(
        name=st.sampled_from(sorted(MECHANISMS)),
        update=UPDATES,
        weight=st.sampled_from([1.0, 0.3]),
        clip_norm=st.floats(1e-6, 1e6),
    )
    def test_one_client_moves_the_sum_by_no_more_than_its_bound(
        self, name: str, update: NDArray[np.float32], weight: float, clip_norm: float
    ) -> None:
        """‖sum(D) − sum(D*)‖ is the norm of what one client adds: at most C on every path."""
        made = MECHANISMS[name]
        sent = made.protect(update, weight=weight, clip_norm=clip_norm, label=LABEL, noise=Quiet())
        assert sent.shape == (made.length,)
        body, bit = np.split(sent.astype(np.float64), [made.length - made.sums.bits])
        assert l2_norm(body) <= scale_of(made) * (1 + 1e-6)
        if isinstance(made, CentralGaussian):
            assert l2_norm(body) <= weight * (1 + 1e-6)
        assert all(abs(value) in {1.0, float(getattr(made, "bit_scale", 1))} for value in bit)

    def test_an_update_that_is_not_finite_adds_nothing_but_noise(self, mechanism: ClientMechanism) -> None:
        update = np.full(DIMENSION, np.nan, np.float32)
        sent = mechanism.protect(update, weight=1.0, clip_norm=1.0, label=LABEL, noise=Quiet())
        body = sent[: mechanism.length - mechanism.sums.bits]
        assert not body.any()
        if mechanism.sums.tracker is not None:
            assert sent[-1] < 0, "it is not within the norm either"

    def test_without_noise_the_release_is_the_mean_of_clipped_updates(
        self, mechanism: ClientMechanism
    ) -> None:
        rng = np.random.default_rng(1)
        updates = [rng.normal(0, scale, DIMENSION).astype(np.float32) for scale in (0.01, 0.1, 1.0, 10.0)]
        clip_norm = mechanism.sums.clip_norm
        sent = [
            mechanism.protect(update, weight=1.0, clip_norm=clip_norm, label=LABEL, noise=Quiet()).astype(
                float
            )
            for update in updates
        ]
        expected = sum(clipped(update, clip_norm=clip_norm).astype(float) for update in updates) / 20.0
        released = mechanism.release(np.sum(sent, axis=0), clip_norm=clip_norm, label=LABEL, noise=Silent())
        steps = scale_of(mechanism) if isinstance(mechanism, DistributedGaussian) else 1e6
        np.testing.assert_allclose(released.update, expected, atol=4 * math.sqrt(DIMENSION) / steps / 20)


class Silent(NoiseSource):
    def perturb(self, values: Any, *, stddev: float, factor: float = 1.0, out: Any = None) -> Any:
        del stddev, factor, out
        return values.astype(np.float32)


class TestNoise:
    """Kolmogorov-Smirnov at significance 1e-6; the same sample must refute scales 10 % off."""

    ROUNDS = 8000

    def noises(
        self, mechanism: ClientMechanism, clients: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Returns noise on the update and on the sum of bits, in units of C, over many releases."""
        still = np.zeros(DIMENSION, np.float32)
        bodies, bits = [], []
        for _ in range(self.ROUNDS // DIMENSION):
            total = np.sum(
                [
                    mechanism.protect(
                        still, weight=1.0, clip_norm=1.0, label=LABEL, noise=NoiseSource()
                    ).astype(float)
                    for _ in range(clients)
                ],
                axis=0,
            )
            released = mechanism.release(total, clip_norm=1.0, label=LABEL, noise=NoiseSource())
            bodies.append(released.update.astype(float) * 20.0)
            bits.append(released.clip_norm)
        return np.concatenate(bodies), np.array(bits)

    @pytest.mark.parametrize("name", ["central", "central, in a ring", "distributed, 16 bits"])
    def test_it_has_the_scale_that_is_charged_and_no_other(self, name: str) -> None:
        mechanism = MECHANISMS[name]
        honest = mechanism.honest if isinstance(mechanism, DistributedGaussian) else 1
        found, _ = self.noises(mechanism, honest)
        scale = mechanism.event().noise_multiplier
        if isinstance(mechanism, DistributedGaussian):
            scale *= mechanism.greatest_norm / mechanism.scale
        else:
            assert isinstance(mechanism, CentralGaussian)
            scale *= mechanism.sensitivity
        assert stats.kstest(found, stats.norm(scale=scale).cdf).pvalue > 1e-6
        for wrong in (0.87 * scale, 1.15 * scale):
            assert stats.kstest(found, stats.norm(scale=wrong).cdf).pvalue < 1e-6

    def test_each_part_alone_is_a_fraction_of_the_noise(self) -> None:
        made = distributed()
        still = np.zeros(DIMENSION, np.float32)
        parts = [
            made.protect(still, weight=1.0, clip_norm=1.0, label=LABEL, noise=NoiseSource())
            for _ in range(200)
        ]
        assert np.std(np.concatenate(parts)) == pytest.approx(made.part_stddev, rel=0.06)
        assert made.part_stddev * math.sqrt(made.honest) == pytest.approx(1.5 * made.greatest_norm)

    def test_update_and_bit_share_the_multiplier(self) -> None:
        """σ⁻² = σ_Δ⁻² + σ_b⁻²: the split of Andrew et al. 2021, Theorem 1, with bits of ±1."""
        shared = sums(tracker=TRACKER)
        assert shared.update_multiplier > shared.noise_multiplier
        both = [
            SampledGaussianEvent(noise_multiplier=sigma, sample_rate=1.0, steps=7)
            for sigma in (shared.update_multiplier, TRACKER.bit_stddev)
        ]
        one = CentralGaussian(sums=shared).event()
        assert epsilon([dataclasses.replace(one, steps=7)], delta=1e-5) == pytest.approx(
            epsilon(both, delta=1e-5), rel=1e-9
        )


class TestDistributed:
    def test_it_costs_what_central_noise_of_the_same_multiplier_costs(self) -> None:
        for bits in (16, 32):
            event = dataclasses.replace(distributed(bits).event(), steps=30)
            central = SampledGaussianEvent(noise_multiplier=1.5, sample_rate=1.0, steps=30)
            assert epsilon([event], delta=1e-5) == pytest.approx(epsilon([central], delta=1e-5), rel=0.01)
            assert epsilon([event], delta=1e-5) <= epsilon_rdp([event], delta=1e-5)

    def test_the_ring_has_six_deviations_of_room(self) -> None:
        made = distributed(16)
        assert made.expected_wraps < 1e-6
        assert "expected to wrap" in made.summary
        assert made.scale < distributed(32).scale

    def test_sums_stay_in_the_ring_when_all_clients_point_one_way(self) -> None:
        made = distributed(16)
        worst = np.ones(DIMENSION, np.float32)
        for round in range(30):
            total = sum(
                made.protect(worst, weight=1.0, clip_norm=0.7, label=("r", round), noise=NoiseSource())
                for _ in range(made.clients)
            )
            assert np.abs(total).max() < 2**15

    def test_as_many_coordinates_wrap_as_stated(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """In a ring with too little room by design; all clients point one way.

        The count spreads less than a Poisson one, of which 6 standard
        deviations are exceeded in fewer than 1 of 10⁶ runs.
        """
        monkeypatch.setattr(module_under_test, "ROOM", 2.0)
        made, same, rounds, wrapped = distributed(16), np.ones(DIMENSION, np.float32), 60, 0
        for round in range(rounds):
            total = sum(
                made.protect(same, weight=1.0, clip_norm=0.7, label=("r", round), noise=NoiseSource())
                for _ in range(made.clients)
            )
            wrapped += int((np.abs(total) > 2**15).sum())
        expected = rounds * made.expected_wraps
        assert abs(wrapped - expected) < 6 * math.sqrt(expected)

    def test_a_ring_that_leaves_no_signal_is_refused(self) -> None:
        with pytest.raises(
            RingTooSmall, match=r"modulus_bits=16 leaves .* raise secure_aggregation.modulus_bits"
        ):
            DistributedGaussian(
                sums=sums(sigma=40.0, dimension=1 << 20),
                modulus_bits=16,
                clients=1000,
                min_survivors=600,
                colluders=100,
            )

    @pytest.mark.parametrize(("survivors", "colluders"), [(2, 2), (21, 1), (3, -1)])
    def test_noise_without_honest_survivors_is_refused(self, survivors: int, colluders: int) -> None:
        with pytest.raises(ConfigError, match="survivors that do not collude"):
            DistributedGaussian(
                sums=sums(), modulus_bits=16, clients=20, min_survivors=survivors, colluders=colluders
            )

    def test_fewer_honest_survivors_mean_more_noise_each(self) -> None:
        few = dataclasses.replace(distributed(32), min_survivors=4)
        assert few.part_stddev / few.greatest_norm == pytest.approx(
            distributed(32).part_stddev / distributed(32).greatest_norm * math.sqrt(10 / 2)
        )


class TestRotation:
    @given(
        vector=arrays(np.float64, st.integers(1, 70), elements=st.floats(-1e3, 1e3)), round=st.integers(0, 9)
    )
    def test_it_keeps_norms_and_goes_back(self, vector: NDArray[np.float64], round: int) -> None:
        turn = Rotation("run", round, dimension=len(vector))
        turned = turn.apply(vector)
        assert turned.shape == (padded(len(vector)),)
        assert l2_norm(turned) == pytest.approx(l2_norm(vector), rel=1e-9, abs=1e-9)
        np.testing.assert_allclose(turn.undo(turned), vector, rtol=1e-9, atol=1e-9)

    def test_it_is_linear(self) -> None:
        rng = np.random.default_rng(0)
        one, other = rng.normal(size=(2, 50))
        turn = Rotation("run", 1, dimension=50)
        np.testing.assert_allclose(turn.apply(one) + turn.apply(other), turn.apply(one + other), atol=1e-12)

    def test_it_spreads_a_single_coordinate_over_all(self) -> None:
        spike = np.zeros(1000)
        spike[7] = 1.0
        assert np.abs(Rotation("run", 0, dimension=1000).apply(spike)).max() == pytest.approx(1 / 32)

    def test_rounds_differ_and_parties_agree(self) -> None:
        vector = np.arange(1.0, 9.0)
        first = Rotation("run", 0, dimension=8).apply(vector)
        assert (first == Rotation("run", 0, dimension=8).apply(vector)).all()
        assert (first != Rotation("run", 1, dimension=8).apply(vector)).any()

    def test_the_matrix_is_hadamard_s(self) -> None:
        from scipy.linalg import hadamard

        turn = Rotation("x", dimension=16)
        signs = np.array([turn.apply(row)[0] for row in np.eye(16)]) * 4
        matrix = np.array([turn.apply(row) for row in np.eye(16)]).T * 4
        np.testing.assert_allclose(matrix, hadamard(16) * signs, atol=1e-12)


class TestRounding:
    @given(vector=arrays(np.float64, st.integers(1, 200), elements=st.floats(-50, 50)))
    def test_integers_are_neighbours_and_short(self, vector: NDArray[np.float64]) -> None:
        bound = rounded_norm(l2_norm(vector), len(vector))
        rounded = round_conditionally(vector, greatest_norm=bound, noise=NoiseSource())
        assert l2_norm(rounded.astype(float)) <= bound * (1 + 1e-12)
        assert (np.abs(rounded - vector) < 1).all()

    def test_the_bound_is_the_paper_s(self) -> None:
        length, dimension = 300.0, 4096
        likely = length**2 + dimension / 4 + math.sqrt(2 * 0.5) * (length + math.sqrt(dimension) / 2)
        assert rounded_norm(length, dimension) == pytest.approx(
            math.sqrt(min(likely, (length + math.sqrt(dimension)) ** 2))
        )

    def test_its_bias_is_small(self) -> None:
        rng = np.random.default_rng(0)
        vector = rng.normal(0, 30, 500)
        bound = rounded_norm(l2_norm(vector), 500)
        rounded = [round_conditionally(vector, greatest_norm=bound, noise=NoiseSource()) for _ in range(2000)]
        error = np.mean(rounded, axis=0) - vector
        # Unbiased, the mean error of a coordinate has a stddev below 0.5 / √2000; five of them in 500.
        assert np.abs(error).max() < 6 * 0.5 / math.sqrt(2000)


class TestAdaptiveNorm:
    """The setting of a public comparison: norms with median 1, fifty clients, sixty rounds, quantile ½."""

    @pytest.mark.parametrize("start", [0.1, 0.5, 0.9, 1.1, 2.0, 10.0])
    @pytest.mark.parametrize("bit_stddev", [1e-9, 5.0], ids=["no noise", "noise n/10"])
    def test_it_converges_from_both_sides(self, start: float, bit_stddev: float) -> None:
        rng = np.random.default_rng(0)
        tracker = QuantileTracker(quantile=0.5, learning_rate=0.2, bit_stddev=bit_stddev)
        clip_norm = start
        course = []
        for _ in range(60):
            bits = 0.0
            for _ in range(50):
                update = rng.normal(size=5)
                update *= np.exp(rng.normal() * 0.5) / np.linalg.norm(update)
                bits += tracker.bit(update, clip_norm=clip_norm)
            noisy = bits + bit_stddev * rng.normal()
            clip_norm = tracker.next_norm(clip_norm, unclipped=(noisy / 50 + 1) / 2)
            course.append(clip_norm)
        assert 0.75 < clip_norm < 1.3
        assert abs(math.log(clip_norm)) <= abs(math.log(course[0])) + 0.2

    def test_the_share_is_held_to_what_it_can_be(self) -> None:
        assert TRACKER.next_norm(1.0, unclipped=40.0) == TRACKER.next_norm(1.0, unclipped=1.0)
        assert TRACKER.next_norm(1.0, unclipped=-40.0) == TRACKER.next_norm(1.0, unclipped=0.0)

    def test_a_request_carries_the_norm_and_a_bad_one_is_refused(self) -> None:
        adaptive = sums(tracker=TRACKER)
        params = np.zeros(3, np.float32)
        model, clip_norm = adaptive.received(adaptive.request(params, clip_norm=0.25))
        assert (len(model), clip_norm) == (3, 0.25)
        for bad in (0.0, -1.0, math.nan, math.inf):
            with pytest.raises(MalformedMessage, match="must be positive and finite"):
                adaptive.received(adaptive.request(params, clip_norm=bad))
        assert sums().received(params) == (params, 0.7), (
            "a fixed norm is the client's own, never the request's"
        )

    def test_a_bit_that_takes_all_of_the_noise_is_refused(self) -> None:
        with pytest.raises(
            PrivacyError, match=r"leaves nothing for the update .* raise privacy.clip_bit_stddev"
        ):
            sums(sigma=8.0, tracker=TRACKER)
