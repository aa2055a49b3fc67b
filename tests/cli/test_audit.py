"""``fedlearn audit`` prints what was found beside what could have been found and what is accounted."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from fedlearn.cli.main import main
from fedlearn.training.private import PrivateGradient

EXPERIMENT = """
name = "audited"
rounds = 2
[data]
dataset = "breast-cancer"
partition = { clients = 2 }
[model]
name = "mlp"
arguments = { hidden = [60] }
[training]
local_steps = 2
[privacy]
enabled = true
noise_multiplier = 2.0
delta = 1e-3
max_grad_norm = 0.1
"""


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    path = tmp_path / "audited.toml"
    path.write_text(EXPERIMENT, encoding="utf-8")
    return path


def test_it_prints_bound_reach_and_account(experiment: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", str(experiment), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["lower_bound"] <= found["accounted"] < found["greatest_reachable_bound"]
    assert found["noise_draws"] == found["event"]["steps"] == 4
    assert found["faults"] == []


def test_text_says_what_the_numbers_mean(experiment: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", str(experiment), "--rounds", "1"]) == 0
    text = capsys.readouterr().out
    for words in ("lower bound on ε", "greatest reachable bound", "at δ = 0.001 per record", "false alarm"):
        assert words in text


def test_a_refuted_account_ends_with_an_error(
    experiment: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write = PrivateGradient.write

    def weak(self: Any, inputs: Any, targets: Any, *, privacy: Any, noise: Any) -> None:
        privacy = dataclasses.replace(privacy, noise_multiplier=privacy.noise_multiplier / 3)
        write(self, inputs, targets, privacy=privacy, noise=noise)

    monkeypatch.setattr(PrivateGradient, "write", weak)
    assert main(["audit", str(experiment), "--json"]) == 5
    output = capsys.readouterr()
    assert json.loads(output.out)["faults"]
    assert "the accounted ε is not true" in output.err
