"""What the run configuration of the Flower app asks for."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from fedlearn.errors import ConfigError
from fedlearn.federation import bundle, client_app, server_app
from fedlearn.federation.server_app import read_order

ROOT = Path(__file__).parents[2]


def test_text_wins_over_a_path(tmp_path: Path) -> None:
    order = read_order(
        {
            "experiment": "no/such.toml",
            "experiment-toml": "name = 'a'",
            "run-dir": str(tmp_path),
            "resume": True,
        }
    )
    assert (order.experiment_toml, order.run_dir, order.resume) == ("name = 'a'", tmp_path, True)


def test_a_path_is_looked_up_in_the_app_then_below_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text('name = "mine"')
    assert read_order({"experiment": "mine.toml"}).experiment_toml == 'name = "mine"'
    assert "quickstart" in read_order({"experiment": "simulations/quickstart.toml"}).experiment_toml


def test_the_default_run_directory_is_named_after_the_experiment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert read_order({"experiment-toml": 'name = "mine"'}).run_dir == tmp_path / "runs" / "mine-flower"


@pytest.mark.parametrize(
    ("run_config", "message"),
    [
        ({}, "neither experiment nor experiment-toml"),
        ({"experiment": "no/such.toml"}, "no/such.toml.* is neither in the app"),
        ({"experiment-toml": "name = 'a'", "run-dir": "runs/a"}, "run-dir='runs/a' must be absolute"),
        ({"experiment-toml": "nmae = 'a'"}, "nmae"),
    ],
)
def test_what_cannot_be_meant_is_refused(run_config: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_order(run_config)


def test_the_project_and_the_bundle_take_the_same_run_configuration(tmp_path: Path) -> None:
    folder = bundle.write_bundle(tmp_path / "app", experiment_toml='name = "ε"', run_dir=tmp_path)
    ours = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["flwr"]["app"]
    theirs = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["flwr"]["app"]
    assert set(ours["config"]) == set(theirs["config"])
    assert ours["components"] == theirs["components"]
    assert theirs["config"]["experiment-toml"] == 'name = "ε"'
    assert [entry.name for entry in folder.iterdir()] == ["pyproject.toml"]


def test_the_components_are_flower_apps() -> None:
    assert type(server_app.app).__name__ == "ServerApp"
    assert type(client_app.app).__name__ == "ClientApp"
