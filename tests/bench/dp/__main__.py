"""Prints the figures of the chosen groups as they are measured."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Iterator
from functools import partial

import torch

from tests.bench.dp import costs, memory, steps
from tests.bench.dp.models import CASES
from tests.bench.secagg.__main__ import rounded
from tests.bench.secagg.figure import Figure

GROUPS: dict[str, Callable[[], Iterator[Figure]]] = {
    "noise": costs.noise,
    "accounting": costs.accounting,
    "memory": memory.figures,
    **{f"step-{name}": partial(steps.figures, name) for name in CASES},
}


def main() -> None:
    parser = argparse.ArgumentParser(description="What differential privacy costs.")
    parser.add_argument("--json", action="store_true", help="one JSON line per figure")
    parser.add_argument(
        "--only", default="", metavar="PATTERN", help=f"beginning of the groups to run: {', '.join(GROUPS)}"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    chosen = [group for name, group in GROUPS.items() if re.match(arguments.only, name)]
    for figure in (figure for group in chosen for figure in group()):
        fields = rounded(figure)
        if arguments.json:
            print(json.dumps(fields), flush=True)
        else:
            met = {True: "ok", False: "NO", None: "–"}[figure.holds]
            print(
                f"{met:>2}  {figure.name}: {fields['ours']} {figure.unit}, ratio {fields['ratio']}",
                flush=True,
            )


if __name__ == "__main__":
    main()
