"""Flower's SecAgg+ in a process of its own, by its script: what ours is held against."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

PEERS = Path(os.environ.get("FEDLEARN_PEERS", Path(__file__).parents[4] / "shared" / "peers"))


@dataclass(frozen=True, kw_only=True)
class FlowerRun:
    """One round of Flower's SecAgg+ on a complete graph.

    Attributes:
      mask_seconds: median over clients of quantising and masking, wall clock.
      cpu_seconds: of the process, all clients and the server.
      up: bytes that a client sends, per parameter.
    """

    mask_seconds: float
    cpu_seconds: float
    up: float


def flower(clients: int, dimension: int) -> FlowerRun | None:
    """Runs the script once; None if it is absent or fails."""
    script = PEERS / "flower_secagg_bench.py"
    if not script.exists():
        return None
    options = ["--json", "--shares", str(clients), "--threshold", str(2 * clients // 3 + 1)]
    before = _children()
    done = subprocess.run(
        [sys.executable, str(script), str(clients), str(dimension), *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        return None
    result: dict[str, Any] = json.loads(lines[-1])
    return FlowerRun(
        mask_seconds=result["client_s"]["collect_masked_vectors"],
        cpu_seconds=_children() - before,
        up=result["up_B_per_param"],
    )


@cache
def overhead(clients: int, dimension: int) -> float:
    """CPU seconds of the script that are not the protocol's: imports, inputs, and the check of the result."""
    start = flower(4, 8)
    return (start.cpu_seconds if start else 0.0) + _inputs(clients, dimension)


def _inputs(clients: int, dimension: int) -> float:
    """CPU seconds in which the same inputs are drawn and summed as the script does."""
    rng, started = np.random.default_rng(0), time.process_time()
    drawn = [rng.normal(0, 0.05, dimension).astype(np.float32) for _ in range(clients)]
    sum(vector.astype(np.float64) * 500 for vector in drawn)
    return time.process_time() - started


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
