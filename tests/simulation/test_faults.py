"""Simulated dropouts: a client is gone from its step on, in its round alone, whatever shares a message."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from fedlearn.config import FaultsConfig
from fedlearn.errors import RunInterrupted
from fedlearn.experiment import Experiment
from fedlearn.rounds.messages import (
    ReceiptRequest,
    Request,
    SecureRequest,
    SecureTrainRequest,
    TrainRequest,
    decode_request,
    encode,
)
from fedlearn.rounds.transport import Message
from fedlearn.runs.progress import Silent
from fedlearn.runs.result import Result
from fedlearn.secagg import messages as secagg
from fedlearn.secagg.step import Step
from fedlearn.simulation import simulate
from fedlearn.simulation.faults import Dropouts, schedule_of

Make = Callable[..., Experiment]
STEPS = [step for step in Step if step is not Step.FINISHED]
MODEL = np.zeros(3, np.float32)
ADVERTISE = secagg.encode(secagg.AdvertiseRequest(bytes(32), "run", 4))
SHARE = secagg.encode(secagg.ShareRequest(()))
INPUTS = secagg.encode(
    secagg.InputsRequest(bytes(32), secagg.Configuration(1, 1, 1, 1, 1, 1, 1, 1, bytes(32)), (), ())
)
UNMASK = secagg.encode(secagg.UnmaskRequest(()))


def message(request: Request, *vectors: np.ndarray) -> Message:
    return Message(client="a", body=encode(request), vectors=vectors)


def gone(round: int, step: Step, *, secure: bool = True) -> Dropouts:
    return Dropouts(lambda client, number: step if number == round else None, secure=secure)


TRIP_1 = message(SecureTrainRequest(run="run", round=3, payload=INPUTS, ahead=ADVERTISE), MODEL)
TRIP_3 = message(SecureRequest(run="run", round=3, payload=UNMASK, ahead=SHARE))


def test_who_stays_gets_the_message_as_it_is() -> None:
    for sent in (TRIP_1, TRIP_3, message(TrainRequest(run="run", round=3), MODEL)):
        assert gone(9, Step.ADVERTISE)(sent) is sent


def test_who_vanished_is_back_when_the_run_is_over() -> None:
    asked = message(ReceiptRequest(run="run", round=3))
    assert gone(3, Step.ADVERTISE)(asked) is asked


@pytest.mark.parametrize(("sent", "ahead"), [(TRIP_1, ADVERTISE), (TRIP_3, SHARE)])
def test_who_is_gone_in_this_round_still_gets_what_rides_ahead(sent: Message, ahead: bytes) -> None:
    reached = gone(3, Step.INPUTS)(sent)
    assert reached is not None
    assert decode_request(reached.body) == SecureRequest(run="run", round=4, payload=ahead)
    assert reached.vectors == (), "no model for who does not train"


@pytest.mark.parametrize("sent", [TRIP_1, TRIP_3])
def test_who_is_gone_in_the_next_round_still_gets_this_one(sent: Message) -> None:
    reached = gone(4, Step.ADVERTISE)(sent)
    assert reached is not None
    request, original = decode_request(reached.body), decode_request(sent.body)
    assert isinstance(request, SecureRequest)
    assert isinstance(original, SecureRequest)
    assert type(request) is type(original)
    assert (request.round, request.payload, request.ahead) == (3, original.payload, b"")
    assert reached.vectors is sent.vectors


def test_who_is_gone_in_both_gets_nothing() -> None:
    assert Dropouts(lambda client, round: Step.ADVERTISE, secure=True)(TRIP_1) is None


@pytest.mark.parametrize("step", STEPS)
def test_from_its_step_on_and_not_before(step: Step) -> None:
    asked = message(SecureRequest(run="run", round=3, payload=SHARE))
    assert (gone(3, step)(asked) is None) == (step in (Step.ADVERTISE, Step.SHARE))


@pytest.mark.parametrize("step", STEPS)
def test_ideal_mode_loses_whose_input_masked_mode_lacks(step: Step) -> None:
    asked = message(TrainRequest(run="run", round=3), MODEL)
    lacks = step in (Step.ADVERTISE, Step.SHARE, Step.INPUTS)
    assert (gone(3, step)(asked) is None) == lacks
    assert gone(3, step, secure=False)(asked) is None, "in the clear a round is one step"


def test_the_schedule_follows_rate_and_step() -> None:
    schedule = schedule_of(FaultsConfig(dropout=0.25, step="agree"), seed=1)
    drawn = [schedule(f"client-{number}", round) for number in range(40) for round in range(50)]
    assert set(drawn) == {None, Step.AGREE}
    # Binomial: 2,000 draws at 0.25 have a standard deviation of 19.4; five of them are 97.
    assert abs(sum(step is not None for step in drawn) - 500) < 97
    anywhere = schedule_of(FaultsConfig(dropout=0.25), seed=1)
    assert {anywhere(f"client-{number}", 0) for number in range(200)} == {None, *STEPS}


# Whole runs


MASKED = {"enabled": True, "mode": "masked", "colluders": 1}


def trips_of(directory: Path) -> list[int]:
    return [json.loads(line)["trips"] for line in (directory / "rounds.jsonl").read_text().splitlines()]


def model_of(directory: Path) -> bytes:
    arrays = load_file(directory / "model.safetensors")
    return b"".join(arrays[name].tobytes() for name in sorted(arrays))


def test_a_run_says_how_many_trips_its_rounds_took(experiment: Make, tmp_path: Path) -> None:
    result = simulate(experiment(secure_aggregation=MASKED), out=tmp_path / "masked")
    assert trips_of(tmp_path / "masked") == [5, 3, 3]
    assert result.secure_aggregation.trips_per_round == pytest.approx(11 / 3)
    clear = simulate(experiment(), out=tmp_path / "clear")
    assert trips_of(tmp_path / "clear") == [1, 1, 1]
    assert clear.secure_aggregation.trips_per_round is None


class StopsInRoundTwo(Silent):
    def client_done(self, round: int, done: int, cohort: int) -> None:
        if round == 1 and done == 2:
            raise KeyboardInterrupt


def test_a_resumed_run_starts_with_five_trips_and_ends_with_the_same_model(
    experiment: Make, tmp_path: Path
) -> None:
    sections = {
        "secure_aggregation": MASKED,
        "reproducible_noise": True,
        "rounds": 4,
        "faults": {"dropout": 0.08},
        "seed": 5,
    }
    simulate(experiment(**sections), out=tmp_path / "whole")
    with pytest.raises(RunInterrupted):
        simulate(experiment(**sections), out=tmp_path / "cut", progress=StopsInRoundTwo())
    simulate(experiment(**sections), out=tmp_path / "cut", resume=True)
    assert Result.load(tmp_path / "whole").secure_aggregation.dropouts > 0
    assert trips_of(tmp_path / "whole") == [5, 3, 3, 3]
    assert trips_of(tmp_path / "cut") == [5, 5, 3, 3]
    assert model_of(tmp_path / "cut") == model_of(tmp_path / "whole")


def test_with_dropouts_at_any_step_masked_and_ideal_give_the_same_model(
    experiment: Make, tmp_path: Path
) -> None:
    for mode in ("masked", "ideal"):
        simulate(
            experiment(
                rounds=6,
                reproducible_noise=True,
                faults={"dropout": 0.08},
                seed=5,
                secure_aggregation={**MASKED, "mode": mode},
            ),
            out=tmp_path / mode,
        )
    rounds = [json.loads(line) for line in (tmp_path / "masked" / "rounds.jsonl").read_text().splitlines()]
    assert sum(len(entry["dropped"]) for entry in rounds) > 0
    assert model_of(tmp_path / "masked") == model_of(tmp_path / "ideal")
