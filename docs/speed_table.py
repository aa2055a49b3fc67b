"""Writes figures into ``speed.md``: ``python -m tests.bench.simulation --json | python docs/speed_table.py``.

Reads the lines of any number of benchmarks; a figure replaces the one of the same name.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

PAGE = Path(__file__).with_name("speed.md")
BEGIN = "<!-- figures: written by speed_table.py -->"
END = "<!-- end of figures -->"
HEAD = ("| figure | fedlearn | beside it | ratio | bar | met |", "|---|---|---|---|---|---|")


def updated(page: str, lines: Iterable[str]) -> str:
    """Returns the page with the lines' figures between its marks, beside those of other names."""
    before, _, rest = page.partition(BEGIN)
    inside, _, after = rest.partition(END)
    rows = {row.split("|")[1].strip(): row for row in inside.splitlines() if row.startswith("| ")}
    rows.pop("figure", None)
    rows.update((figure["name"], row(figure)) for figure in figures(lines))
    return "\n".join([f"{before}{BEGIN}\n", *HEAD, *rows.values(), f"\n{END}{after}"])


def figures(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Yields the figures among the lines; whatever else a benchmark prints is passed over."""
    for line in lines:
        if line.startswith("{"):
            yield json.loads(line)


def row(figure: Mapping[str, Any]) -> str:
    """Returns one row of the table."""
    spread = figure.get("spread")
    unit = "" if figure["unit"] == "1" else " " + str(figure["unit"]).replace("_", " ")
    ours = f"{figure['ours']}{unit}" + (f" ({spread[0]}–{spread[1]})" if spread else "")
    met = {True: "yes", False: "no", None: "–"}[figure.get("holds")]
    cells = (figure["name"], ours, figure.get("reference"), figure.get("ratio"), figure.get("bar"), met)
    return "| " + " | ".join("–" if cell is None else str(cell) for cell in cells) + " |"


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text(encoding="utf-8"), sys.stdin), encoding="utf-8")
