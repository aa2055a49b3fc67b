"""The fault table of the operations page on five real sites: model, ledger and exit code after each fault.

The sites go on through all tests of this module, in order: that each run begins with all five shows that
whoever was lost before has come back. Where in a round something goes wrong is told to the site's agent
beforehand (:class:`tests.deployment.nursery.Stumble`), so that no test races with a round.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedlearn.cli.submit import follow
from fedlearn.config import ExperimentConfig
from fedlearn.errors import PolicyRefusal, RunError, RunInterrupted, TamperedLedger
from fedlearn.experiment import Experiment
from fedlearn.federation.server import queue
from fedlearn.federation.site import standing
from fedlearn.simulation import simulate
from tests.deployment.machines import PATIENCE, Machines, model_of, running, until
from tests.deployment.nursery import CLOCK, STEPS, Stumble, lock
from tests.federation.sites import EXPERIMENT, experiment

pytestmark = [pytest.mark.engine, pytest.mark.deployment]

LOCAL_STEPS = 1
DEADLINE = PATIENCE / 10
"""Seconds after which a site that stands still is given up: far more than a step takes anywhere."""


def runs(rounds: int, **changes: Any) -> ExperimentConfig:
    data = {**EXPERIMENT["data"], "declared_size": 79}
    return experiment(rounds=rounds, data=data, **{"cohort": {"deadline_seconds": PATIENCE}, **changes})


def private(rounds: int, **changes: Any) -> ExperimentConfig:
    privacy = {"enabled": True, "noise_multiplier": 20.0, "delta": 1e-3}
    return runs(rounds, privacy=privacy, **changes)


def plain(rounds: int) -> ExperimentConfig:
    return runs(
        rounds,
        privacy={"enabled": False},
        secure_aggregation={"enabled": False},
        training={"learning_rate": 0.5, "local_steps": LOCAL_STEPS},
    )


@pytest.fixture(scope="module")
def five(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    """Five sites with a budget for all runs of this module; client-0 keeps its state on a small disk."""
    policy = {"max_epsilon": 60.0, "require_privacy": False, "allow_plain": True, "redo_without_dp": False}
    folder = tmp_path_factory.mktemp("five") / "kits"
    with running(runs(6), folder, policy=policy, begun=False) as machines:
        disk = machines.folder("client-0") / "state"
        # What Flower caches and deletes beside the agent would make room again on a full disk.
        if mount(disk):
            mount(disk / "flwr")
        try:
            machines.start()
            machines.await_connected()
            yield machines
            machines.stop()
        finally:
            if disk.is_mount():
                subprocess.run(["umount", "--lazy", str(disk)], check=True)


def mount(folder: Path) -> bool:
    """Puts a folder on a disk of 16 MB; returns whether that is permitted here."""
    folder.mkdir(mode=0o700)
    command = ["mount", "-t", "tmpfs", "-o", "size=16m,mode=0700", "tmpfs", str(folder)]
    return os.geteuid() == 0 and subprocess.run(command, capture_output=True, check=False).returncode == 0


def simulated(config: ExperimentConfig, folder: Path) -> Any:
    simulate(Experiment(config=config), out=folder)
    return model_of(folder)


def position(machines: Machines, site: str) -> int:
    return len(machines.log(site))


def agent_pid(machines: Machines, site: str) -> int:
    return int(standing.read(machines.folder(site) / "state", standing.AGENT)["pid"])


def await_standstill(machines: Machines, site: str) -> int:
    """Returns the process id of an agent once it stands still."""
    pid = agent_pid(machines, site)
    state = Path(f"/proc/{pid}/stat")
    until(lambda: state.read_text().rpartition(")")[2].split()[0] == "T", f"the standstill of {site}")
    return pid


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
    begun, spent_before = position(five, site), five.account(site).steps
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
    await_standstill(five, site)
    five.kill(site)
    begun = position(five, site)
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
    pid = await_standstill(five, site)
    first = five.await_round(run, 1)
    os.kill(pid, signal.SIGCONT)
    follow(run, config, quiet=True)
    assert first["dropped"] == {site: "timeout"}
    assert (first["failure"], first["survivors"]) == (None, 4)
    five.await_event(site, "answered", run=run.name, request="SecureTrainRequest")


def test_a_server_killed_inside_a_round_loses_only_that_round(five: Machines, tmp_path: Path) -> None:
    site = "client-1"
    Stumble(step="train", round=2, how="stopped").tell(five.folder(site))
    config = plain(4)
    run = five.submit(config)
    pid = await_standstill(five, site)
    five.kill("server")
    os.kill(pid, signal.SIGCONT)
    five.start("server")
    follow(run, config, quiet=True)
    assert [entry["round"] for entry in five.rounds(run)] == [1, 2, 3, 4]
    np.testing.assert_allclose(model_of(run), simulated(config, tmp_path / "uninterrupted"), atol=1e-5)


def test_under_privacy_a_round_that_was_cut_off_is_done_again_and_charged_again(five: Machines) -> None:
    site, other = "client-4", "client-0"
    before = five.account(other).steps
    Stumble(step="agree", round=1, how="stopped").tell(five.folder(site))
    config = private(3)
    run = five.submit(config)
    pid = await_standstill(five, site)
    five.kill("server")
    os.kill(pid, signal.SIGCONT)
    five.start("server")
    follow(run, config, quiet=True)
    rounds = five.rounds(run)
    assert [entry["round"] for entry in rounds] == [1, 2, 3]
    again = sum(other not in entry["dropped"] for entry in rounds) + 1
    assert five.account(other).steps - before == again * LOCAL_STEPS


def test_without_privacy_a_masked_round_that_was_cut_off_is_not_repeated(five: Machines) -> None:
    site = "client-4"
    Stumble(step="agree", how="stopped").tell(five.folder(site))
    config = runs(4, privacy={"enabled": False})
    run = five.submit(config)
    pid = await_standstill(five, site)
    five.kill("server")
    os.kill(pid, signal.SIGCONT)
    five.start("server")
    with pytest.raises(RunError, match="redo_without_dp"):
        follow(run, config, quiet=True)
    assert five.state(run) == "failed"
    assert not (run / "result.json").exists()


def test_more_than_the_policy_allows_gets_a_refusal_and_an_exit_code(five: Machines) -> None:
    before = five.account("client-0").steps
    greedy = runs(2, privacy={"enabled": True, "epsilon": 500.0, "delta": 1e-3})
    run = five.submit(greedy)
    with pytest.raises(PolicyRefusal, match="max_epsilon") as refused:
        follow(run, greedy, quiet=True)
    assert refused.value.exit_code == 8
    assert five.account("client-0").steps == before
    assert five.await_event("client-0", "refused", run=run.name)["rule"] == "max_epsilon"
    assert not five.rounds(run)


def test_a_clock_off_by_an_hour_is_called_clock(five: Machines) -> None:
    file = five.folder("client-1") / CLOCK
    file.write_text("3600")
    config = private(1)
    run = five.submit(config)
    try:
        with pytest.raises(PolicyRefusal, match="ClockSkew") as refused:
            follow(run, config, quiet=True)
    finally:
        file.unlink()
    assert refused.value.exit_code == 8
    assert "site client-1" in str(refused.value)
    told = five.await_event("client-1", "request failed", error="ClockSkew")
    assert told["reason"].startswith("clock: ")


def check_that_nothing_is_trained(
    machines: Machines, site: str, *, before: str, taken: Callable[[], AbstractContextManager[Any]]
) -> None:
    """Runs a round in which a site's ledger is ``taken`` before a step."""
    steps = machines.account(site).steps
    Stumble(step=before, how="stopped").tell(machines.folder(site))
    config = private(1)
    run = machines.submit(config)
    pid = await_standstill(machines, site)
    with taken():
        os.kill(pid, signal.SIGCONT)
        follow(run, config, quiet=True)
    (only,) = machines.rounds(run)
    assert only["dropped"] == {site: "LedgerUnavailable"}
    assert machines.account(site).steps == steps
    machines.await_event(site, "request failed", error="LedgerUnavailable")


