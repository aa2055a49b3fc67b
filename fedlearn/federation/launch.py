"""A simulation on Flower's engine, from this process: started, followed, and always cleaned up."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedlearn.errors import RunError, RunInterrupted
from fedlearn.experiment import Experiment
from fedlearn.federation import failure
from fedlearn.federation.bundle import write_bundle
from fedlearn.federation.conduct import LOGS, check_conductible
from fedlearn.federation.environment import flower_environment
from fedlearn.federation.following import Follower
from fedlearn.runs.directory import RunDirectory
from fedlearn.runs.progress import Progress, Silent

MAX_NODES = 32
POLL_SECONDS = 0.2
FLWR = str(Path(sys.executable).with_name("flwr"))

_CONNECTION = '[superlink]\ndefault = "local"\n\n[superlink.local]\naddress = ":local-in-memory:"\n'


def run_flower(
    experiment: Experiment,
    directory: Path,
    *,
    resume: bool = False,
    ledger: Path | None = None,
    progress: Progress | None = None,
    nodes: int | None = None,
) -> None:
    """Runs an experiment in Flower's simulation (Ray) and returns when its result is written.

    Everything that Flower starts, including the SuperLink that it detaches, has ended on return.
    Logs lie in ``directory/flower``. The result has no baselines: they need no federation.

    Args:
      experiment: what to run; all of it must be in its configuration.
      directory: the run directory.
      resume: go on from the checkpoint in it.
      ledger: a folder with a policy, where clients keep what their records spend over all runs.
      progress: watches; by default nobody does.
      nodes: number of simulated SuperNodes; any serves any client. By default one per client, at most
        32: Flower hands each node one message per 0.1 s.

    Raises:
      FedLearnError: what the run itself raised.
      RunError: Flower ended without a result; names its log.
      RunInterrupted: on Ctrl-C; the checkpoint of the last completed round is kept.
    """
    check_conductible(experiment, ledger=ledger)
    path = directory.absolute()
    if resume:
        RunDirectory.reopen(path, experiment)
    else:
        RunDirectory.create(path, experiment)
    (path / failure.FAILURE).unlink(missing_ok=True)
    (path / LOGS).mkdir(exist_ok=True)
    count = nodes or min(MAX_NODES, len(experiment.population.clients))
    follower = Follower(path, experiment.config, progress or Silent())
    with _scratch(path / LOGS) as scratch:
        bundle = write_bundle(
            scratch / "app",
            experiment_toml=experiment.to_toml(),
            run_dir=path,
            resume=resume,
            ledger=None if ledger is None else ledger.absolute(),
        )
        _run_app(bundle, scratch, log=path / LOGS / "flwr.log", nodes=count, follower=follower)
    _check(path)


def _run_app(bundle: Path, scratch: Path, *, log: Path, nodes: int, follower: Follower) -> None:
    """Runs ``flwr run`` under a leash until it ends, which ends everything it started."""
    federation = f"num-supernodes={nodes} client-resources-num-cpus=1 init-args-log-to-driver=false"
    command = [sys.executable, "-m", "fedlearn.federation.leash", "--lifeline"]
    command += ["--launcher", str(os.getpid()), "--remove", str(scratch)]
    command += [FLWR, "run", str(bundle), "local", "--stream", "--federation-config", federation]
    with log.open("wb") as output, follower:
        process = subprocess.Popen(  # noqa: S603  # our own module, by full path
            command,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=flower_environment(scratch),
            start_new_session=True,  # Ctrl-C reaches this process; the leash hears of it from here
        )
        try:
            while process.poll() is None:
                follower.look()
                time.sleep(POLL_SECONDS)
        except KeyboardInterrupt:
            kept = f"the checkpoint is kept; go on with --resume {log.parent.parent}"
            raise RunInterrupted(f"interrupted; {kept}") from None
        finally:
            if process.stdin is not None:
                process.stdin.close()
            process.wait()


@contextmanager
def _scratch(logs: Path) -> Iterator[Path]:
    """Yields a short-named folder for Flower's and Ray's state; keeps the SuperLink's log of it."""
    scratch = Path(tempfile.mkdtemp(prefix="fedlearn-"))
    try:
        (scratch / "flwr").mkdir()
        (scratch / "flwr" / "config.toml").write_text(_CONNECTION, encoding="utf-8")
        yield scratch
    finally:
        superlink = scratch / "flwr" / "local-superlink" / "superlink.log"
        if superlink.is_file():
            shutil.copyfile(superlink, logs / "superlink.log")
        shutil.rmtree(scratch, ignore_errors=True)


def _check(path: Path) -> None:
    """Raises what went wrong: Flower's own exit code is 0 either way."""
    error = failure.read(path)
    if error is not None:
        raise error
    if not (path / "result.json").is_file():
        logs = path / LOGS
        raise RunError(f"Flower ended without a result; see {logs}/flwr.log and {logs}/superlink.log")
