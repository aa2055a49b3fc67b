"""The run directory: one folder that holds everything about a run.

``experiment.toml`` (resolved) · ``rounds.jsonl`` · ``checkpoint/`` · ``model.safetensors`` ·
``signature.json`` · ``result.json`` · ``holdings.json`` (simulations) · ``privacy_statement.json`` and
``.md`` · ``receipts.json`` · ``report.html`` · ``own-models/`` (simulations that keep them)
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as to_safetensors

from fedlearn.errors import RunDirectoryError
from fedlearn.experiment import Experiment
from fedlearn.rounds.checkpoint import Checkpoint, write_atomically
from fedlearn.rounds.memory_folder import FolderMemory, file_name_of

_OF_A_RUN = (
    "result.json",
    "failure.json",
    "rounds.jsonl",
    "holdings.json",
    "profile.json",
    "attacks.json",
    "signature.json",
    "checkpoint/state.safetensors",
)
"""What must not outlive the run that wrote it."""

_OWN_MODELS = "own-models"


@dataclass(frozen=True)
class RunDirectory:
    """A run's folder.

    Attributes:
      path: the folder.
    """

    path: Path

    @classmethod
    def create(cls, path: Path, experiment: Experiment) -> RunDirectory:
        """Returns a new run's folder; an older finished run there is replaced, other files are not touched.

        Raises:
          RunDirectoryError: the path is a file, is not writable, or holds something that is not a run.
        """
        directory = cls(path)
        if path.exists() and not path.is_dir():
            raise RunDirectoryError(f"{path} is a file; choose another folder with --out")
        if path.is_dir() and any(path.iterdir()) and not (path / "experiment.toml").exists():
            raise RunDirectoryError(f"{path} is not empty and holds no run; choose another folder with --out")
        for name in _OF_A_RUN:
            (path / name).unlink(missing_ok=True)
        directory.memory.forget()
        shutil.rmtree(path / _OWN_MODELS, ignore_errors=True)
        directory.write("experiment.toml", experiment.to_toml())
        return directory

    @classmethod
    def reopen(cls, path: Path, experiment: Experiment) -> tuple[RunDirectory, Checkpoint]:
        """Returns an interrupted run's folder and its checkpoint.

        Raises:
          RunDirectoryError: no checkpoint, or it belongs to another experiment.
        """
        directory = cls(path)
        checkpoint = Checkpoint.load(directory.checkpoint_path)
        if checkpoint.experiment != experiment.digest:
            raise RunDirectoryError(
                f"{path} belongs to another experiment than the one given;"
                " resume it with its own experiment.toml"
            )
        return directory, checkpoint

    @property
    def checkpoint_path(self) -> Path:
        """Where the state after the last completed round lies."""
        return self.path / "checkpoint" / "state.safetensors"

    @property
    def memory(self) -> FolderMemory:
        """What the clients of a simulation keep between rounds, beside the checkpoint that it belongs to."""
        return FolderMemory(self.path / "checkpoint" / "clients", durable=False)

    def write(self, name: str, text: str) -> None:
        """Writes a text file whole or not at all; raises RunDirectoryError if it cannot."""
        write_atomically(self.path / name, text.encode())

    def write_rounds(self, rounds: list[dict[str, Any]]) -> None:
        """Writes ``rounds.jsonl``: one line per round."""
        self.write("rounds.jsonl", "".join(json.dumps(entry) + "\n" for entry in rounds))

    def model_path(self, client: str | None = None) -> Path:
        """Returns where the federated model lies, or a client's own one."""
        if client is None:
            return self.path / "model.safetensors"
        return self.path / _OWN_MODELS / f"{file_name_of(client)}.safetensors"

    def write_model(self, state: Mapping[str, torch.Tensor], client: str | None = None) -> None:
        """Writes the federated model, or a client's own one, under the model's own parameter names."""
        path = self.model_path(client)
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, to_safetensors({name: value.contiguous() for name, value in state.items()}))

    def experiment(self) -> str:
        """Returns the resolved experiment as TOML; raises RunDirectoryError if it is missing."""
        try:
            return (self.path / "experiment.toml").read_text(encoding="utf-8")
        except OSError as error:
            raise RunDirectoryError(f"{self.path} holds no run: experiment.toml: {error.strerror}") from None

    def rounds(self) -> list[dict[str, Any]]:
        """Returns the lines of ``rounds.jsonl``; raises RunDirectoryError if it is missing or broken."""
        path = self.path / "rounds.jsonl"
        try:
            return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        except (OSError, ValueError) as error:
            raise RunDirectoryError(f"{path} cannot be read: {error}") from None
