"""Prints the figures of the chosen groups as they are measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch

from tests.bench import dp
from tests.bench.dp import costs, memory, steps
from tests.bench.dp.models import CASES
from tests.bench.figure import Figure, show_groups

GROUPS: dict[str, Callable[[], Iterator[Figure]]] = {
    "noise": costs.noise,
    "accounting": costs.accounting,
    "memory": memory.figures,
    **{f"step-{name}": partial(steps.figures, name) for name in CASES},
}


if __name__ == "__main__":
    torch.set_num_threads(1)
    show_groups(dp.__doc__, GROUPS)
