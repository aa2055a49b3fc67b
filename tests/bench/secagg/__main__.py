"""Prints the figures of the chosen groups as they are measured."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

from tests.bench.secagg import against_flower, client, server
from tests.bench.secagg.figure import Figure

GROUPS: dict[str, Callable[[], Iterator[Figure]]] = {
    "aes": client.aes,
    "mask": client.masking,
    "quantise": client.quantise,
    "memory-client": client.memory,
    "memory-server": server.memory,
    "unmask-100": server.unmask_100,
    "unmask-1000": server.unmask_1000,
    "unmask-10M": server.unmask_ten_million,
    "unmask-300-lost": server.unmask_1000_of_which_300_lost,
    "flower-step": against_flower.step_and_upload,
    "flower-session": against_flower.protocol,
}


def rounded(figure: Figure) -> dict[str, Any]:
    """The figure's fields, to four digits that count."""
    return {name: _digits(value) for name, value in asdict(figure).items()}


def _digits(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    return [_digits(item) for item in value] if isinstance(value, tuple) else value


def main() -> None:
    parser = argparse.ArgumentParser(description="What secure aggregation costs.")
    parser.add_argument("--json", action="store_true", help="one JSON line per figure")
    parser.add_argument(
        "--only", default="", metavar="PATTERN", help=f"beginning of the groups to run: {', '.join(GROUPS)}"
    )
    arguments = parser.parse_args()
    chosen = [group for name, group in GROUPS.items() if re.match(arguments.only, name)]
    for figure in (figure for group in chosen for figure in group()):
        fields = rounded(figure)
        if arguments.json:
            print(json.dumps(fields), flush=True)
        else:
            met = {True: "ok", False: "NO", None: "–"}[figure.holds]
            spread = "" if figure.spread is None else f" ({fields['spread'][0]} – {fields['spread'][1]})"
            print(
                f"{met:>2}  {figure.name}: {fields['ours']} {figure.unit}{spread};"
                f" reference {fields['reference']}, ratio {fields['ratio']}; bar: {figure.bar}",
                flush=True,
            )


if __name__ == "__main__":
    main()
