"""The JSON Schema that ships with the package describes ``result.json``."""

from __future__ import annotations

import json
from importlib.resources import files

from fedlearn.runs.result import result_schema


def test_the_shipped_schema_is_current() -> None:
    shipped = json.loads((files("fedlearn.runs") / "result.schema.json").read_text(encoding="utf-8"))
    assert shipped == result_schema()


def test_the_schema_names_what_a_reader_relies_on() -> None:
    required = set(result_schema()["properties"])
    assert {"engine", "rounds", "final", "baselines", "privacy", "secure_aggregation", "timing"} <= required
    assert {"peak_rss_mb", "manifest", "schema_version"} <= required
