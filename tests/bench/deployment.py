"""What a federation of real sites costs, beside the same bytes as bare Flower messages in the same run.

``python -m tests.bench.deployment --json`` prints one JSON line per figure; ``--only PATTERN`` takes those
whose name begins so. Five sites and a server run on this machine, over TLS on loopback; a bare trip is an
echo of the same bytes through the same SuperLink, SuperNodes and processes, without agents. Wall clock: on a
quiet machine only.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fedlearn.config import ExperimentConfig
from fedlearn.federation.leash import descendants
from tests.bench import bare_app
from tests.bench.figure import Figure, show_groups
from tests.deployment.machines import Machines, running, until
from tests.federation.sites import EXPERIMENT, experiment

ROUNDS = 5
BIG_WIDTH = 800_000  # × (30 + 1) + … parameters: about 100 MB of float32
QUICKSTART = Path(__file__).parents[2] / "simulations" / "quickstart.toml"
OPEN = {"privacy": {"enabled": False}, "secure_aggregation": {"enabled": True, "redo_without_dp": True}}
POLICY = {"max_epsilon": 1e3, "max_delta": 1e-2, "require_privacy": False, "redo_without_dp": True}


def masked(rounds: int, **changes: Any) -> ExperimentConfig:
    data = {**EXPERIMENT["data"], "declared_size": 79}
    training = {"learning_rate": 0.1, "local_steps": 1}
    return experiment(rounds=rounds, data=data, training=training, **{**OPEN, **changes})


def big(rounds: int) -> ExperimentConfig:
    return masked(rounds, model={"name": "mlp", "arguments": {"hidden": [BIG_WIDTH]}})


@contextmanager
def federation(config: ExperimentConfig, **arguments: Any) -> Iterator[Machines]:
    """Yields a running federation whose folder goes with it."""
    with (
        tempfile.TemporaryDirectory() as folder,
        running(config, Path(folder) / "kits", **arguments) as found,
    ):
        yield found


def finished(machines: Machines, config: ExperimentConfig) -> list[dict[str, Any]]:
    run = machines.submit(config)
    status = machines.await_over(run)
    if status.state != "finished":
        raise SystemExit(f"the bench's run {run.name} was {status.state}: {status.reason}")
    return machines.rounds(run)


def steady(rounds: list[dict[str, Any]]) -> list[float]:
    """Returns the seconds of the rounds after the first, whose session was not prepared."""
    return [entry["seconds"] for entry in rounds[1:-1] or rounds[1:]]


def bare_trips(machines: Machines, *, floats: int, count: int) -> list[float]:
    """Returns the seconds of bare Flower trips to all sites, ``floats`` float32 there and back."""
    folder = Path(tempfile.mkdtemp(prefix="fedlearn-bare-"))
    out = folder / "trips.json"
    return bare_app.run(machines.federation.server_file, out, floats=floats, trips=count)


TIMINGS: dict[str, dict[str, bool]] = {
    "stock": {"fast_poll": False, "warm": False},
    "fast_poll": {"fast_poll": True, "warm": False},
    "fast_poll, warm": {"fast_poll": True, "warm": True},
}


def rounds() -> Iterator[Figure]:
    """Rounds with each timing of Flower's, beside bare trips before and after them in the same federation."""
    medians = {}
    for name, timing in TIMINGS.items():
        with federation(masked(ROUNDS), policy=POLICY, **timing) as machines:
            bare = bare_trips(machines, floats=62, count=2)
            done = finished(machines, masked(ROUNDS))
            bare += bare_trips(machines, floats=62, count=2)
        medians[name] = statistics.median(steady(done))
        yield from beside(name, done, bare)
    for name in ("fast_poll", "fast_poll, warm"):
        ratio = medians[name] / medians["stock"]
        yield Figure(
            name=f"round with {name} against the stock one",
            ours=medians[name],
            reference=medians["stock"],
            unit="s",
            ratio=ratio,
            bar="ratio ≤ 0.7",
            holds=ratio <= 0.7,
        )


def beside(name: str, done: list[dict[str, Any]], bare: list[float]) -> Iterator[Figure]:
    """Yields what steady rounds took, and how many trips, against three bare trips."""
    ours, three = steady(done), 3 * statistics.median(bare)
    trips = [float(entry["trips"]) for entry in done[1:-1]]
    yield Figure(
        name=f"trips per steady round, {name}",
        ours=statistics.median(trips),
        reference=3.0,
        unit="trips",
        ratio=statistics.median(trips) / 3,
        bar="3",
        holds=set(trips) == {3.0},
    )
    yield Figure(
        name=f"round beside three bare trips, {name}",
        ours=statistics.median(ours),
        reference=three,
        unit="s",
        ratio=statistics.median(ours) / three,
        spread=(min(ours), max(ours)),
        bar="three bare trips + 3 s",
        holds=statistics.median(ours) <= three + 3,
    )


