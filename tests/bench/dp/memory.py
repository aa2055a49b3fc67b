"""How much memory three steps take beyond the model and its batch, each in a process of its own."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Iterator

import torch

from tests.bench.dp.models import CASES
from tests.bench.dp.steps import opacus_step, our_step, plain_step
from tests.bench.figure import Figure

BATCH = 256
WAYS = ("plain", "ours", "hooks", "ghost")


def figures() -> Iterator[Figure]:
    """Our peak and that of two modes of Opacus, against a step without privacy."""
    for name in ("mlp", "cnn", "transformer-lora"):
        grown = {way: _grown_in_process(name, way) for way in WAYS}
        for way in WAYS[1:]:
            ratio, ours = grown[way] / grown["plain"], way == "ours"
            yield Figure(
                name=f"memory of steps over non-private steps, {way}, {name}, batch {BATCH}",
                ours=grown[way],
                reference=grown["plain"],
                unit="MiB",
                ratio=ratio,
                bar="ratio <= 1.2" if ours else "none",
                holds=ratio <= 1.2 if ours else None,
            )


def _grown_in_process(name: str, way: str) -> float:
    command = [sys.executable, "-m", "tests.bench.dp.memory", name, way]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _grown(name: str, way: str) -> float:
    torch.set_num_threads(1)
    case, before = CASES[name], _peak()
    makers = {"plain": plain_step, "ours": our_step}
    step = makers[way](case, BATCH) if way in makers else opacus_step(case, BATCH, way)
    if step is not None:
        for _ in range(3):
            step()
    return _peak() - before


if __name__ == "__main__":
    print(_grown(sys.argv[1], sys.argv[2]))
