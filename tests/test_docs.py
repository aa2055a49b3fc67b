"""The documentation says what is so: links, tables, targets and examples are checked."""

from __future__ import annotations

import ast
import doctest
import importlib.util
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import pytest

from fedlearn.config import ExperimentConfig, keys
from fedlearn.rounds import messages as rounds
from fedlearn.secagg import messages as secagg

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), ROOT / "README.md", *(ROOT / "simulations").glob("*.md")])

FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
TEST = re.compile(r"\b(tests/[\w/]+\.py)::(\w+(?:::\w+)?)")
LINK = re.compile(r"\]\(([^)\s]+)\)")
TARGET = re.compile(r"\bmake ([a-z]+(?:-[a-z]+)*)\b")


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def fences(page: Path, language: str) -> list[str]:
    return [body for kind, body in FENCE.findall(page.read_text(encoding="utf-8")) if kind == language]


def anchors(page: Path) -> set[str]:
    """Returns the anchors of a page's headings, as Python-Markdown and GitHub make them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in headings)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading.lower()).strip()) for heading in plain}


def configuration_table() -> ModuleType:
    spec = importlib.util.spec_from_file_location("configuration_table", DOCS / "configuration_table.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_relative_links_lead_somewhere(page: Path) -> None:
    broken = []
    for link in LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_targets_that_are_mentioned_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    known = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    code = "\n".join([*fences(page, "console"), *re.findall(r"`([^`\n]+)`", prose(page))])
    assert set(TARGET.findall(code)) <= known


def test_table_of_keys_is_current() -> None:
    page = (DOCS / "configuration.md").read_text(encoding="utf-8")
    assert page == configuration_table().updated(page), "run: python docs/configuration_table.py"


def test_table_has_every_key_once_with_its_meaning() -> None:
    rows = configuration_table().table().splitlines()[2:]
    assert [row.split("`")[1] for row in rows] == [key for key, _ in keys()]
    assert all(row.rstrip(" |").count(" | ") == 4 for row in rows)


def test_table_says_what_is_checked() -> None:
    rows = {row.split("`")[1]: row for row in configuration_table().table().splitlines()[2:]}
    assert "| float | `0.2` | > 0, < 1 |" in rows["data.test_fraction"]
    assert "| float | none | > 0, ≤ 1 |" in rows["training.sample_rate"]
    assert '| `"masked"`, `"ideal"` | `"masked"` |' in rows["secure_aggregation.mode"]
    assert "≥ 0, < 2^63" in rows["seed"]


@pytest.mark.parametrize("page", ["README.md", "docs/quickstart.md", "docs/extending.md"])
def test_experiments_in_the_text_are_valid(page: str) -> None:
    for text in fences(ROOT / page, "toml"):
        ExperimentConfig.from_toml_text(text)


def test_example_of_the_quickstart_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    [example] = fences(DOCS / "quickstart.md", "python")
    script = tmp_path / "example.py"
    script.write_text(example, encoding="utf-8")
    runpy.run_path(str(script))
    assert (tmp_path / "runs" / "from-python" / "result.json").exists()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_tests_that_are_named_exist(page: Path) -> None:
    named = TEST.findall(page.read_text(encoding="utf-8"))
    assert [f"{path}::{test}" for path, test in named if test not in named_in(ROOT / path)] == []


def test_every_line_of_the_threat_model_names_its_test() -> None:
    page = (DOCS / "threat-model.md").read_text(encoding="utf-8")
    _, _, section = page.partition("## Line by line, with the test that shows it")
    rows = [row for row in section.splitlines() if row.startswith("| ") and "shown by" not in row]
    assert len(rows) > 50
    assert [row for row in rows if not TEST.search(row)] == []


def named_in(path: Path) -> set[str]:
    """Returns the tests of a file as pytest names them; none if there is no such file."""
    if not path.exists():
        return set()
    body = ast.parse(path.read_text(encoding="utf-8")).body
    classes = [node for node in body if isinstance(node, ast.ClassDef)]
    inside = {f"{c.name}::{f.name}" for c in classes for f in c.body if isinstance(f, ast.FunctionDef)}
    return inside | {node.name for node in body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("unions", [(secagg.Request, secagg.Reply), (rounds.Request, rounds.Reply)])
def test_every_message_is_on_the_page_about_the_wire(unions: tuple[Any, ...]) -> None:
    page = (DOCS / "wire-format.md").read_text(encoding="utf-8")
    tags = [kind.__struct_config__.tag for union in unions for kind in get_args(union)]
    assert len(tags) >= 6
    assert [tag for tag in tags if f"| `{tag}` |" not in page] == []


def test_examples_of_secure_aggregation_hold() -> None:
    outcome = doctest.testfile(str(DOCS / "secure-aggregation.md"), module_relative=False, encoding="utf-8")
    assert outcome.attempted > 0
    assert outcome.failed == 0


def test_every_decision_is_listed() -> None:
    decisions = sorted(page.name for page in (DOCS / "decisions").glob("[0-9]*.md"))
    listed = re.findall(r"\((\d{4}-[a-z-]+\.md)\)", (DOCS / "decisions" / "index.md").read_text("utf-8"))
    assert listed == decisions


def test_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="needs the docs extra: pip install -e '.[docs]'")
    # Not --quiet: it also keeps --strict from counting warnings.
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "index.html").exists()
    assert "fonts.googleapis.com" not in (tmp_path / "index.html").read_text(encoding="utf-8")
