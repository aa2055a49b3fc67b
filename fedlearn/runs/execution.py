"""All rounds of an experiment over any transport."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from fedlearn._types import Vector
from fedlearn.algorithms.state import State
from fedlearn.errors import RunError, RunInterrupted
from fedlearn.experiment.pretraining import with_learned_body
from fedlearn.experiment.setup import RunSetup
from fedlearn.experiment.stages import stage_of
from fedlearn.experiment.statistics import DECLARED, are_declared, constants_of, is_federated
from fedlearn.privacy.account import Account
from fedlearn.rounds.checkpoint import Checkpoint
from fedlearn.rounds.exchange import now_of
from fedlearn.rounds.outcome import RoundOutcome
from fedlearn.rounds.protection import Protection
from fedlearn.rounds.receipts import Receipts, Witness
from fedlearn.rounds.transport import Transport
from fedlearn.runs.assessment import metrics_of_run
from fedlearn.runs.directory import RunDirectory
from fedlearn.runs.progress import Progress, RoundReport
from fedlearn.runs.result import Metrics
from fedlearn.runs.stages import StageCourse, first_state, run_stage
from fedlearn.runs.traffic import grouped
from fedlearn.stopwatch import timed

_CARRIED = "carried/"
"""Before the names of a checkpoint's arrays that belong to the server's rounds, not to the algorithm."""


@dataclass(kw_only=True)
class Course:
    """How a run has gone so far; what a checkpoint keeps.

    Attributes:
      state: the algorithm's state: global vector and its own.
      rounds: one line per round.
      accounts: what each client's records have spent, as the server knows it: every client that was
        sent the model counts as having trained, until its receipt says what it has done.
      receipts: what the clients have signed, once the rounds are over.
      witnesses: which of them have signed the statement made of it.
      constants: center and spread of each feature, from all clients together; None without federated
        standardisation, and before it.
      clip_norm: of the next round, under client-level DP; None before the first release, and without.
      stages: how the federations that precede the first round have gone, by name.
    """

    state: State
    rounds: list[dict[str, Any]] = field(default_factory=list)
    accounts: dict[str, Account] = field(default_factory=dict)
    receipts: Receipts = field(default_factory=Receipts)
    witnesses: dict[str, Witness] = field(default_factory=dict)
    constants: Vector | None = None
    clip_norm: float | None = None
    stages: dict[str, StageCourse] = field(default_factory=dict)

    @property
    def model(self) -> Vector:
        """The global model: the parameters that travel, and the constants behind them."""
        return _joined([self.state.params, self.constants])

    def request(self, slots: Sequence[str]) -> Vector:
        """Returns what clients are sent: parameters, slots of the server's state, constants, a generator."""
        slotted = [self.state.slots[name] for name in slots]
        generator = self.stages["synthesis"].state.params if "synthesis" in self.stages else None
        return _joined([self.state.params, *slotted, self.constants, generator])

    @property
    def completed(self) -> int:
        """Number of rounds that are over, failed ones included."""
        return len(self.rounds)

    @property
    def failed(self) -> int:
        """Number of rounds that gave no aggregate."""
        return sum(entry["failure"] is not None for entry in self.rounds)

    def epsilon(self, delta: float) -> float | None:
        """Returns the greatest ε that any client's records have spent; None without DP."""
        if not self.accounts:
            return None
        return max(account.epsilon(delta=delta) for account in self.accounts.values())


