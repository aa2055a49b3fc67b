"""FedAvg, FedProx and FedAvgM, and the state that they keep."""

from __future__ import annotations

import numpy as np
import pytest

from fedlearn.algorithms.fedavg import FedAvg
from fedlearn.algorithms.fedavgm import FedAvgM
from fedlearn.algorithms.fedprox import FedProx
from fedlearn.algorithms.state import State
from fedlearn.errors import ConfigError, RunError

PARAMS = np.array([1.0, -1.0], np.float32)
UPDATE = np.array([0.5, 0.25], np.float32)


def test_fedavg_lands_on_the_mean_of_the_clients() -> None:
    clients = np.array([[2.0, 0.0], [4.0, 2.0]], np.float32)
    state = FedAvg().init(PARAMS)
    after = FedAvg().step(state, (clients - PARAMS).mean(axis=0))
    assert after.params.tolist() == [3.0, 1.0]


def test_fedavg_scales_by_the_learning_rate() -> None:
    assert FedAvg(learning_rate=2.0).step(State(params=PARAMS), UPDATE).params.tolist() == [2.0, -0.5]


def test_fedprox_is_fedavg_on_the_server_and_a_pull_on_the_clients() -> None:
    assert FedProx(mu=0.3).proximal == 0.3
    there = FedProx(mu=0.3).step(State(params=PARAMS), UPDATE)
    np.testing.assert_array_equal(there.params, FedAvg().step(State(params=PARAMS), UPDATE).params)


def test_fedavgm_builds_up_to_the_geometric_sum() -> None:
    """β = ½ and a constant update: v = u, 3u/2, 7u/4 and w = w₀ + 17u/4."""
    algorithm = FedAvgM(momentum=0.5)
    state = algorithm.init(np.zeros(2, np.float32))
    for _ in range(3):
        state = algorithm.step(state, UPDATE)
    np.testing.assert_array_equal(state.slots["momentum"], 1.75 * UPDATE)
    np.testing.assert_array_equal(state.params, 4.25 * UPDATE)


def test_fedavgm_without_momentum_is_fedavg() -> None:
    there = FedAvgM(momentum=0.0)
    state = there.step(there.init(PARAMS), UPDATE)
    np.testing.assert_array_equal(state.params, PARAMS + UPDATE)


@pytest.mark.parametrize(
    ("factory", "arguments"),
    [(FedProx, {"mu": -1.0}), (FedAvgM, {"momentum": 1.0}), (FedAvg, {"learning_rate": -1.0})],
)
def test_arguments_out_of_range_are_refused(
    factory: type[FedProx] | type[FedAvgM] | type[FedAvg], arguments: dict[str, float]
) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(arguments))}="):
        factory(**arguments)


class TestState:
    def test_arrays_round_trip_bit_by_bit(self) -> None:
        state = State(params=PARAMS, round=7, slots={"momentum": UPDATE})
        back = State.from_arrays(state.to_arrays())
        assert (back.round, list(back.slots)) == (7, ["momentum"])
        assert back.params.tobytes() == PARAMS.tobytes()
        assert back.slots["momentum"].tobytes() == UPDATE.tobytes()

    @pytest.mark.parametrize("lost", ["params", "round"])
    def test_a_checkpoint_that_lacks_an_array_is_refused(self, lost: str) -> None:
        arrays = State(params=PARAMS).to_arrays()
        del arrays[lost]
        with pytest.raises(RunError, match=lost):
            State.from_arrays(arrays)

    @pytest.mark.parametrize("slot", [UPDATE[:1], UPDATE.astype(np.float64), UPDATE[None]])
    def test_a_slot_that_does_not_fit_is_refused(self, slot: np.ndarray) -> None:
        arrays = {**State(params=PARAMS).to_arrays(), "momentum": slot}
        with pytest.raises(RunError, match="momentum"):
            State.from_arrays(arrays)
