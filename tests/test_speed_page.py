"""The figures of the page about speed come from the benchmarks, and stay until they are measured anew."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).parents[1] / "docs" / "speed_table.py"


def script() -> Any:
    spec = importlib.util.spec_from_file_location("speed_table", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def figure(name: str, **fields: Any) -> str:
    given: dict[str, Any] = {"name": name, "ours": 1.5, "unit": "s", "bar": "<= 2", "holds": True}
    return json.dumps(given | fields)


def test_figures_are_written_and_replaced_by_name() -> None:
    table = script()
    page = f"before\n{table.BEGIN}\n{table.END}\nafter"
    once = table.updated(page, ["noise", figure("one", spread=[1, 2]), figure("two", holds=None)])
    assert "| one | 1.5 s (1–2) | – | – | <= 2 | yes |" in once
    again = table.updated(once, [figure("one", ours=3.0, holds=False)])
    assert "| one | 3.0 s | – | – | <= 2 | no |" in again
    assert "| two | 1.5 s | – | – | <= 2 | – |" in again
    assert again.startswith("before\n")
    assert again.endswith("\nafter")


def test_a_page_without_new_figures_stays_as_it_is() -> None:
    table = script()
    once = table.updated(f"{table.BEGIN}\n{table.END}", [figure("one")])
    assert table.updated(once, []) == once


def test_the_page_has_its_marks() -> None:
    table = script()
    page = table.PAGE.read_text("utf-8")
    assert page.count(table.BEGIN) == page.count(table.END) == 1