class Execution:
    """Runs an experiment's rounds, evaluates, checkpoints after each and reports.

    Args:
      setup: the run.
      transport: carries its messages.
      directory: where it is written; None keeps nothing.
      progress: watches.
      strict: raise when a client reports an error.
    """

    def __init__(
        self,
        setup: RunSetup,
        transport: Transport,
        *,
        directory: RunDirectory | None,
        progress: Progress,
        strict: bool,
    ) -> None:
        self._setup = setup
        self._experiment = setup.experiment
        self._directory = directory
        self._progress = progress
        self._model = setup.experiment.build_model()
        self._server = setup.rounds(transport, strict=strict, observe=progress.client_done)
        self._transport = transport
        self._strict = strict

    def begin(self) -> Course:
        """Returns the course before the first release."""
        return Course(
            state=self._experiment.algorithm.init(self._initial_params()),
            accounts={name: Account() for name in self._accountable()},
        )

    def _initial_params(self) -> Vector:
        return self._experiment.split.shared_of(self._experiment.initial_params)

    def _accountable(self) -> list[str]:
        """Returns the clients that have an account from the start; of virtual ones each opens its own."""
        if self._experiment.population.virtual:
            return []
        stages = [item for stage in self._setup.stages for item in stage.protections.items()]
        parts = (*self._setup.protections.items(), *self._setup.statistics_protections.items(), *stages)
        return sorted({name for name, part in parts if part.event() is not None})

    def resume(self, checkpoint: Checkpoint) -> Course:
        """Returns the course that a checkpoint kept."""
        record, arrays = checkpoint.record, checkpoint.arrays
        constants = record.get("constants")
        carried = {name: array for name, array in arrays.items() if name.startswith(_CARRIED)}
        self._server.restore(
            {name.removeprefix(_CARRIED): array for name, array in carried.items()}, record.get("carried", {})
        )
        return Course(
            state=first_state(arrays),
            rounds=list(record["rounds"]),
            accounts={name: Account.from_dict(entry) for name, entry in record["accounts"].items()},
            constants=None if constants is None else np.array(constants, dtype=np.float32),
            clip_norm=record.get("clip_norm"),
            stages={
                name: StageCourse.kept(name, checkpoint.arrays, entry)
                for name, entry in record.get("stages", {}).items()
            },
        )

    def run(self, course: Course) -> Course:
        """Runs the rounds that are left.

        Raises:
          RunInterrupted: on Ctrl-C; the checkpoint of the last completed round is kept.
          RunError: no round gave an aggregate, or no statistics were released before the first.
        """
        config = self._experiment.config
        self._progress.begin(config.name, config.rounds)
        try:
            self._standardise(course)
            self._run_stages(course)
            while course.completed < config.rounds:
                self._round(course)
        except KeyboardInterrupt:
            raise self._interrupted(course) from None
        finally:
            self._progress.end()
        self._collect_receipts(course)
        if course.failed == config.rounds:
            raise RunError(
                f"none of {config.rounds} rounds gave a model; the last: {course.rounds[-1]['failure']}"
            )
        return course

    def _standardise(self, course: Course) -> None:
        """Releases the statistics that all clients standardise by, once in a run."""
        release = self._setup.statistics
        if release is None or course.constants is not None:
            return
        server = self._setup.statistics_server(self._transport, strict=self._strict)
        outcome = server.run_round(release.request, sorted(self._experiment.population.clients), round=0)
        self._charge(course, outcome, self._setup.statistics_protections)
        if outcome.update is not None:
            course.constants = constants_of(outcome.update)
        self._save(course)
        if outcome.update is None:
            raise RunError(
                f"the statistics of data.standardise='federated' were not released: {outcome.failure};"
                " nothing was trained"
            )

    def _run_stages(self, course: Course) -> None:
        """Runs what is left of the federations before the first round; each starts what follows it."""
        for stage in self._setup.stages:
            name = stage_of(stage.run)
            own = course.stages.setdefault(name, StageCourse.begun(stage))

            def done(
                outcome: RoundOutcome, name: str = name, stage: RunSetup = stage, own: StageCourse = own
            ) -> None:
                self._charge(course, outcome, stage.protections)
                if name == "pretraining" and own.is_over(stage) and own.given:
                    params = with_learned_body(self._experiment, stage.experiment, own.state.params)
                    course.state = self._experiment.algorithm.init(self._experiment.split.shared_of(params))
                self._save(course)

            server = stage.server(self._transport, strict=self._strict)
            constants = course.constants if is_federated(stage.experiment.config) else None
            run_stage(stage, own, server, constants=constants, done=done)

    def _round(self, course: Course) -> None:
        started = time.perf_counter()
        round = course.completed
        outcome = self._server.run_round(
            course.request(self._experiment.local_rule.received),
            self._setup.cohort(round),
            round=round,
            upcoming=self._upcoming(round),
            clip_norm=course.clip_norm,
        )
        self._charge(course, outcome, self._setup.protections)
        if outcome.update is not None:
            course.state = self._experiment.algorithm.step(course.state, outcome.update)
            course.clip_norm = outcome.clip_norm
        report = self._report(course, outcome, seconds=time.perf_counter() - started)
        course.rounds.append(asdict(report))
        self._save(course)
        self._progress.round_done(report)

    def _upcoming(self, round: int) -> tuple[str, ...]:
        """Returns the cohort of the round after; empty after the last."""
        last = round + 1 == self._experiment.config.rounds
        return () if last else self._setup.cohort(round + 1)

    def _collect_receipts(self, course: Course) -> None:
        """Replaces what the server reckons by what the clients have signed."""
        if course.accounts and self._setup.roster.members:
            course.receipts = self._server.receipts(
                sorted(course.accounts), round=course.completed, roster=self._setup.roster
            )
        for name, receipt in course.receipts.opened.items():
            course.accounts[name] = receipt.account

    def countersign(self, course: Course, statement: bytes) -> None:
        """Has the clients check and sign the statement of a run that is over."""
        if course.receipts.signed:
            course.witnesses = self._server.witness(
                course.receipts, round=course.completed, statement=statement
            )

    def _charge(self, course: Course, outcome: RoundOutcome, protections: Mapping[str, Protection]) -> None:
        for client in outcome.asked_to_train:
            event = protections[client].event()
            if event is not None:
                course.accounts.setdefault(client, Account()).charge(event)

    def _report(self, course: Course, outcome: RoundOutcome, *, seconds: float) -> RoundReport:
        return RoundReport(
            round=outcome.round + 1,
            rounds=self._experiment.config.rounds,
            metrics=self.evaluate(course, completed=outcome.round + 1),
            survivors=len(outcome.survivors),
            dropped=dict(outcome.dropped),
            failure=outcome.failure,
            clip_norm=course.clip_norm,
            epsilon=course.epsilon(self._experiment.config.privacy.delta),
            declared=DECLARED if are_declared(self._experiment.config) else "",
            trips=outcome.trips,
            bytes_up=outcome.bytes_up,
            bytes_down=outcome.bytes_down,
            traffic=grouped(outcome.traffic),
            seconds=seconds,
            simulated_seconds=outcome.simulated_seconds,
        )

    @timed("evaluation")
    def evaluate(self, course: Course, *, completed: int) -> Metrics:
        """Returns the metrics of the model after so many rounds.

        Empty if there are no held-out records, or if ``evaluate_every`` leaves this round out.
        """
        config = self._experiment.config
        if completed % config.evaluate_every and completed < config.rounds:
            return {}
        return metrics_of_run(self._setup, self._model, course.model, completed=completed)

    def _save(self, course: Course) -> None:
        if self._directory is None:
            return
        self._directory.write_rounds(course.rounds)
        carried = self._server.carried()
        Checkpoint(
            rounds=course.completed,
            experiment=self._experiment.digest,
            arrays={
                **course.state.to_arrays(),
                **{f"{_CARRIED}{name}": array for name, array in carried.arrays.items()},
                **{
                    key: array
                    for name, own in course.stages.items()
                    for key, array in own.arrays(name).items()
                },
            },
            record={
                "run": self._setup.run,
                "rounds": course.rounds,
                "accounts": {name: account.to_dict() for name, account in course.accounts.items()},
                "constants": None if course.constants is None else course.constants.tolist(),
                "clip_norm": course.clip_norm,
                "stages": {
                    name: {"rounds": own.rounds, "given": own.given} for name, own in course.stages.items()
                },
                "now": now_of(self._transport),
                "carried": dict(carried.record),
            },
        ).save(self._directory.checkpoint_path)

    def _interrupted(self, course: Course) -> RunInterrupted:
        kept = f"{course.completed} of {self._experiment.config.rounds} rounds are kept"
        if self._directory is None:
            return RunInterrupted("interrupted; nothing was kept, because the run had no directory")
        return RunInterrupted(f"interrupted; {kept}; go on with --resume {self._directory.path}")


def _joined(vectors: Sequence[Vector | None]) -> Vector:
    """Returns the vectors one after the other, without those that are not there."""
    present = [vector for vector in vectors if vector is not None]
    return present[0] if len(present) == 1 else np.concatenate(present)
