"""``fedlearn epsilon`` prints what the accountant says, and never an ε alone."""

from __future__ import annotations

import json
from pathlib import Path

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


CLIENTS = ["epsilon", "--unit", "client", "--clients", "1000", "--delta", "5e-4"]
POISSON = [*CLIENTS, "--cohort", "100", "--sampling", "poisson"]


class TestClients:
    def test_poisson_cohorts_amplify_for_outsiders(self, capsys: pytest.CaptureFixture[str]) -> None:
        """The measured 20.63 of a thousand rounds at δ = n^−1.1."""
        delta = str(1000**-1.1)
        assert main([*POISSON, "--delta", delta, "--rounds", "1000", "--noise-multiplier", "1"]) == 0
        text = capsys.readouterr().out
        assert "ε = 20.6" in text
        assert "sees no cohort, neither the server nor any client" in text
        assert text.count("█") > 60, "a curve"

    def test_fixed_cohorts_do_not(self, capsys: pytest.CaptureFixture[str]) -> None:
        fixed = [*CLIENTS, "--cohort", "100", "--rounds", "10", "--noise-multiplier", "4", "--json"]
        assert main(fixed) == 0
        printed = json.loads(capsys.readouterr().out)
        assert (printed["sample_rate"], printed["unit"]) == (1.0, "client")

    def test_rounds_and_noise_are_solved_for(self, capsys: pytest.CaptureFixture[str]) -> None:
        for given, solved in (
            (["--noise-multiplier", "1"], "steps"),
            (["--rounds", "50"], "noise_multiplier"),
        ):
            assert main([*POISSON, *given, "--epsilon", "3", "--json"]) == 0
            printed = json.loads(capsys.readouterr().out)
            assert printed["solved_for"] == solved
            assert printed["epsilon"] <= 3

    @pytest.mark.parametrize(
        ("more", "code", "message"),
        [
            (["--cohort", "2000"], 2, "--cohort 2000 must lie in [1, 1000]"),
            (["--delta", "0.001"], 5, "it must be below 0.001"),
            (["--sample-rate", "0.1"], 2, "go together with --unit client"),
            (["--unit", "record"], 2, "go together with --unit client"),
        ],
    )
    def test_what_does_not_go_together(
        self, more: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main([*CLIENTS, "--rounds", "10", "--noise-multiplier", "4", *more]) == code
        assert message in capsys.readouterr().err


def test_the_curve_is_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(SETTING, "--plot", str(tmp_path / "curve.svg"))) == 0
    assert (tmp_path / "curve.svg").read_text().lstrip().startswith("<?xml")
    assert main(command(SETTING, "--plot", str(tmp_path / "curve.nonsense"))) == 2
    assert "cannot be written" in capsys.readouterr().err