def test_a_locked_ledger_trains_nothing_and_says_so(five: Machines) -> None:
    ledger = five.folder("client-4") / "state" / "ledger.sqlite"
    check_that_nothing_is_trained(five, "client-4", before="advertise", taken=lambda: closing(lock(ledger)))


def test_a_full_disk_trains_nothing_and_says_so(five: Machines) -> None:
    state = five.folder("client-0") / "state"
    if not state.is_mount():
        pytest.skip("a disk of a few megabytes cannot be mounted here")
    check_that_nothing_is_trained(five, "client-0", before="inputs", taken=lambda: filled(state / "ballast"))


@contextmanager
def filled(file: Path) -> Iterator[None]:
    """Writes a file until its disk is full, and removes it afterwards."""
    with file.open("wb", buffering=0) as ballast:
        for size in (1 << 16, 1):
            try:
                while ballast.write(bytes(size)):
                    pass
            except OSError:
                continue
    try:
        yield
    finally:
        file.unlink()


def test_a_tampered_ledger_keeps_the_site_out(five: Machines) -> None:
    site = "client-3"
    ledger = five.folder(site) / "state" / "ledger.sqlite"
    five.end(site)
    kept = shutil.copy(ledger, ledger.with_suffix(".kept"))
    with sqlite3.connect(ledger) as database:
        database.execute("DROP TRIGGER rows_stay")
        database.execute("DELETE FROM rows WHERE length = 2")
    begun = position(five, site)
    five.start(site)
    assert five.await_event(site, "agent ended", after=begun)["code"] == TamperedLedger.exit_code
    assert not standing.ready(five.folder(site) / "state")
    five.end(site)
    shutil.copy(kept, ledger)
    begun = position(five, site)
    five.start(site)
    five.await_event(site, "agent ready", after=begun)


def test_a_run_is_stopped_between_rounds(five: Machines) -> None:
    config = plain(500)
    run = five.submit(config)
    five.await_round(run, 1)
    queue.ask_to_stop(run)
    with pytest.raises(RunInterrupted):
        follow(run, config, quiet=True)
    assert five.state(run) == "stopped"
    assert 1 <= len(five.rounds(run)) < 500


def test_all_five_are_there_at_the_end(five: Machines) -> None:
    config = private(2)
    run = five.submit(config)
    follow(run, config, quiet=True)
    assert [entry["survivors"] for entry in five.rounds(run)] == [5, 5]
