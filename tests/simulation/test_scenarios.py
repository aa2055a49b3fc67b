"""Scenarios: all that ship parse and run, the page says what the answers say, and nothing is run twice."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fedlearn.cli.main import main
from fedlearn.config import DataConfig
from fedlearn.errors import ConfigError, RunError
from fedlearn.experiment import Experiment
from fedlearn.simulation import sweep as sweep_module
from fedlearn.simulation.attack import train
from fedlearn.simulation.scenarios.answer import Answer, AttackScores, Row
from fedlearn.simulation.scenarios.page import BEGIN, END, attack_cell, difference, headline, updated
from fedlearn.simulation.scenarios.plot import draw
from fedlearn.simulation.scenarios.question import Question, questions
from fedlearn.simulation.scenarios.run import answer

SHIPPED = Path(__file__).parents[2] / "simulations"
QUESTIONS = {question.name: question for question in questions(SHIPPED)}
TOYS = {
    "fashion-mnist": "{shape=[1,28,28],classes=10}",
    "digits": "{shape=[1,8,8],classes=10}",
    "breast-cancer": "{shape=[30],classes=2,kind='tabular'}",
    "heart-disease": "{shape=[13],classes=2,kind='tabular'}",
    "adult": "{shape=[20],classes=2,kind='tabular'}",
    "wisdm": "{shape=[43],classes=6,kind='tabular',owners=12,each=30}",
    "shakespeare": "{shape=[12],classes=65,kind='text',vocabulary=65}",
}
EXPERIMENT = """
name = "tiny"
rounds = 2
metrics = ["accuracy"]
[data]
dataset = "breast-cancer"
partition = { clients = 5 }
[model]
name = "mlp"
arguments = { hidden = [8] }
"""
GRID = """
asks = "Does it help?"
repeats = 2
[remedies]
"momentum" = ["training={momentum=0.9,learning_rate=0.5}"]
"none" = []
[attacks]
"inversion" = { attack = "update-inversion", repeats = 2 }
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "grids").mkdir()
    (tmp_path / "tiny.toml").write_text(EXPERIMENT)
    (tmp_path / "grids" / "tiny.toml").write_text(GRID)
    (tmp_path / "README.md").write_text(f"Before.\n{BEGIN}\nold\n{END}\nAfter.\n")
    return tmp_path


def row(*, federated: list[float | None], remedied: list[float | None], remedy: str = "a") -> Row:
    return Row(
        condition="", remedy=remedy, local=[None], federated=federated, remedied=remedied, pooled=[0.5]
    )


def answer_of(rows: list[Row]) -> Answer:
    return Answer(source="", metric="accuracy", remedy="remedy", cpu_seconds=0.0, rows=rows)


def standing_in_for(data: DataConfig) -> list[str]:
    """Returns settings for one round on made-up records of the same shape, dealt by the same rule."""
    assert data.dataset is not None
    settings = ["rounds=1", "data.dataset=tests.simulation.toys:toy", f"data.arguments={TOYS[data.dataset]}"]
    if data.partition.kind == "dirichlet":
        settings.append("data.partition.arguments={alpha=100.0}")
    if data.scarcity.records_per_client is not None:
        settings.append("data.scarcity.records_per_client=8")
    return settings


@pytest.mark.parametrize("name", QUESTIONS)
class TestEveryShippedScenario:
    def test_each_of_its_experiments_is_valid(self, name: str) -> None:
        points = QUESTIONS[name].points()
        assert len(points) >= 3 * len(QUESTIONS[name].rows)

    def test_each_row_runs_one_round_on_toy_records(self, name: str) -> None:
        question = QUESTIONS[name]
        for condition, remedy in question.rows:
            given = question.experiment_of(condition, remedy).config.data
            experiment = question.experiment_of(condition, remedy, settings=standing_in_for(given))
            assert np.isfinite(train(experiment).params).all()
            assert question.grid.metric in experiment.config.metrics


@pytest.mark.parametrize("name", [path.stem for path in sorted((SHIPPED / "answers").glob("*.json"))])
class TestEveryKeptAnswer:
    def test_it_belongs_to_the_files_that_asked(self, name: str) -> None:
        kept = Answer.load(SHIPPED, name)
        assert kept is not None
        assert kept.source == QUESTIONS[name].source, (
            f"its files have changed; run: fedlearn scenarios {name}"
        )
        assert [(one.condition, one.remedy) for one in kept.rows] == QUESTIONS[name].rows


def test_the_page_is_what_the_answers_say() -> None:
    page = (SHIPPED / "README.md").read_text(encoding="utf-8")
    answers = {name: (question, Answer.load(SHIPPED, name)) for name, question in QUESTIONS.items()}
    assert page == updated(page, answers), "run: fedlearn scenarios --page"