def hundred_megabytes() -> Iterator[Figure]:
    config = big(2)
    with federation(config, policy=POLICY) as machines:
        seconds = [entry["seconds"] for entry in finished(machines, config)]
        peak = superlink_kib(machines.processes["server"].pid)
    slowest = max(seconds)
    yield Figure(
        name="round of 100 MB",
        ours=slowest,
        unit="s",
        bar="≤ 60 s",
        holds=slowest <= 60,
    )
    gigabytes = peak / 2**20
    yield Figure(
        name="SuperLink memory at 100 MB", ours=gigabytes, unit="GiB", bar="≤ 1.6 GB", holds=gigabytes <= 1.49
    )


def superlink_kib(root: int) -> int:
    """Returns the most memory that the SuperLink below a process has held since its start, in KiB."""
    for pid in descendants(root):
        with suppress(OSError):  # it may have ended meanwhile
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            if b"fedlearn.federation.hurried\0superlink" in command and b"leash" not in command:
                status = Path(f"/proc/{pid}/status").read_text()
                return int(status.split("VmHWM:")[1].split()[0])
    raise SystemExit("no SuperLink is running")


def recovery() -> Iterator[Figure]:
    """Flower's own timing: most of it is the 60 s before it lets a killed SuperNode back in."""
    for name, warm in (("stock", False), ("warm", True)):
        yield from returned(name, warm=warm)


def returned(name: str, *, warm: bool) -> Iterator[Figure]:
    site = "client-2"
    with federation(masked(2), policy=POLICY, fast_poll=False, warm=warm) as machines:
        before = finished(machines, masked(2))[-1]
        deadline = max(15.0, 3 * before["seconds"] / before["trips"])  # of a step: no others are lost
        config = masked(200, cohort={"deadline_seconds": deadline})
        run = machines.submit(config)
        machines.await_round(run, 2)
        started = time.perf_counter()
        machines.kill(site)
        machines.start(site)
        machines.await_connected(site)
        activated = time.perf_counter() - started

        def back() -> bool:
            rounds = machines.rounds(run)
            lost = [entry["round"] for entry in rounds if site in entry["dropped"]]
            return bool(lost) and rounds[-1]["round"] > lost[-1]

        until(back, f"the return of {site}")
        begun = time.perf_counter() - started - machines.rounds(run)[-1]["seconds"]
        meanwhile = statistics.median(entry["seconds"] for entry in machines.rounds(run)[3:])
    yield Figure(
        name=f"kill -9 of a site until Flower lets its SuperNode in again, {name}",
        ours=activated,
        unit="s",
        bar="none",
        holds=None,
    )
    yield Figure(name=f"a round meanwhile, {name}", ours=meanwhile, unit="s", bar="none", holds=None)
    yield Figure(
        name=f"kill -9 of a site to the cohort that has it again, {name}",
        ours=begun,
        unit="s",
        bar="≤ 75 s",
        holds=begun <= 75,
    )


def up() -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "fedlearn.cli.main", "up", str(QUICKSTART), "--json"]
        command += ["--out", f"{folder}/run", "--keep", f"{folder}/kits"]
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        pattern = "kits/server/state/runs/*/rounds.jsonl"
        try:
            until(lambda: list(Path(folder).glob(pattern)), "the first round")
            seconds = time.perf_counter() - started
        finally:
            process.terminate()
            process.wait()
    yield Figure(name="up to the first round", ours=seconds, unit="s", bar="≤ 60 s", holds=seconds <= 60)


def relay_imports() -> Iterator[Figure]:
    code = "import fedlearn.federation.client_app"
    ours = []
    for _ in range(7):
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, check=True
        )
        lines = [line.removeprefix("import time:").split("|") for line in done.stderr.splitlines()]
        own = [int(parts[0]) for parts in lines if parts[-1].strip().startswith(("fedlearn", "msgspec"))]
        ours.append(sum(own) * 1e-6)
    seconds = min(ours)  # whatever else the machine does only adds to it
    yield Figure(
        name="our own imports in the relay",
        ours=seconds,
        spread=(seconds, max(ours)),
        unit="s",
        bar="≤ 0.1 s",
        holds=seconds <= 0.1,
    )


BENCHES: dict[str, Callable[[], Iterator[Figure]]] = {
    "relay": relay_imports,
    "up": up,
    "rounds": rounds,
    "memory": hundred_megabytes,
    "recovery": recovery,
}


def main() -> None:
    show_groups(__doc__, BENCHES)


if __name__ == "__main__":
    main()
