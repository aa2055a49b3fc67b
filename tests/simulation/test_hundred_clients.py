"""A hundred clients on Fashion-MNIST, ten of which vanish in each round: the masked sum is the plain one.

``pytest -m data tests/simulation/test_hundred_clients.py``
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from fedlearn._types import Vector
from fedlearn.experiment import Experiment
from fedlearn.experiment.enrolment import Enrolment
from fedlearn.experiment.setup import RunSetup
from fedlearn.experiment.weights import weights
from fedlearn.rounds.outcome import RoundOutcome
from fedlearn.rounds.transport import Lost, Message
from fedlearn.secagg.step import Step
from fedlearn.simulation.faults import Dropouts
from fedlearn.simulation.inprocess import InProcess
from fedlearn.simulation.residents import Residents

DATA = Path(os.environ.get("FEDLEARN_DATA", Path(__file__).parents[3] / "shared" / "data"))
STEPS = [step for step in Step if step is not Step.FINISHED]
ROUNDS = 2

pytestmark = [pytest.mark.slow, pytest.mark.data]


class Listening(InProcess):
    """Keeps the sum of what leaves the clients beside their messages, as Python integers."""

    total: np.ndarray | int = 0

    def exchange(
        self, requests: Iterable[Message], *, deadline: float | None = None
    ) -> Iterator[Message | Lost]:
        for answer in super().exchange(requests, deadline=deadline):
            if isinstance(answer, Message) and answer.vectors:
                self.total = self.total + answer.vectors[0].astype(object)
            yield answer


def vanishes_at(client: str, round: int) -> Step | None:
    """Ten others in each round, two at each step."""
    number = (int(client.rpartition("-")[2]) + 50 * round) % 100
    return STEPS[number // 2] if number < 10 else None


def run(mode: Literal["masked", "ideal"]) -> tuple[RunSetup, list[RoundOutcome], list[Vector]]:
    """Returns the set-up, each round's outcome, and the mean of the integer sums of what clients sent."""
    folder = DATA / "fashion-mnist"
    if not folder.exists():
        pytest.skip(f"{folder} is absent; set FEDLEARN_DATA")
    experiment = Experiment.from_dict(
        {
            "name": "hundred",
            "rounds": ROUNDS,
            "reproducible_noise": True,  # of the rounding: both modes round alike
            "data": {
                "dataset": "fashion-mnist",
                "folder": str(DATA),
                "partition": {"kind": "iid", "clients": 100},
            },
            "model": {"name": "logistic"},
            "training": {"learning_rate": 0.1, "local_steps": 1},
            "secure_aggregation": {"enabled": True, "mode": mode, "colluders": 10, "dropout": 0.1},
        }
    )
    enrolment = Enrolment.of(experiment.population.clients)
    setup = RunSetup(experiment=experiment, run="hundred-0", roster=enrolment.roster)
    transport = Listening(Residents(setup, enrolment, {}), reaching=Dropouts(vanishes_at, secure=True))
    server = setup.server(transport, strict=True)
    params, outcomes, means = experiment.initial_params, [], []
    for round in range(ROUNDS):
        transport.total = 0
        cohort = experiment.cohort(round)
        upcoming = experiment.cohort(round + 1) if round + 1 < ROUNDS else ()
        outcome = server.run_round(params, cohort, round=round, upcoming=upcoming)
        assert outcome.update is not None, outcome.failure
        outcomes.append(outcome)
        means.append(plain_mean(setup, transport.total, outcome.survivors))
        params = params + outcome.update
    return setup, outcomes, means


def plain_mean(setup: RunSetup, total: np.ndarray | int, survivors: Sequence[str]) -> Vector:
    """The mean that integers without keys, ring or protocol give."""
    assert setup.secure is not None
    assert isinstance(total, np.ndarray)
    encoding = setup.secure.encoding
    half = 2 ** (encoding.modulus_bits - 1)
    signed = (total + half) % (2 * half) - half
    known = weights(setup.experiment.config, setup.experiment.population)
    weight = math.fsum(known[name] for name in survivors)
    real = signed.astype(np.float64) * 2.0**-encoding.fractional_bits
    return np.asarray(real / weight, np.float32)


def test_the_masked_sum_of_ninety_survivors_is_the_plain_sum_exactly() -> None:
    setup, masked, _ = run("masked")
    _, ideal, plain = run("ideal")
    assert setup.secure is not None
    assert setup.secure.parameters.neighbours == 32, "a sparse graph, no complete one"
    assert [outcome.trips for outcome in masked] == [5, 3]
    for mask, clear, integers in zip(masked, ideal, plain, strict=True):
        assert mask.survivors == clear.survivors
        assert len(mask.survivors) == 94, "four of the ten vanish after their input was given"
        assert mask.update is not None
        assert clear.update is not None
        assert mask.update.tobytes() == clear.update.tobytes() == integers.tobytes()
