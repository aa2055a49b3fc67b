"""Five sites that go on through all tests of a module."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deployment.experiments import masked
from tests.deployment.machines import Machines, running


@pytest.fixture(scope="module")
def five(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    """Five sites with a budget for all runs of this module; client-0 keeps its state on a small disk."""
    policy = {"max_epsilon": 60.0, "require_privacy": False, "allow_plain": True, "redo_without_dp": False}
    folder = tmp_path_factory.mktemp("five") / "kits"
    with running(masked(6), folder, policy=policy, begun=False) as machines:
        disk = machines.folder("client-0") / "state"
        # What Flower caches and deletes beside the agent would make room again on a full disk.
        if mount(disk):
            mount(disk / "flwr")
        try:
            machines.start()
            machines.await_connected()
            yield machines
            machines.stop()
        finally:
            if disk.is_mount():
                subprocess.run(["umount", "--lazy", str(disk)], check=True)


def mount(folder: Path) -> bool:
    """Puts a folder on a disk of 16 MB; returns whether that is permitted here."""
    folder.mkdir(mode=0o700)
    command = ["mount", "-t", "tmpfs", "-o", "size=16m,mode=0700", "tmpfs", str(folder)]
    return os.geteuid() == 0 and subprocess.run(command, capture_output=True, check=False).returncode == 0
