"""``profile.json``: where the time of a simulation went."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from fedlearn.runs.optional_part import optional_part
from fedlearn.stopwatch import PHASES, Phase

PROFILE_FILE = "profile.json"


class ProcessTime(BaseModel):
    """The time of one process."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    process: str = Field(description="main, or worker and its number")
    seconds: dict[Phase, float] = Field(description="phase → wall-clock seconds; together all of the process")

    @property
    def total(self) -> float:
        """Seconds of all phases."""
        return sum(self.seconds.values())


class Profile(BaseModel):
    """The time of all processes of a run, from the command to the last round's end."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    wall: float = Field(ge=0, description="wall-clock seconds of the run, without baselines and report")
    processes: list[ProcessTime]

    @classmethod
    def of(cls, wall: float, processes: Mapping[str, Iterable[float]]) -> Self:
        """Returns the profile of processes that counted their seconds in the order of ``PHASES``."""
        times = [
            ProcessTime(process=name, seconds=dict(zip(PHASES, map(float, seconds), strict=True)))
            for name, seconds in processes.items()
        ]
        return cls(wall=wall, processes=times)

    @property
    def total(self) -> ProcessTime:
        """The time of all processes together."""
        sums = {phase: sum(process.seconds.get(phase, 0.0) for process in self.processes) for phase in PHASES}
        return ProcessTime(process="all", seconds=sums)

    @property
    def phases(self) -> list[Phase]:
        """The phases that took any time."""
        return [phase for phase in PHASES if self.total.seconds[phase] > 0]

    @classmethod
    def load(cls, directory: Path) -> Profile | None:
        """Returns the profile of a run; None if it has none.

        Raises:
          RunDirectoryError: the file is there and is not one.
        """
        return optional_part(cls, directory / PROFILE_FILE)
