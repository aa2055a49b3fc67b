"""The fault table of the operations page on five real sites: model, ledger and exit code after each fault."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedlearn.cli.submit import follow
from fedlearn.config import ExperimentConfig
from fedlearn.errors import PolicyRefusal, RunError
from fedlearn.simulation import simulate
from tests.deployment.machines import Machines, model_of, running, until
from tests.federation.sites import EXPERIMENT, experiment

pytestmark = [pytest.mark.engine, pytest.mark.deployment]

STEPS = ["SecureRequest", "SecureTrainRequest"]
OPEN = {"privacy": {"enabled": False}, "secure_aggregation": {"enabled": False}}
FULL_BATCH = {"training": {"learning_rate": 0.5, "local_steps": 1}}


def many_rounds(count: int, **changes: Any) -> ExperimentConfig:
    data = {**EXPERIMENT["data"], "declared_size": 79}
    return experiment(rounds=count, data=data, cohort={"deadline_seconds": 120.0}, **changes)


@pytest.fixture(scope="module")
def five(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    """Five sites that go on through all tests of this module; a budget for all of their runs."""
    policy = {
        "max_epsilon": 60.0,
        "require_privacy": False,
        "allow_plain": True,
        "redo_without_dp": False,
    }
    folder = tmp_path_factory.mktemp("five") / "kits"
    with running(many_rounds(6), folder, policy=policy) as machines:
        yield machines


def plain(rounds: int) -> ExperimentConfig:
    return many_rounds(rounds, **OPEN, **FULL_BATCH)


def test_real_sites_give_the_model_of_the_simulation(five: Machines, tmp_path: Path) -> None:
    config = plain(3)
    run = five.submit(config)
    follow(run, config, quiet=True)
    from fedlearn.experiment import Experiment

    simulate(Experiment(config=config), out=tmp_path / "simulation")
    np.testing.assert_allclose(model_of(run), model_of(tmp_path / "simulation"), atol=1e-5)
    assert [entry["survivors"] for entry in five.rounds(run)] == [5, 5, 5]


@pytest.mark.parametrize("request_name", STEPS)
def test_a_site_killed_in_a_round_is_a_dropout_and_rejoins(five: Machines, request_name: str) -> None:
    config = many_rounds(8, privacy={"enabled": True, "noise_multiplier": 20.0, "delta": 1e-3})
    spent_before = five.account("client-2").steps
    run = five.submit(config)
    five.await_event("client-2", "answered", run=run.name, request=request_name)
    five.kill("client-2")
    five.start("client-2")
    follow(run, config, quiet=True)
    rounds = five.rounds(run)
    assert all(entry["failure"] is None for entry in rounds)
    assert any("client-2" in entry["dropped"] for entry in rounds)
    trained = sum("client-2" not in entry["dropped"] for entry in rounds)
    assert trained >= 1
    assert five.account("client-2").steps - spent_before >= trained
    if rounds[-1]["dropped"]:  # all rounds were over before Flower let the node back in
        until(lambda: five.log("client-2")[-1]["event"] != "supernode ended", "the return of client-2")


def test_a_server_killed_inside_a_run_goes_on_and_loses_no_round(five: Machines, tmp_path: Path) -> None:
    config = plain(4)
    run = five.submit(config)
    five.await_round(run, 1)
    five.kill("server")
    five.start("server")
    follow(run, config, quiet=True)
    assert five.rounds(run)[-1]["round"] == 4
    from fedlearn.experiment import Experiment

    simulate(Experiment(config=config), out=tmp_path / "uninterrupted")
    np.testing.assert_allclose(model_of(run), model_of(tmp_path / "uninterrupted"), atol=1e-5)


def test_more_than_the_policy_allows_gets_a_refusal_and_an_exit_code(five: Machines) -> None:
    before = five.account("client-0").steps
    greedy = many_rounds(2, privacy={"enabled": True, "epsilon": 500.0, "delta": 1e-3})
    run = five.submit(greedy)
    with pytest.raises(PolicyRefusal, match="max_epsilon") as refused:
        follow(run, greedy, quiet=True)
    assert refused.value.exit_code == 8
    assert five.account("client-0").steps == before
    assert five.await_event("client-0", "refused", run=run.name)["rule"] == "max_epsilon"


def test_a_run_is_stopped_between_rounds(five: Machines) -> None:
    from fedlearn.federation.server import queue

    config = plain(50)
    run = five.submit(config)
    five.await_round(run, 1)
    queue.ask_to_stop(run)
    with pytest.raises(RunError):
        follow(run, config, quiet=True)
    assert five.state(run) == "stopped"
    assert 1 <= len(five.rounds(run)) < 50


def test_without_privacy_a_masked_round_that_was_cut_off_is_not_repeated(five: Machines) -> None:
    config = many_rounds(4, privacy={"enabled": False})
    run = five.submit(config)
    five.await_event("client-0", "answered", run=run.name, request="SecureTrainRequest")
    five.kill("server")
    five.start("server")
    done = len(five.rounds(run))
    if five.await_over(run).state == "failed":
        assert "redo_without_dp" in five.await_over(run).reason
    else:  # the round that was open ended before the server did
        assert done >= 1
