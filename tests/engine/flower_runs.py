"""What runs on Flower are tried with, and what they are held to: the model, and that nothing is left."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from fedlearn.runs.progress import RoundReport, Silent

PLAIN = """
name = "plain"
rounds = 3
seed = 7
[data]
dataset = "breast-cancer"
partition = { kind = "quantity-skew", clients = 5 }
[model]
name = "logistic"
[training]
learning_rate = 0.5
local_steps = 2
"""
MASKED = PLAIN.replace("plain", "masked") + '[secure_aggregation]\nenabled = true\nmode = "masked"\n'

MARK = "FEDLEARN_TESTS"
"""A variable of the environment that tells processes of these tests from those of others."""

os.environ.setdefault(MARK, secrets.token_hex(8))

# Float32 sums in order of arrival: a few units in the last place of parameters of order one.
ABSOLUTE = 1e-5


class Rounds(Silent):
    def __init__(self) -> None:
        self.reports: list[RoundReport] = []

    def round_done(self, report: RoundReport) -> None:
        self.reports.append(report)


def left_running() -> list[str]:
    """Returns the command lines of Flower's, Ray's and our own processes that these tests have started."""
    return sorted(filter(_is_of_a_run, map(_command, _started())))


def _started() -> Iterator[Path]:
    """Yields the processes that inherited the mark of these tests."""
    mark = f"{MARK}={os.environ[MARK]}".encode()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            with suppress(OSError):
                if mark in (folder / "environ").read_bytes().split(b"\0"):
                    yield folder


def _command(folder: Path) -> str:
    with suppress(OSError):
        return (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


def _is_of_a_run(command: str) -> bool:
    words = ("flower-super", "flwr", "raylet", "gcs_server", "ray::", "federation.host")
    return any(word in command for word in words)


def assert_same_model(one: Path, other: Path) -> None:
    left, right = load_file(one / "model.safetensors"), load_file(other / "model.safetensors")
    assert left.keys() == right.keys()
    for name, values in left.items():
        np.testing.assert_allclose(values, right[name], rtol=0, atol=ABSOLUTE)
