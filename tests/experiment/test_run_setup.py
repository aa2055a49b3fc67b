"""A run's parties, as an experiment sets them up."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fedlearn.experiment import Experiment
from fedlearn.experiment.enrolment import Enrolment
from fedlearn.experiment.setup import RunSetup
from fedlearn.rounds.client import Client
from fedlearn.rounds.messages import TrainRequest, encode
from fedlearn.rounds.transport import Message

PRIVATE = {"enabled": True, "noise_multiplier": 1.0, "delta": 1e-4}


def setup_of(**sections: Any) -> tuple[RunSetup, Enrolment]:
    values = {
        "data": {"dataset": "breast-cancer", "partition": {"clients": 5}},
        "model": {"name": "logistic"},
        "training": {"learning_rate": 0.1, "batch_size": 32},
    }
    experiment = Experiment.from_dict({**values, **sections})
    enrolment = Enrolment.of(experiment.population.clients)
    return RunSetup(experiment=experiment, run="run-7", roster=enrolment.roster), enrolment


def client_of(setup: RunSetup, enrolment: Enrolment, name: str = "client-0") -> Client:
    return setup.client(name, key=enrolment.keys[name], bench=setup.workbench())


def update_of(setup: RunSetup, enrolment: Enrolment, *, round: int = 0, name: str = "client-0") -> Any:
    request = Message(
        client=name,
        body=encode(TrainRequest(run="run-7", round=round)),
        vectors=(setup.experiment.initial_params,),
    )
    return client_of(setup, enrolment, name).answer(request).vectors[0]


class TestClients:
    def test_a_client_trains_on_its_own_records(self) -> None:
        setup, enrolment = setup_of()
        update = update_of(setup, enrolment)
        assert update.dtype == np.float32
        assert update.shape == setup.experiment.initial_params.shape
        assert update.any()
        assert update.tobytes() != update_of(setup, enrolment, name="client-1").tobytes()

    def test_training_without_noise_repeats(self) -> None:
        setup, enrolment = setup_of()
        again, keys = setup_of()
        assert update_of(setup, enrolment).tobytes() == update_of(again, keys).tobytes()
        assert update_of(setup, enrolment).tobytes() != update_of(setup, enrolment, round=1).tobytes()

    def test_secret_noise_does_not_repeat(self) -> None:
        setup, enrolment = setup_of(privacy=PRIVATE)
        assert update_of(setup, enrolment).tobytes() != update_of(setup, enrolment).tobytes()

    def test_reproducible_noise_does_and_differs_between_clients_and_rounds(self) -> None:
        setup, enrolment = setup_of(privacy=PRIVATE, reproducible_noise=True)
        one = update_of(setup, enrolment)
        assert one.tobytes() == update_of(setup, enrolment).tobytes()
        for other in ({"name": "client-1"}, {"round": 1}):
            assert one.tobytes() != update_of(setup, enrolment, **other).tobytes()

    @pytest.mark.parametrize("reproducible", [True, False])
    def test_rounding_bits_are_secret_unless_noise_is_reproducible(self, reproducible: bool) -> None:
        ideal = {"enabled": True, "mode": "ideal"}
        setup, enrolment = setup_of(secure_aggregation=ideal, reproducible_noise=reproducible)
        one, other = update_of(setup, enrolment), update_of(setup, enrolment)
        assert (one.tobytes() == other.tobytes()) is reproducible
        assert np.abs((one - other).astype(np.int32)).max() <= 1, "both round the same update"

    def test_only_dp_is_charged(self) -> None:
        setup, enrolment = setup_of(privacy=PRIVATE)
        member = client_of(setup, enrolment)
        assert member.releases.account().steps == 0
        member.answer(
            Message(
                client="client-0",
                body=encode(TrainRequest(run="run-7", round=0)),
                vectors=(setup.experiment.initial_params,),
            )
        )
        assert member.releases.account().steps == setup.protections["client-0"].plan.steps


class TestAgreement:
    def test_in_the_clear_there_is_none(self) -> None:
        setup, _ = setup_of()
        assert setup.secure is None
        assert all(part.secure is None for part in setup.protections.values())

    def test_all_parties_share_one(self) -> None:
        setup, _ = setup_of(secure_aggregation={"enabled": True})
        assert setup.secure is setup.secure
        assert all(part.secure is setup.secure for part in setup.protections.values())

    def test_two_processes_agree_on_its_digest(self) -> None:
        setup, enrolment = setup_of(secure_aggregation={"enabled": True})
        other = RunSetup(
            experiment=setup_of(secure_aggregation={"enabled": True})[0].experiment,
            run="run-7",
            roster=enrolment.roster,
        )
        assert setup.secure is not None
        assert other.secure is not None
        assert setup.secure.configuration_digest == other.secure.configuration_digest

    def test_workbenches_are_separate(self) -> None:
        setup, _ = setup_of()
        one, other = setup.workbench(), setup.workbench()
        assert one.model.values.data_ptr() != other.model.values.data_ptr()
        assert one.model.params().tobytes() == setup.experiment.initial_params.tobytes()