def test_every_experiment_that_ships_is_asked_about_or_says_that_it_is_not() -> None:
    page = (SHIPPED / "README.md").read_text(encoding="utf-8")
    files = {path.stem for path in SHIPPED.glob("*.toml")} - set(QUESTIONS)
    assert [name for name in sorted(files) if f"`{name}.toml`" not in page] == []


def test_an_answer_has_every_row_and_is_not_run_twice(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    question = Question.load(folder, "tiny")
    first = answer(question, out=tmp_path / "runs")

    def refused(experiment: Experiment, *, out: Path, resume: bool) -> None:
        raise AssertionError(f"{out} was run again")

    monkeypatch.setattr(sweep_module, "simulate", refused)
    assert answer(question, out=tmp_path / "runs") == first
    momentum, none = first.rows
    assert none.remedied == none.federated
    assert none.gains == [0.0, 0.0]
    assert momentum.remedied != momentum.federated
    assert None not in [*none.local, *none.pooled]
    assert len(first.plain_attacks[""]["inversion"].values) == 2
    assert first.cpu_seconds > 0


def test_the_command_writes_answers_plots_and_page(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["scenarios", "--folder", str(folder), "--out", str(folder / "runs")]
    assert main(arguments) == 0
    page = (folder / "README.md").read_text(encoding="utf-8")
    assert page.startswith(f"Before.\n{BEGIN}\n")
    assert page.endswith(f"{END}\nAfter.\n")
    assert "| Does it help? | `fedlearn scenarios tiny` |" in page
    assert "**succeeds**" in page
    plot = (folder / "plots" / "tiny.svg").read_bytes()
    assert main([*arguments, "--page"]) == 0
    assert (folder / "plots" / "tiny.svg").read_bytes() == plot
    assert (folder / "README.md").read_text(encoding="utf-8") == page
    assert main([*arguments, "tinny"]) == 2
    assert "scenario 'tinny' is not known; known: tiny" in capsys.readouterr().err


def test_a_run_that_fails_is_named_and_the_others_are_kept(folder: Path, tmp_path: Path) -> None:
    grid = folder / "grids" / "tiny.toml"
    grid.write_text(GRID.replace('"none" = []', '"too many" = ["data.partition.clients=100000"]'))
    with pytest.raises(RunError, match="too many: DataError"):
        answer(Question.load(folder, "tiny"), out=tmp_path / "runs")
    kept = json.loads((tmp_path / "runs" / "sweep.json").read_text())
    assert [entry["error"] is None for entry in kept] == [True] * 4 + [False] * 2


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("asks", "ask", "Did you mean 'asks'"),
        (
            "momentum=",
            "momentun=",
            "tiny, as it is, momentum: training.momentun is not a key",
        ),
    ],
)
def test_a_mistake_in_a_grid_is_found_before_anything_runs(
    folder: Path, old: str, new: str, message: str
) -> None:
    grid = folder / "grids" / "tiny.toml"
    grid.write_text(GRID.replace(old, new, 1))
    with pytest.raises(ConfigError, match=message):
        Question.load(folder, "tiny").points()


@pytest.mark.parametrize(
    ("remedied", "text"),
    [
        ([0.6, 0.7], "+0.150 (+0.100 – +0.200): helps"),
        ([0.4, 0.3], "-0.150 (-0.200 – -0.100): hurts"),
        ([0.4, 0.6], "+0.000 (-0.100 – +0.100): better in 1 of 2"),
        ([None, None], "–"),
    ],
)
def test_a_remedy_helps_if_it_does_in_every_run(remedied: list[float | None], text: str) -> None:
    assert difference(row(federated=[0.5, 0.5], remedied=remedied)) == text


def test_the_overview_shows_the_named_row_or_the_best() -> None:
    rows = [row(federated=[0.5], remedied=[0.6]), row(federated=[0.5], remedied=[0.9], remedy="b")]
    found = answer_of(rows)
    assert headline(found, "", None).remedy == "b"
    assert headline(found, "", "a").remedy == "a"


def test_an_attack_is_shown_with_its_spread_or_its_upper_limit() -> None:
    score = AttackScores(score="auc", values=[0.52], null=0.5, success=0.6, details={"auc_upper_95": 0.541})
    assert attack_cell(score) == "0.520 (≤ 0.541): fails"
    decibel = AttackScores(score="psnr_db", values=[40.0, 50.0, 30.04], null=11.0, success=25.0)
    assert attack_cell(decibel) == "40.0 (30.0 – 50.0): **succeeds**"


def test_a_plot_of_rows_without_figures_is_drawn(tmp_path: Path) -> None:
    empty = answer_of([row(federated=[None], remedied=[None], remedy="")])
    assert draw(empty, folder=tmp_path, name="empty").read_text().startswith("<?xml")
