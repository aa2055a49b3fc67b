"""``fedlearn epsilon`` prints what the accountant says, and never an ε alone."""

from __future__ import annotations

import json

import pytest

from fedlearn.cli.main import main

SETTING = {"--noise-multiplier": "1", "--sample-rate": "0.0526316", "--steps": "190"}


def command(setting: dict[str, str], *more: str) -> list[str]:
    return ["epsilon", *(word for pair in setting.items() for word in pair), "--delta", "1e-4", *more]


def test_known_answer(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(SETTING, "--json")) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["epsilon"] == pytest.approx(4.12, abs=0.005)
    assert printed["delta"] == 1e-4
    assert (printed["unit"], printed["relation"]) == ("record", "add-remove")
    assert printed["epsilon_rdp"] > printed["epsilon"]
    assert printed["solved_for"] == "epsilon"


def test_text_says_what_epsilon_means(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(SETTING, "--unit", "client")) == 0
    text = capsys.readouterr().out
    for part in ("ε = 4.12 at δ = 0.0001 per client", "add-remove", "against", "cross-check", "95   2.9"):
        assert part in text


@pytest.mark.parametrize(
    ("left_out", "near"), [("--noise-multiplier", 1.0), ("--sample-rate", 0.0526316), ("--steps", 190)]
)
def test_the_one_left_out_is_solved_for(
    left_out: str, near: float, capsys: pytest.CaptureFixture[str]
) -> None:
    setting = {flag: value for flag, value in SETTING.items() if flag != left_out}
    assert main(command(setting, "--epsilon", "4.1225", "--json")) == 0
    printed = json.loads(capsys.readouterr().out)
    name = left_out.removeprefix("--").replace("-", "_")
    assert printed[name] == pytest.approx(near, rel=2e-3)
    assert printed["epsilon"] <= 4.1225
    assert printed["solved_for"] == name


def test_no_noise_is_no_guarantee(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(SETTING | {"--noise-multiplier": "0"}, "--json")) == 0
    assert json.loads(capsys.readouterr().out)["epsilon"] is None


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (command({"--steps": "5"}), 2, "1 of --noise-multiplier"),
        (command(SETTING | {"--epsilon": "3"}), 2, "give three"),
        (command(SETTING | {"--sample-rate": "1.5"}), 2, "sample_rate=1.5"),
        (command({"--sample-rate": "1", "--noise-multiplier": "0.5", "--epsilon": "1"}), 5, "allows no step"),
    ],
)
def test_errors_are_one_line_with_an_exit_code(
    arguments: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == code
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
