"""The attacks of a question, on every row of it; each is made once and kept."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from fedlearn.experiment import Experiment
from fedlearn.rounds.checkpoint import write_atomically
from fedlearn.runs.attack_report import AttackReport
from fedlearn.simulation.attack import attack
from fedlearn.simulation.engine import one_thread
from fedlearn.simulation.scenarios.answer import AttackScores
from fedlearn.simulation.scenarios.question import PLAIN, AttackOn, Question


class _Kept(BaseModel):
    """An attack that was made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    report: AttackReport
    cpu_seconds: float


@dataclass(frozen=True, kw_only=True)
class Attacked:
    """What all attacks got.

    Attributes:
      scores: (condition, remedy) → label of the attack → scores.
      cpu_seconds: that they took when they were made.
    """

    scores: dict[tuple[str, str], dict[str, AttackScores]] = field(repr=False)
    cpu_seconds: float


def attacked(question: Question, *, out: Path, data: Path | None, observe: Callable[[str], None]) -> Attacked:
    """Makes the attacks that are missing and returns what all of them got.

    Args:
      question: its grid says which.
      out: the folder that keeps their reports.
      data: a folder with the data sets' files.
      observe: is told a line per attack.

    Raises:
      ConfigError: an attack that does not fit the experiment.
    """
    scores: dict[tuple[str, str], dict[str, AttackScores]] = {}
    seconds = 0.0
    for condition, remedy, label, wanted in _wanted(question):
        experiment = question.experiment_of(condition, remedy, data=data, settings=wanted.settings)
        kept = [_made(experiment, wanted, seed, out) for seed in range(wanted.repeats)]
        seconds += sum(entry.cpu_seconds for entry in kept)
        found = scores_of([entry.report for entry in kept])
        scores.setdefault((condition, remedy), {})[label] = found
        observe(f"{question.name}: {label} on {remedy or 'nothing'}: {found.values}")
    return Attacked(scores=scores, cpu_seconds=seconds)


def scores_of(reports: list[AttackReport]) -> AttackScores:
    """Returns what one attack got, from the reports of its attackers."""
    first = reports[0]
    return AttackScores(
        score=first.score,
        values=[report.value for report in reports],
        null=first.null,
        success=first.success,
        details=first.details,
    )


def _wanted(question: Question) -> Iterator[tuple[str, str, str, AttackOn]]:
    for condition in question.grid.conditions:
        for remedy in (PLAIN, *question.grid.remedies):
            for label, wanted in question.grid.attacks.items():
                yield condition, remedy, label, wanted


def _made(experiment: Experiment, wanted: AttackOn, seed: int, out: Path) -> _Kept:
    """Returns the attack as it was made, or makes it now."""
    asked = json.dumps([experiment.to_toml(), wanted.attack, wanted.arguments, seed], sort_keys=True)
    path = out / f"{hashlib.sha256(asked.encode()).hexdigest()[:16]}.json"
    try:
        return _Kept.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        pass
    started = time.process_time()
    with one_thread():
        report = attack(experiment, wanted.attack, arguments=wanted.arguments, seed=seed)
    kept = _Kept(report=report, cpu_seconds=round(time.process_time() - started, 2))
    write_atomically(path, kept.model_dump_json(indent=1).encode())
    return kept
