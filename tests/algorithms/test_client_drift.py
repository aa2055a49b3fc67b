"""Client drift in closed form: where federations of quadratic clients end, and where they should."""

from __future__ import annotations

import numpy as np
import pytest

from fedlearn._types import Vector
from fedlearn.algorithms.fedavg import FedAvg
from fedlearn.algorithms.fedavgm import FedAvgM
from fedlearn.algorithms.feddyn import FedDyn
from fedlearn.algorithms.fedprox import FedProx
from fedlearn.algorithms.local_rule import LocalWork
from fedlearn.algorithms.scaffold import CONTROL, ControlVariates, Scaffold
from fedlearn.algorithms.state import Algorithm
from tests.algorithms.quadratics import (
    CLIENTS,
    averaging_fixed_point,
    federated,
    normalised_fixed_point,
    optimum,
)


def test_the_two_points_differ() -> None:
    assert np.abs(averaging_fixed_point() - optimum()).max() > 0.1


@pytest.mark.parametrize("algorithm", [FedAvg(), FedAvgM(momentum=0.9), FedAvgM(momentum=0.5)])
def test_averaging_ends_where_the_mean_update_vanishes(algorithm: Algorithm) -> None:
    """A momentum of the server changes the way and not the end."""
    np.testing.assert_allclose(federated(algorithm, rounds=400), averaging_fixed_point(), atol=1e-5)


def test_momentum_of_the_server_gets_there_sooner() -> None:
    """Heavy ball beats plain steps where these are small: here, a tenth of the mean update."""
    slow, fast = FedAvg(learning_rate=0.1), FedAvgM(learning_rate=0.1, momentum=0.5)
    errors = [np.abs(federated(one, rounds=20) - averaging_fixed_point()).max() for one in (slow, fast)]
    assert errors[1] < 0.2 * errors[0]


@pytest.mark.parametrize("algorithm", [Scaffold(), FedDyn(alpha=1.0), FedDyn(alpha=0.3)])
def test_scaffold_and_feddyn_end_at_the_optimum(algorithm: Algorithm) -> None:
    """Whatever the curvatures, and whatever the numbers of steps."""
    np.testing.assert_allclose(federated(algorithm, rounds=1500), optimum(), atol=1e-4)


def test_normalising_by_the_number_of_steps_does_not_get_there() -> None:
    """Why FedDyn is here and FedNova is not: curvatures that differ leave the latter elsewhere."""
    assert np.abs(normalised_fixed_point() - optimum()).max() > 0.1


def test_a_proximal_term_alone_does_not_get_there() -> None:
    distance = np.abs(federated(FedProx(mu=1.0), rounds=1500) - optimum()).max()
    assert distance > 0.02


def test_at_the_optimum_control_variates_are_the_clients_gradients() -> None:
    """cᵢ = hᵢ·(w* − tᵢ) makes every corrected step vanish there: nobody moves, nothing changes."""
    rule, rate, where = ControlVariates(), 0.1, optimum().astype(np.float32)
    gradients = [(c.curvature * (optimum() - c.target)).astype(np.float32) for c in CLIENTS]
    control: Vector = (rate * np.mean(gradients, axis=0)).astype(np.float32)
    np.testing.assert_allclose(control, 0.0, atol=1e-6)
    for client, gradient in zip(CLIENTS, gradients, strict=True):
        kept: dict[str, Vector] = {CONTROL: (rate * gradient).astype(np.float32)}
        update = client.descend(where, offset=rule.offset([control], kept, unit_rate=rate))
        np.testing.assert_allclose(update, 0.0, atol=1e-6)
        work = LocalWork(steps=client.steps, learning_rate=rate, unit_rate=rate)
        np.testing.assert_allclose(
            rule.finish(update, [control], kept, work).kept[CONTROL], kept[CONTROL], atol=1e-6
        )


def test_what_scaffold_sends_is_a_function_of_update_and_public_control_alone() -> None:
    """So it is post-processing of a noised update: two clients that keep other things send the same."""
    rule, work = ControlVariates(), LocalWork(steps=4, learning_rate=0.05, unit_rate=0.1)
    update, control = np.array([0.3, -0.2], np.float32), np.array([0.01, 0.5], np.float32)
    kept: list[dict[str, Vector]] = [{}, {CONTROL: np.array([9.0, -9.0], np.float32)}]
    one, other = (rule.finish(update, [control], own, work).sent for own in kept)
    np.testing.assert_array_equal(one[1], other[1])
    np.testing.assert_allclose(one[1], -control - update * 0.1 / (4 * 0.05), rtol=1e-6)


def test_a_schedule_does_not_change_what_a_control_variate_measures() -> None:
    """The same gradient, met at half the step size, gives half the update and the same control variate."""
    rule, still = ControlVariates(), [np.zeros(2, np.float32)]
    update, half_of_it = np.array([0.4, -0.2], np.float32), np.array([0.2, -0.1], np.float32)
    whole = rule.finish(update, still, {}, LocalWork(steps=2, learning_rate=0.1, unit_rate=0.1))
    half = rule.finish(half_of_it, still, {}, LocalWork(steps=2, learning_rate=0.05, unit_rate=0.1))
    np.testing.assert_allclose(whole.kept[CONTROL], half.kept[CONTROL], rtol=1e-6)


def test_scaffold_of_some_clients_counts_their_share() -> None:
    update = np.concatenate([np.zeros(2, np.float32), np.ones(2, np.float32)])
    there = Scaffold(share=0.25)
    state = there.step(there.init(np.zeros(2, np.float32)), update)
    np.testing.assert_array_equal(state.slots[CONTROL], [0.25, 0.25])
