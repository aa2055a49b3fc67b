"""The page on extending fedlearn is true: its files are written, registered by path and run."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedlearn.aggregators import AGGREGATORS
from fedlearn.algorithms import ALGORITHMS
from fedlearn.compression import COMPRESSORS
from fedlearn.data import DATASETS, PARTITIONERS
from fedlearn.models import MODELS
from fedlearn.registry import Registry
from fedlearn.remedies import AUGMENTATIONS, INITIALISATIONS, PENALTIES, TUNINGS

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"
REMEDIES = {
    "augmentation": AUGMENTATIONS,
    "penalties": PENALTIES,
    "initial": INITIALISATIONS,
    "tuning": TUNINGS,
}
REGISTRIES = {
    registry.kind: registry
    for registry in (MODELS, DATASETS, PARTITIONERS, ALGORITHMS, AGGREGATORS, COMPRESSORS, *REMEDIES.values())
}


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.fixture(autouse=True)
def _my_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The page's files as an importable package."""
    for block in _blocks("python"):
        if named := re.match(r"# (my_parts/\w+\.py)\n", block):
            path = tmp_path / named.group(1)
            path.parent.mkdir(exist_ok=True)
            path.write_text(block, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for module in [name for name in sys.modules if name.split(".")[0] == "my_parts"]:
        del sys.modules[module]


def _selections() -> list[tuple[str, str, dict[str, Any]]]:
    """Kind, import path and arguments of every part that a TOML block of the page selects."""
    found: list[tuple[str, str, dict[str, Any]]] = []
    for text in _blocks("toml"):
        for section, keys in tomllib.loads(text).items():
            if section == "data":
                if "dataset" in keys:
                    found.append(("data set", keys["dataset"], {}))
                choice = keys["partition"]
                found.append(("partitioner", choice["kind"], choice.get("arguments", {})))
            elif section == "remedies":
                for key, choice in keys.items():
                    for part in choice if isinstance(choice, list) else [choice]:
                        found.append((REMEDIES[key].kind, part["name"], part.get("arguments", {})))
            else:
                kind = {"aggregation": "aggregator", "compression": "compressor"}.get(section, section)
                found.append((kind, keys["name"], keys.get("arguments", {})))
    return found


def test_the_files_may_be_brought_into_fedlearn_as_they_are(tmp_path: Path) -> None:
    rules = PAGE.parents[1] / "pyproject.toml"
    asked = [sys.executable, "-m", "ruff", "check", "--no-cache", "--config", str(rules), str(tmp_path)]
    found = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout


def test_every_kind_of_part_has_an_example() -> None:
    assert {kind for kind, path, _ in _selections() if path.startswith("my_parts.")} == set(REGISTRIES)


def test_the_examples_are_selected_with_arguments_that_they_take() -> None:
    given: dict[str, dict[str, Any]] = {
        "model": {"shape": (2,), "classes": 2},
        "data set": {"folder": None},
        "partitioner": {"labels": np.arange(40) % 2, "rng": np.random.default_rng(0), "clients": 4},
        "algorithm": {},
        "aggregator": {},
        "compressor": {},
        **{registry.kind: {} for registry in REMEDIES.values()},
    }
    for kind, path, arguments in _selections():
        registry: Registry = REGISTRIES[kind]
        extra = {"owners": np.array(["a", "b", "c", "d"] * 10)} if path == "by-owner" else {}
        assert registry.build(path, arguments, **given[kind], **extra) is not None


def test_the_session_of_the_page_runs() -> None:
    sessions = [block for block in _blocks("python") if not block.startswith("# my_parts/")]
    assert len(sessions) == 1
    exec(compile(sessions[0], str(PAGE), "exec"), {})  # noqa: S102  our own page


def test_the_files_that_the_page_names_exist() -> None:
    root = PAGE.parents[1]
    text = PAGE.read_text(encoding="utf-8")
    for name in re.findall(r"`(fedlearn/[\w/]+\.py)`", text):
        assert (root / name).is_file(), name
    for name in re.findall(r"`(test_every_\w+\.py)`", text):
        assert (root / "tests" / "contracts" / name).is_file(), name
