"""One run from its first round to its directory, over any transport."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex

from fedlearn.experiment import Experiment
from fedlearn.experiment.setup import RunSetup
from fedlearn.privacy.account import Account
from fedlearn.rounds.checkpoint import Checkpoint
from fedlearn.rounds.transport import Transport
from fedlearn.runs.directory import RunDirectory
from fedlearn.runs.execution import Execution
from fedlearn.runs.finish import finish
from fedlearn.runs.progress import Progress
from fedlearn.runs.result import Baselines, Result
from fedlearn.runs.statement import statement_of
from fedlearn.runs.summary import Engine, absent

PENDING = "not computed: fedlearn simulate computes baselines after the run"
"""Why a run that has just ended has no baselines yet."""


@dataclass(frozen=True, kw_only=True)
class OpenRun:
    """A run whose directory is open: new, or taken up where it stopped.

    Attributes:
      experiment: what is run.
      run: the run's id, in every message.
      directory: where it is written.
      checkpoint: the state to go on from; None for a new run.
      opened: when it was opened, on the performance counter.
    """

    experiment: Experiment
    run: str
    directory: RunDirectory
    checkpoint: Checkpoint | None
    opened: float = field(default_factory=time.perf_counter)

    @property
    def accounts(self) -> dict[str, Account]:
        """What each client's records have spent before the run was taken up."""
        kept = {} if self.checkpoint is None else self.checkpoint.record["accounts"]
        return {name: Account.from_dict(entry) for name, entry in kept.items()}

    @property
    def now(self) -> float:
        """Simulated time at which the run is taken up; 0 for a new run."""
        return 0.0 if self.checkpoint is None else self.checkpoint.record.get("now") or 0.0

    @classmethod
    def at(cls, path: Path, experiment: Experiment, *, resume: bool, unique: bool = False) -> OpenRun:
        """Returns the run in a folder.

        Args:
          path: the folder.
          experiment: what is run.
          resume: go on from the checkpoint in it.
          unique: give a new run an id of its own, for ledgers that tell runs apart by it.

        Raises:
          RunDirectoryError: not writable; or, to resume, no checkpoint of this experiment.
        """
        opened = time.perf_counter()
        if not resume:
            name = f"{experiment.config.name}-{experiment.config.seed}"
            name += f"-{token_hex(4)}" if unique else ""
            directory = RunDirectory.create(path, experiment)
            return cls(experiment=experiment, run=name, directory=directory, checkpoint=None, opened=opened)
        directory, checkpoint = RunDirectory.reopen(path, experiment)
        name = str(checkpoint.record["run"])
        return cls(experiment=experiment, run=name, directory=directory, checkpoint=checkpoint, opened=opened)


def execute(
    opened: OpenRun,
    setup: RunSetup,
    transport: Transport,
    *,
    engine: Engine,
    progress: Progress,
    strict: bool,
) -> Result:
    """Runs the rounds that are left and writes everything but the baselines.

    Args:
      opened: the run and its directory.
      setup: what its parties agree on.
      transport: carries its messages.
      engine: what the transport belongs to, for the result.
      progress: watches.
      strict: raise when a client reports an error, instead of going on without it.

    Raises:
      RunInterrupted: on Ctrl-C; the checkpoint of the last completed round is kept.
      RunError: no round gave an aggregate, or a client reported an error and ``strict``.
    """
    execution = Execution(setup, transport, directory=opened.directory, progress=progress, strict=strict)
    course = execution.begin() if opened.checkpoint is None else execution.resume(opened.checkpoint)
    seconds = time.perf_counter() - opened.opened
    course = execution.run(course)
    execution.countersign(course, statement_of(setup, course).countersigned())
    none = absent(PENDING)
    return finish(
        setup,
        course,
        opened.directory,
        engine=engine,
        setup_seconds=seconds,
        baselines=Baselines(local=none, unprotected=none, pooled=none),
    )
