"""What the README shows is what happens."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from fedlearn.cli.main import COMMANDS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_example_trains_an_own_model_on_own_data_with_both_protections(tmp_path: Path) -> None:
    (code,) = blocks("python")
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True, timeout=300
    )
    accuracy, privacy = done.stdout.split(" ", 1)
    assert float(accuracy) > 0.6
    assert "epsilon" in privacy
    assert "add-remove" in privacy
    assert (tmp_path / "runs" / "mine" / "report.html").exists()


def test_every_command_is_there() -> None:
    for command in re.findall(r"fedlearn ([a-z]+)", " ".join(re.findall(r"`fedlearn [^`]*`", README))):
        assert command in COMMANDS
    for target in re.findall(r"make ([a-z-]+)", README):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)


def test_every_file_that_is_named_exists() -> None:
    links = re.findall(r"\]\(((?!https?:)[^)#]+)\)", README)
    assert links
    for name in links + re.findall(r"simulations/[a-z]+\.toml", README):
        assert (ROOT / name).exists(), name


def test_the_session_is_shown_by_line_22() -> None:
    assert README.split("```console")[0].count("\n") < 22


@pytest.mark.parametrize("name", ["quickstart", "digits", "hospitals", "hospitals-distributed"])
def test_the_built_in_experiments_parse(name: str) -> None:
    from fedlearn.experiment import Experiment

    assert Experiment.from_toml(ROOT / "simulations" / f"{name}.toml").config.name == name
