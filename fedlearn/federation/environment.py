"""The environment in which Flower and Ray stay offline, quiet, and out of the home directory."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import fedlearn

QUIET: Mapping[str, str] = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "OMP_NUM_THREADS": "1",
    "PYTHONUNBUFFERED": "1",
}
"""No telemetry, no look for updates, no virtual environment built per run, no usage statistics."""

ONE_THREAD: Mapping[str, str] = dict.fromkeys(
    ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"
)
"""For processes of which there is one per core."""


def flower_environment(scratch: Path) -> dict[str, str]:
    """Returns the environment for ``flwr run`` with a SuperLink of its own.

    Flower keeps its state, Ray its sessions and the hosts their sockets in ``scratch``. Flower finds
    its own programs by PATH, so this interpreter's come first.

    Args:
      scratch: a short absolute path: Ray puts Unix sockets below it, which may have 107 characters.
    """
    api, control = free_ports(2)
    return {
        **os.environ,
        **QUIET,
        "FLWR_HOME": str(scratch / "flwr"),
        "FLWR_LOCAL_SUPERLINK_HTTP_API_PORT": str(api),
        "FLWR_LOCAL_CONTROL_API_PORT": str(control),
        "RAY_TMPDIR": str(scratch / "ray"),
        "TMPDIR": str(scratch),
        "PATH": program_path(),
        "PYTHONPATH": python_path(),
    }


def party_environment(home: Path) -> dict[str, str]:
    """Returns the environment of a deployed SuperLink or SuperNode: offline, quiet, its state in ``home``.

    What the operator's shell says to Flower is left out; its programs are this interpreter's.
    """
    kept = {key: value for key, value in os.environ.items() if not key.startswith("FLWR_")}
    return {
        **kept,
        **QUIET,
        "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.2",  # stock: 1 s
        "FLWR_HOME": str(home),
        "PATH": program_path(),
        "PYTHONPATH": python_path(),
    }


def host_environment() -> dict[str, str]:
    """Returns the environment of a resident process: one thread, because there is one per core."""
    return {**os.environ, **ONE_THREAD, "PYTHONPATH": python_path()}


def cluster_address() -> str:
    """Returns the address of the Ray cluster that Ray will join; empty if it starts one on this machine."""
    address = os.environ.get("RAY_ADDRESS", "")
    return "" if address == "local" else address


def program_path() -> str:
    """Returns a PATH on which the programs beside this interpreter come first."""
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])


def python_path() -> str:
    """Returns a PYTHONPATH on which a child finds the very fedlearn that runs here, installed or not."""
    here = str(Path(fedlearn.__file__).parent.parent)
    paths = [here, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return os.pathsep.join(dict.fromkeys(paths))


def free_ports(count: int) -> list[int]:
    """Returns distinct TCP ports of the loopback interface on which nobody listens at this moment."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
