"""One experiment over a grid of settings and several seeds: resumed, cached by content, in parallel.

Each cell is a run directory of its own, named by the digest of its resolved experiment. A cell that
has a result is not run again, one that has a checkpoint goes on from it, and two sweeps
into the same folder share the cells that they have in common.
"""

from __future__ import annotations

import itertools
import json
import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedlearn.errors import ConfigError, FedLearnError, RunDirectoryError
from fedlearn.experiment import Experiment
from fedlearn.rounds.checkpoint import write_atomically
from fedlearn.runs.result import Result
from fedlearn.runs.run import PENDING
from fedlearn.simulation.simulate import simulate


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One key and the values that it takes.

    Attributes:
      key: a dotted key of the experiment.
      values: as TOML would have them, in the order given.
    """

    key: str
    values: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Axis:
        """Returns the axis written ``key=value,value,…``; commas in brackets, braces and quotes do not part.

        Raises:
          ConfigError: no key, no value, or a value given twice.

        >>> Axis.parse("model.arguments={hidden=[8,8]},{}").values
        ('{hidden=[8,8]}', '{}')
        """
        key, equals, values = text.partition("=")
        parts = tuple(_parted(values))
        if not (key.strip() and equals and all(parts)):
            raise ConfigError(f"grid {text!r} must read key=value,value,…")
        if len(set(parts)) < len(parts):
            raise ConfigError(f"grid {text!r} names a value twice")
        return cls(key=key.strip(), values=parts)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One run of a sweep.

    Attributes:
      settings: key → value, one per axis.
      seed: of the experiment.
      experiment: what is run.
    """

    settings: Mapping[str, str]
    seed: int
    experiment: Experiment

    @property
    def folder(self) -> str:
        """The name of its run directory: a function of the resolved experiment and nothing else."""
        return self.experiment.digest[:16]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a cell gave: a result, or the error that it ended with."""

    cell: Cell
    result: Result | None
    error: str | None = None


def cells(file: str | Path, axes: Sequence[Axis], *, seeds: int, settings: Sequence[str] = ()) -> list[Cell]:
    """Returns every cell of the grid, in its order; a mistake in any is an error before the first run.

    Args:
      file: the experiment in TOML.
      axes: the grid; none is a single point.
      seeds: number of seeds, counted up from the experiment's own; at least 1.
      settings: ``key=value`` for every cell.

    Raises:
      ConfigError: a key or a value that the experiment does not take, or an axis given twice.
    """
    names = [axis.key for axis in axes]
    if len(set(names)) < len(names) or "seed" in names:
        raise ConfigError(f"grid over {', '.join(names)}: each key once, and seeds by --seeds")
    if seeds < 1:
        raise ConfigError(f"seeds={seeds} must be at least 1")
    first = Experiment.from_toml(file, settings=settings).config.seed
    found = []
    for values in itertools.product(*(axis.values for axis in axes)):
        point = dict(zip(names, values, strict=True))
        laid = [*settings, *(f"{key}={value}" for key, value in point.items())]
        for seed in range(first, first + seeds):
            experiment = Experiment.from_toml(file, settings=[*laid, f"seed={seed}"])
            found.append(Cell(settings=point, seed=seed, experiment=experiment))
    return found


def sweep(
    wanted: Sequence[Cell],
    *,
    out: Path,
    jobs: int = 1,
    observe: Callable[[Outcome, int, int], None] = lambda outcome, done, of: None,
) -> list[Outcome]:
    """Runs the cells that have no result yet and returns what all of them gave, in their order.

    A cell that fails does not stop the others. ``sweep.json`` is written after each cell, so that
    finished cells are never lost.

    Args:
      wanted: the cells.
      out: the folder of the sweep.
      jobs: cells run at a time, each in a process of its own; at least 1.
      observe: called with outcome, cells done and cells in all, as they end.

    Raises:
      ConfigError: ``jobs`` is below 1.
      RunDirectoryError: the folder cannot be written.
    """
    if jobs < 1:
        raise ConfigError(f"jobs={jobs} must be at least 1")
    ended: dict[int, Outcome] = {}
    kept = dict(_kept(wanted, out))
    missing = {number: cell for number, cell in enumerate(wanted) if number not in kept}
    for number, outcome in itertools.chain(kept.items(), _outcomes(missing, out, jobs)):
        ended[number] = outcome
        write_atomically(out / "sweep.json", json.dumps(summary(ended.values()), indent=2).encode())
        observe(outcome, len(ended), len(wanted))
    return [ended[number] for number in sorted(ended)]


def summary(outcomes: Iterable[Outcome]) -> list[dict[str, Any]]:
    """Returns one entry per cell: settings, seed, folder, metrics and ε, or its error."""
    return [
        {
            "settings": dict(outcome.cell.settings),
            "seed": outcome.cell.seed,
            "directory": outcome.cell.folder,
            "final": None if outcome.result is None else outcome.result.final,
            "epsilon": None if outcome.result is None else outcome.result.epsilon,
            "error": outcome.error,
        }
        for outcome in outcomes
    ]


def _kept(wanted: Sequence[Cell], out: Path) -> Iterator[tuple[int, Outcome]]:
    """Yields what earlier sweeps into the same folder have finished."""
    for number, cell in enumerate(wanted):
        if _finished(out / cell.folder):
            yield number, _outcome(cell, out / cell.folder, None)


def _outcomes(wanted: Mapping[int, Cell], out: Path, jobs: int) -> Iterator[tuple[int, Outcome]]:
    """Runs cells and yields each one's number and outcome, as they end."""
    if jobs == 1:
        for number, cell in wanted.items():
            yield number, _outcome(cell, *_run(cell.experiment, out / cell.folder))
        return
    # Spawned, because torch's threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        waiting = {
            pool.submit(_run_text, cell.experiment.to_toml(), out / cell.folder): number
            for number, cell in wanted.items()
        }
        while waiting:
            done, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                number = waiting.pop(future)
                yield number, _outcome(wanted[number], *future.result())


def _outcome(cell: Cell, path: Path, error: str | None) -> Outcome:
    return Outcome(cell=cell, result=None if error else Result.load(path), error=error)


def _run_text(experiment: str, path: Path) -> tuple[Path, str | None]:
    return _run(Experiment.from_toml_text(experiment), path)


def _run(experiment: Experiment, path: Path) -> tuple[Path, str | None]:
    """Runs one cell, on from its checkpoint if it has one; returns its directory and its error, if any."""
    resume = (path / "checkpoint" / "state.safetensors").exists()
    try:
        simulate(experiment, out=path, resume=resume)
    except FedLearnError as error:
        if error.exit_code == 130:
            raise
        return path, f"{type(error).__name__}: {error}"
    return path, None


def _finished(path: Path) -> bool:
    """Returns whether a cell has all of its result: its baselines come last."""
    try:
        baselines = Result.load(path).baselines
    except RunDirectoryError:
        return False
    return PENDING not in {baselines.local.reason, baselines.unprotected.reason, baselines.pooled.reason}


def _parted(values: str) -> Iterator[str]:
    """Yields the parts between commas that lie in no bracket and no quotes."""
    depth, quote, part = 0, "", ""
    for letter in values:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        depth += (letter in "[{") - (letter in "]}") if not quote else 0
        if letter == "," and depth == 0 and not quote:
            yield part.strip()
            part = ""
        else:
            part += letter
    yield part.strip()
