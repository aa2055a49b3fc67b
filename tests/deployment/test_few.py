"""Federations too small to lose a site: what their operators are told, and when the next round begins."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from fedlearn.cli.submit import follow
from fedlearn.config import ExperimentConfig
from fedlearn.errors import PolicyRefusal, RunInterrupted
from fedlearn.federation.server import queue
from tests.deployment.machines import Machines, running, until
from tests.deployment.nursery import Stumble
from tests.federation.sites import EXPERIMENT, experiment

pytestmark = [pytest.mark.engine, pytest.mark.deployment]


def few(sites: int, **changes: Any) -> ExperimentConfig:
    data = {**EXPERIMENT["data"], "partition": {"kind": "iid", "clients": sites}}
    return experiment(data=data, rounds=500, privacy={"enabled": False}, **changes)


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    """Four sites, who will do a round over again; an experiment may deal to three of them."""
    config = few(4, secure_aggregation={"enabled": True, "min_survivors": 4, "redo_without_dp": True})
    policy = {"max_epsilon": 1.0, "allow_plain": True}
    server = {"minimum_sites": 3, "wait_seconds": 5.0}
    with running(
        config, tmp_path_factory.mktemp("four") / "kits", sites=4, policy=policy, server=server
    ) as machines:
        yield machines


def test_four_sites_cannot_lose_one_and_the_next_round_waits_for_it(four: Machines) -> None:
    site = "client-1"
    Stumble(step="share").tell(four.folder(site))
    run = four.submit()
    first = four.await_round(run, 1)
    until(lambda: four.rounds(run)[-1]["survivors"] == 4, f"the return of {site}")
    queue.ask_to_stop(run)
    with pytest.raises(RunInterrupted):
        follow(run, four.federation.config, quiet=True)
    assert "3 clients" in first["failure"]
    assert first["dropped"][site] == "failed"


def test_three_sites_are_told_what_secure_aggregation_needs(four: Machines) -> None:
    config = few(3, secure_aggregation={"enabled": True})
    run = four.submit(config)
    with pytest.raises(PolicyRefusal, match=r"clients=3 must be at least colluders \+ 3 = 4"):
        follow(run, config, quiet=True)
    assert not four.rounds(run)


def test_a_site_that_comes_late_joins_the_run(four: Machines) -> None:
    site = "client-3"
    four.end(site)
    config = few(4, secure_aggregation={"enabled": False})
    run = four.submit(config)
    assert four.await_round(run, 1)["survivors"] == 3
    four.start(site)
    until(lambda: four.rounds(run)[-1]["survivors"] == 4, f"the arrival of {site}")
    queue.ask_to_stop(run)
    with pytest.raises(RunInterrupted):
        follow(run, config, quiet=True)
    assert all(entry["failure"] is None for entry in four.rounds(run))
    four.await_event(site, "answered", run=run.name, request="TrainRequest")
