"""The fault table's lost sites, on five real ones: model and ledger after each loss.

The sites go on through all tests of this module, in order: that each run begins with all five shows that
whoever was lost before has come back. Where in a round a site is lost is told to its agent beforehand
(:class:`tests.deployment.nursery.Stumble`), so that no test races with a round.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest

from fedlearn.cli.submit import follow
from fedlearn.errors import RunInterrupted
from fedlearn.federation.server import queue
from tests.deployment.experiments import LOCAL_STEPS, plain, private, simulated
from tests.deployment.machines import PATIENCE, Machines, model_of, until
from tests.deployment.nursery import STEPS, Stumble

pytestmark = [pytest.mark.engine, pytest.mark.deployment]

DEADLINE = PATIENCE / 10
"""Seconds after which a site that stands still is given up: far more than a step takes anywhere."""


def test_real_sites_give_the_model_of_the_simulation(five: Machines, tmp_path: Path) -> None:
    config = plain(3)
    run = five.submit(config)
    follow(run, config, quiet=True)
    np.testing.assert_allclose(model_of(run), simulated(config, tmp_path / "simulation"), atol=1e-5)
    assert [entry["survivors"] for entry in five.rounds(run)] == [5, 5, 5]


@pytest.mark.parametrize("step", STEPS)
def test_a_site_killed_at_any_step_is_a_dropout_and_its_ledger_never_undercounts(
    five: Machines, step: str
) -> None:
    site = f"client-{STEPS.index(step)}"
    begun, spent_before = len(five.log(site)), five.account(site).steps
    Stumble(step=step).tell(five.folder(site))
    config = private(2)
    run = five.submit(config)
    follow(run, config, quiet=True)
    first, last = five.rounds(run)
    assert (first["failure"], last["failure"]) == (None, None)
    summed = step in {"agree", "unmask"}  # its update had arrived by then
    assert first["survivors"] == (5 if summed else 4)
    assert (site in first["dropped"]) or summed
    trained = int(step not in {"advertise", "share"}) + int(site not in last["dropped"])
    assert five.account(site).steps - spent_before == trained * LOCAL_STEPS
    assert np.isfinite(model_of(run)).all()
    ended = five.await_event(site, "agent ended", after=begun)
    assert ended["code"] in {-signal.SIGKILL, signal.SIGKILL}
    five.await_event(site, "agent ready", after=begun)


def test_a_site_without_power_waits_for_flowers_window_and_rejoins_the_run(five: Machines) -> None:
    site = "client-2"
    Stumble(step="inputs", how="stopped").tell(five.folder(site))
    config = private(500)
    run = five.submit(config)
    five.await_standstill(site)
    five.kill(site)
    begun = len(five.log(site))
    five.start(site)
    ended = five.await_event(site, "supernode ended", after=begun)
    assert "holds the place of a SuperNode that ended for up to 60 s" in ended["reason"]

    def back() -> bool:
        rounds = five.rounds(run)
        return bool(rounds) and site in rounds[0]["dropped"] and site not in rounds[-1]["dropped"]

    until(back, f"the return of {site}")
    queue.ask_to_stop(run)
    with pytest.raises(RunInterrupted):
        follow(run, config, quiet=True)
    assert all(entry["failure"] is None for entry in five.rounds(run))


def test_a_site_that_stands_still_is_given_up_at_the_deadline(five: Machines) -> None:
    site = "client-3"
    Stumble(step="inputs", how="stopped").tell(five.folder(site))
    config = private(2, cohort={"deadline_seconds": DEADLINE})
    run = five.submit(config)
    pid = five.await_standstill(site)
    first = five.await_round(run, 1)
    os.kill(pid, signal.SIGCONT)
    follow(run, config, quiet=True)
    assert first["dropped"] == {site: "timeout"}
    assert (first["failure"], first["survivors"]) == (None, 4)
    five.await_event(site, "answered", run=run.name, request="SecureTrainRequest")


def test_all_five_are_there_at_the_end(five: Machines) -> None:
    config = private(2)
    run = five.submit(config)
    follow(run, config, quiet=True)
    assert [entry["survivors"] for entry in five.rounds(run)] == [5, 5]
