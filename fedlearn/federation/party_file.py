"""The TOML file in which a site or the server says what is its own."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field

from fedlearn.config import Section, toml_file, validated
from fedlearn.errors import ConfigError


class PartyFile(Section):
    """A party's file. Paths in it are relative to its folder, which is where it lies and no key of it."""

    folder: Path = Field(default=Path("."), exclude=True)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Returns what the file says; raises ConfigError with one line per mistake."""
        values = toml_file(path)
        if "folder" in values:
            raise ConfigError(f"folder is not a key of {path.name}: paths are relative to its own folder")
        return validated(cls, {**values, "folder": path.absolute().parent})

    def path(self, name: str) -> Path:
        """Returns a path of the file as an absolute one."""
        return self.folder / Path(name).expanduser()
