"""What a scenario asks, and the runs that answer it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from pydantic import Field

from fedlearn.config import Section, toml_file, validated
from fedlearn.errors import ConfigError
from fedlearn.experiment import Experiment
from fedlearn.simulation.sweep import Cell

GRIDS = "grids"
PLAIN = ""
"""The remedy of the federation without any."""

_WORDS = {"asks", "remarks", "headline", "long"}
"""What may be said otherwise without running anything again."""

_COMPARED = ["baselines={local=true,pooled=true,unprotected=false}"]
_ALONE = ["baselines={local=false,pooled=false,unprotected=false}"]


class AttackOn(Section):
    """One attack, made on the federation as each row has it."""

    attack: str = Field(description="an attack by name or module:Name")
    arguments: dict[str, int | float] = Field(default_factory=dict, description="the attack's own arguments")
    repeats: int = Field(default=1, ge=1, description="attackers, who choose by seeds of their own")
    settings: list[str] = Field(default_factory=list, description="key=value, for this attack only")


class Grid(Section):
    """The conditions and remedies that a question is asked under."""

    asks: str = Field(description="the question, in one sentence")
    metric: str = Field(default="accuracy", description="which metric of the experiment answers it")
    scored: Literal["common", "clients"] = Field(
        default="common",
        description="on the common test set, or the mean over clients of the model that each keeps,"
        " on its own held-out records",
    )
    repeats: int = Field(default=3, ge=1, description="runs of every row, at least 3 where it is reported")
    repeat_by: str = Field(
        default="seed", description="the key that counts them up from the file's own value"
    )
    long: bool = Field(default=False, description="left out unless asked for")
    remedy: str = Field(default="remedy", description="what the rows add: a remedy, a protection, a model")
    settings: list[str] = Field(default_factory=list, description="key=value, for every run")
    plain: list[str] = Field(
        default_factory=list, description="key=value that make the file the plain federation"
    )
    conditions: dict[str, list[str]] = Field(
        default={"": []}, description="label → key=value; none: the file as it is"
    )
    remedies: dict[str, list[str]] = Field(default_factory=dict, description="label → key=value")
    attacks: dict[str, AttackOn] = Field(default_factory=dict, description="label → attack on every row")
    headline: str | None = Field(
        default=None, description="the remedy shown in the overview; none: that of the greatest median"
    )
    remarks: list[str] = Field(default_factory=list, description="sentences below the table")


@dataclass(frozen=True, kw_only=True)
class Point:
    """One row of the grid, once.

    Attributes:
      condition: its label.
      remedy: its label; ``PLAIN`` for the federation without any.
      repeat: number of the run, from 0.
      cell: what is run.
    """

    condition: str
    remedy: str
    repeat: int
    cell: Cell


@dataclass(frozen=True, kw_only=True)
class Question:
    """A scenario.

    Attributes:
      name: of its two files.
      experiment: the experiment's file.
      grid: what is asked.
      source: digest of what both files have run: an answer belongs to one of these.
    """

    name: str
    experiment: Path
    grid: Grid
    source: str

    @classmethod
    def load(cls, folder: Path, name: str) -> Self:
        """Returns the scenario of this name; raises ConfigError for a file that cannot be read."""
        experiment, grid = folder / f"{name}.toml", folder / GRIDS / f"{name}.toml"
        read = validated(Grid, toml_file(grid))
        toml_file(experiment)
        asked = read.model_dump_json(exclude=_WORDS, exclude_defaults=True).encode()
        digest = hashlib.sha256(experiment.read_bytes() + b"\0" + asked).hexdigest()[:16]
        return cls(name=name, experiment=experiment, grid=read, source=digest)

    @property
    def rows(self) -> list[tuple[str, str]]:
        """(condition, remedy) of every row; without remedies the plain federation is the only one."""
        remedies = list(self.grid.remedies) or [PLAIN]
        return [(condition, remedy) for condition in self.grid.conditions for remedy in remedies]

    def points(self, data: Path | None = None) -> list[Point]:
        """Returns every run, the plain federation of each condition first.

        Args:
          data: a folder with the data sets' files, laid over every experiment.

        Raises:
          ConfigError: a mistake in any of the experiments.
        """
        return [
            self._point(condition, remedy, repeat, data)
            for condition in self.grid.conditions
            for remedy in (PLAIN, *self.grid.remedies)
            for repeat in range(self.grid.repeats)
        ]

    def experiment_of(
        self, condition: str, remedy: str, *, data: Path | None = None, settings: Sequence[str] = ()
    ) -> Experiment:
        """Returns the experiment of a row, with ``key=value`` settings laid over it last."""
        laid = [*self.grid.settings, *self.grid.conditions[condition], *self._folder(data)]
        laid += self.grid.plain if remedy == PLAIN else self.grid.remedies[remedy]
        try:
            return Experiment.from_toml(self.experiment, settings=[*laid, *settings])
        except ConfigError as error:
            raise ConfigError(
                f"{self.name}, {condition or 'as it is'}, {remedy or 'plain'}: {error}"
            ) from None

    def _point(self, condition: str, remedy: str, repeat: int, data: Path | None) -> Point:
        settings = [*(_COMPARED if remedy == PLAIN else _ALONE), self._counted(repeat)]
        experiment = self.experiment_of(condition, remedy, data=data, settings=settings)
        label = {"condition": condition, self.grid.remedy: remedy or "–"}
        cell = Cell(settings=label, seed=experiment.config.seed, experiment=experiment)
        return Point(condition=condition, remedy=remedy, repeat=repeat, cell=cell)

    def _folder(self, data: Path | None) -> list[str]:
        """Returns the setting that says where the data set's files lie, if it has any there."""
        name = toml_file(self.experiment).get("data", {}).get("dataset", "")
        found = data is not None and (data / name).is_dir()
        return [f"data.folder={json.dumps(str(data))}"] if found else []

    def _counted(self, repeat: int) -> str:
        start = Experiment.from_toml(self.experiment).config.seed if self.grid.repeat_by == "seed" else 0
        return f"{self.grid.repeat_by}={start + repeat}"


def questions(folder: Path) -> Iterator[Question]:
    """Yields every scenario of a folder, by name; raises ConfigError for a grid without its experiment."""
    for path in sorted((folder / GRIDS).glob("*.toml")):
        yield Question.load(folder, path.stem)
