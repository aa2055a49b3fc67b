"""The federations that precede a run's first round, as pretraining, and what a checkpoint keeps of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fedlearn._types import Vector
from fedlearn.algorithms.state import State
from fedlearn.errors import RunError
from fedlearn.experiment.setup import RunSetup
from fedlearn.rounds.outcome import RoundOutcome
from fedlearn.rounds.server import RoundServer


@dataclass(kw_only=True)
class StageCourse:
    """How a stage has gone so far.

    Attributes:
      state: its algorithm's state.
      rounds: number of rounds that are over, failed ones included.
      given: number of rounds that gave an aggregate.
    """

    state: State
    rounds: int = 0
    given: int = 0

    @classmethod
    def begun(cls, stage: RunSetup) -> Self:
        """Returns the course before the stage's first round."""
        return cls(state=stage.experiment.algorithm.init(stage.experiment.initial_params))

    def is_over(self, stage: RunSetup) -> bool:
        """Returns whether no round is left."""
        return self.rounds >= stage.experiment.config.rounds

    def arrays(self, name: str) -> dict[str, NDArray[Any]]:
        """Returns the state as named arrays of a checkpoint."""
        return {f"{name}/{key}": array for key, array in self.state.to_arrays().items()}

    @classmethod
    def kept(cls, name: str, arrays: Mapping[str, NDArray[Any]], record: Mapping[str, Any]) -> Self:
        """Returns the course that a checkpoint kept."""
        own = {key.removeprefix(f"{name}/"): a for key, a in arrays.items() if key.startswith(f"{name}/")}
        return cls(state=State.from_arrays(own), rounds=int(record["rounds"]), given=int(record["given"]))


def run_stage(
    stage: RunSetup,
    course: StageCourse,
    server: RoundServer,
    *,
    constants: Vector | None,
    done: Callable[[RoundOutcome], None],
) -> None:
    """Runs the rounds of a stage that are left.

    Args:
      stage: the stage.
      course: how it has gone so far; changed.
      server: of its rounds.
      constants: what the model carries behind its parameters; None for nothing.
      done: called after each round.

    Raises:
      RunError: no round gave an aggregate.
    """
    failure: str | None = None
    while not course.is_over(stage):
        params = course.state.params
        model = params if constants is None else np.concatenate([params, constants])
        outcome = server.run_round(model, stage.cohort(course.rounds), round=course.rounds)
        if outcome.update is not None:
            course.state = stage.experiment.algorithm.step(course.state, outcome.update)
            course.given += 1
        failure = outcome.failure
        course.rounds += 1
        done(outcome)
    if not course.given:
        raise RunError(f"none of {course.rounds} rounds of {stage.run} gave a model; the last: {failure}")


def first_state(arrays: Mapping[str, NDArray[Any]]) -> State:
    """Returns the state of the run itself among the arrays of a checkpoint."""
    return State.from_arrays({key: array for key, array in arrays.items() if "/" not in key})
