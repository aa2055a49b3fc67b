"""From a question to its answer: runs what is missing, attacks what is asked, keeps the figures."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from fedlearn.errors import RunError
from fedlearn.runs.result import Baseline, Result
from fedlearn.simulation.baselines import mean_of
from fedlearn.simulation.scenarios.answer import Answer, Row, rounded
from fedlearn.simulation.scenarios.attacked import Attacked, attacked
from fedlearn.simulation.scenarios.question import PLAIN, Grid, Question
from fedlearn.simulation.sweep import Outcome, sweep

Observe = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Runs:
    """The finished runs of a question.

    Attributes:
      question: theirs.
      results: (condition, remedy) → one per repeat.
    """

    question: Question
    results: dict[tuple[str, str], list[Result]] = field(repr=False)

    @property
    def cpu_seconds(self) -> float:
        """Of every run once, however many rows it stands in."""
        distinct = {result.directory: result for group in self.results.values() for result in group}
        return sum(result.timing.cpu_s or 0.0 for result in distinct.values())


def answer(
    question: Question,
    *,
    out: Path,
    data: Path | None = None,
    jobs: int = 1,
    observe: Observe = lambda line: None,
) -> Answer:
    """Returns the answer to a question; whatever was run before is not run again.

    Args:
      question: what is asked.
      out: the folder that keeps its runs.
      data: a folder with the data sets' files.
      jobs: runs at a time, each in a process.
      observe: is told a line per run and attack.

    Raises:
      RunError: a run failed; the others are kept.
      ConfigError: a mistake in an experiment or an attack, before anything runs.
    """
    runs = _runs(question, out=out, data=data, jobs=jobs, observe=observe)
    attacks = attacked(question, out=out / "attacks", data=data, observe=observe)
    return Answer(
        source=question.source,
        metric=question.grid.metric,
        remedy=question.grid.remedy,
        cpu_seconds=round(runs.cpu_seconds + attacks.cpu_seconds, 1),
        plain_attacks={name: attacks.scores[name, PLAIN] for name in question.grid.conditions}
        if question.grid.attacks
        else {},
        rows=[_row(runs, attacks, condition, remedy) for condition, remedy in question.rows],
    )


def _runs(question: Question, *, out: Path, data: Path | None, jobs: int, observe: Observe) -> Runs:
    points = question.points(data)
    cells = {point.cell.folder: point.cell for point in points}

    def told(outcome: Outcome, done: int, of: int) -> None:
        observe(f"{question.name} {done}/{of}: {outcome.error or _said(outcome.cell.settings.values())}")

    outcomes = {o.cell.folder: o for o in sweep(list(cells.values()), out=out, jobs=jobs, observe=told)}
    failed = [o for o in outcomes.values() if o.result is None]
    if failed:
        raise RunError(
            f"{question.name}: {len(failed)} of {len(outcomes)} runs failed;"
            f" {_said(failed[0].cell.settings.values())}: {failed[0].error}; the others are kept"
        )
    results: dict[tuple[str, str], list[Result]] = {}
    for point in points:
        result = outcomes[point.cell.folder].result
        if result is not None:
            results.setdefault((point.condition, point.remedy), []).append(result)
    return Runs(question=question, results=results)


def _row(runs: Runs, attacks: Attacked, condition: str, remedy: str) -> Row:
    grid = runs.question.grid
    plain, remedied = runs.results[condition, PLAIN], runs.results[condition, remedy]
    epsilons = [result.epsilon for result in remedied if result.epsilon is not None]
    return Row(
        condition=condition,
        remedy=remedy,
        local=rounded([_of(result.baselines.local, grid) for result in plain]),
        federated=rounded([_federated(result, grid) for result in plain]),
        remedied=rounded([_federated(result, grid) for result in remedied]),
        pooled=rounded([_of(result.baselines.pooled, grid) for result in plain]),
        epsilon=round(max(epsilons), 4) if epsilons else None,
        attacks=attacks.scores.get((condition, remedy), {}),
    )


def _federated(result: Result, grid: Grid) -> float | None:
    if grid.scored == "common":
        return result.final.get(grid.metric)
    personal = {} if result.personalisation is None else result.personalisation.clients
    own = [model.own for model in personal.values()] or list(result.per_client.values())
    return mean_of(own).get(grid.metric)


def _of(baseline: Baseline, grid: Grid) -> float | None:
    found = baseline.metrics if grid.scored == "common" else baseline.own
    return None if found is None else found.get(grid.metric)


def _said(labels: Iterable[str]) -> str:
    return ", ".join(label for label in labels if label)
