"""How fast the simulator is, beside pfl-research and Flower on Ray, on the peers' common work.

``python -m tests.bench.simulation --json`` prints one line per figure; ``--only PATTERN`` takes a part.
Contenders take turns in processes of their own; figures are medians over turns, with the least and the
greatest. pfl-research gets an environment of its own in ``.venv/peers/pfl``, made on first use.
"""

from __future__ import annotations

import fnmatch
import json
import os
import statistics
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from tests.bench.figure import Figure, options, show
from tests.bench.peers import PEERS, ROOT

Result = dict[str, Any]
"""What a contender's RESULT line says."""

PFL = ROOT / ".venv" / "peers" / "pfl"
ENVIRONMENT = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "PYTHONPATH": f"{PEERS}{os.pathsep}{ROOT}",
    "FLWR_TELEMETRY_ENABLED": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}
ROUNDS = {"mlp": 12, "cnn": 6}
ALTERNATING_ROUNDS = 60
"""Of the cost of --profile: a difference of a percent is lost among a dozen rounds."""


class NoResult(Exception):
    """A contender ended without a RESULT line; the message has what it printed."""


class Contenders:
    """Runs contenders on the common work; each distinct run is made once per turn, and kept.

    Args:
      folder: holds prepared data and the models that runs end with.
      turns: how often each contender runs.
    """

    def __init__(self, folder: Path, turns: int) -> None:
        self._folder = folder
        self._turns = turns
        self._kept: dict[tuple[str, ...], list[Result]] = {}

    def together(self, *contenders: Contender) -> list[list[Result]]:
        """Returns each contender's results, one per turn; those not yet run take turns now."""
        new = [contender for contender in contenders if contender.key not in self._kept]
        for turn in range(self._turns):
            for contender in new:
                results = self._kept.setdefault(contender.key, [])
                if turn < contender.most_turns:
                    results.append(self._run(contender))
        return [self._kept[contender.key] for contender in contenders]

    def model(self, contender: Contender) -> dict[str, torch.Tensor]:
        """Returns the model with which a contender's last run ended."""
        state: dict[str, torch.Tensor] = torch.load(self._dump(contender), weights_only=True)
        return state

    def _dump(self, contender: Contender) -> Path:
        return self._folder / f"{'-'.join(contender.key).replace('/', '_')}.pt"

    def _run(self, contender: Contender) -> Result:
        command = [*contender.command(), *contender.arguments]
        if contender.common_data:
            command += ["--data", str(self._prepared(contender.users))]
        if contender.dumps:
            command += ["--dump", str(self._dump(contender))]
        done = subprocess.run(
            command, env=ENVIRONMENT, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
        )
        for line in reversed(done.stdout.splitlines()):
            if line.startswith("RESULT "):
                result: Result = json.loads(line.removeprefix("RESULT "))
                return result
        raise NoResult(f"{' '.join(command)} gave no result:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")

    def _prepared(self, users: int) -> Path:
        folder = self._folder / f"users-{users}"
        if not folder.exists():
            folder.mkdir()
            command = [sys.executable, "-m", "tests.bench.common_work", "--prepare", "--data", str(folder)]
            subprocess.run([*command, "--users", str(users)], env=ENVIRONMENT, cwd=ROOT, check=True)
        return folder


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One program with its arguments.

    Attributes:
      name: who it is.
      command: makes the command line; called when it runs.
      arguments: of the common work.
      users: number of users, for prepared data.
      common_data: whether it reads prepared data.
      dumps: whether it can write the model that it ends with.
      most_turns: turns that are enough of a slow one.
    """

    name: str
    command: Callable[[], list[str]]
    arguments: tuple[str, ...]
    users: int = 1000
    common_data: bool = False
    dumps: bool = True
    most_turns: int = 99

    @property
    def key(self) -> tuple[str, ...]:
        """What tells runs apart."""
        return self.name, *self.arguments


def ours(model: str, *extra: str, users: int = 1000, workers: int = 2) -> Contender:
    """Returns our engine on the common work."""
    return Contender(
        name="fedlearn",
        command=lambda: [sys.executable, "-m", "tests.bench.common_work"],
        arguments=(*work(model), "--users", str(users), "--workers", str(workers), *extra),
        users=users,
        common_data=True,
    )


def pfl(model: str) -> Contender:
    """Returns pfl-research with two processes."""
    return Contender(name="pfl-research", command=pfl_command, arguments=work(model))


def pfl_command() -> list[str]:
    """Returns how pfl-research is started; makes its environment on first use."""
    if not (PFL / "bin" / "torchrun").exists():
        venv.create(PFL, with_pip=True)
        pip = [
            str(PFL / "bin" / "pip"),
            "install",
            "--quiet",
            "pfl",
            f"torch=={torch_version()}",
            "dp-accounting",
        ]
        subprocess.run(pip, check=True)
    runner = [str(PFL / "bin" / "torchrun"), "--standalone", "--nproc_per_node", "2"]
    return [*runner, str(PEERS / "pfl_bench.py")]


def flower(model: str) -> Contender:
    """Returns Flower on Ray with two actors."""
    script = [sys.executable, str(PEERS / "flower_sim_bench.py")]
    return Contender(name="flower", command=lambda: script, arguments=work(model), most_turns=1)


def opacus(model: str) -> Contender:
    """Returns Opacus with an engine rebuilt for each client, and ε asked for in each round."""
    script = [sys.executable, "-m", "tests.bench.opacus_work"]
    return Contender(
        name="opacus", command=lambda: script, arguments=("--model", model), dumps=False, most_turns=1
    )


def work(model: str) -> tuple[str, ...]:
    """Returns the arguments that every contender gets."""
    return "--model", model, "--rounds", str(ROUNDS[model]), "--warmup", "1"


def torch_version() -> str:
    """Returns the version of torch that everybody runs, without its build."""
    return torch.__version__.partition("+")[0]


def values(results: list[Result], key: str) -> list[float]:
    """Returns one value of each result."""
    return [float(result[key]) for result in results]


def milliseconds(results: list[Result]) -> list[float]:
    """Returns the milliseconds of processor time of an update, of each result."""
    return [1e3 / value for value in values(results, "updates_per_cpu_s")]


def ratio(above: list[Result], below: list[Result], key: str) -> float:
    """Returns the median of the ratios within each turn; of unequal numbers of turns, that of the medians."""
    return statistics.median(ratios(above, below, key))


def ratios(above: list[Result], below: list[Result], key: str) -> list[float]:
    """Returns the ratio within each turn; of unequal numbers of turns, that of the medians alone."""
    one, other = values(above, key), values(below, key)
    if len(one) != len(other):
        return [statistics.median(one) / statistics.median(other)]
    return [a / b for a, b in zip(one, other, strict=True)]


def faster(
    name: str, mine: list[Result], theirs: list[Result], *, key: str = "updates_per_s", bar: float
) -> Figure:
    """Returns a figure of which more is better."""
    a, b = statistics.median(values(mine, key)), statistics.median(values(theirs, key))
    spread = (min(values(mine, key)), max(values(mine, key)))
    return Figure(
        name=name,
        ours=a,
        spread=spread,
        reference=b,
        unit=key,
        ratio=round(ratio(mine, theirs, key), 3),
        bar=f">= {bar}x",
        holds=ratio(mine, theirs, key) >= bar,
    )


def speed(contenders: Contenders, model: str) -> Iterator[Figure]:
    """Client updates per second beside the peers, and whether all end with the same model."""
    mine, anchor, ray = contenders.together(ours(model), pfl(model), flower(model))
    bars = {"mlp": (1.2, 10.0), "cnn": (1.0, 2.5)}[model]
    yield faster(f"{model} against pfl-research", mine, anchor, bar=bars[0])
    yield faster(f"{model} against Flower on Ray", mine, ray, bar=bars[1])
    by_processor = faster(
        f"{model} against pfl-research, processor time", mine, anchor, key="updates_per_cpu_s", bar=0
    )
    yield replace(by_processor, bar="none", holds=None)
    peak = max(values(mine, "peak_MiB"))
    reference = max(values(anchor, "peak_MiB"))
    yield Figure(
        name=f"{model} peak memory of all processes",
        ours=peak,
        reference=reference,
        unit="MiB",
        ratio=round(reference / peak, 2),
        bar="<= 512",
        holds=peak <= 512,
    )
    trained = [contender(model) for contender in (ours, pfl, flower)]
    yield from differences(contenders, trained, of=f"{model} largest", bar=1e-3)


def parity(contenders: Contenders, _: str) -> Iterator[Figure]:
    """Whether all compute the same numbers: early on, before a rounding has sent two runs far apart."""
    for model, rounds, name, bar in (("mlp", 4, "four", 1e-6), ("cnn", 2, "two", 1e-4)):
        trained = [early(contender(model), rounds) for contender in (ours, pfl, flower)]
        contenders.together(*trained)
        yield from differences(contenders, trained, of=f"{model} after {name} rounds, largest", bar=bar)


def differences(
    contenders: Contenders, trained: Sequence[Contender], *, of: str, bar: float
) -> Iterator[Figure]:
    """Yields how far our model, the first, is from pfl-research's and from Flower's."""
    mine, *theirs = map(contenders.model, trained)
    for peer, state in zip(("pfl-research", "Flower"), theirs, strict=True):
        apart = max(float((state[name] - value).abs().max()) for name, value in mine.items())
        yield Figure(
            name=f"{of} difference of a parameter from {peer}",
            ours=apart,
            unit="1",
            bar=f"<= {bar:g}",
            holds=apart <= bar,
        )


def early(contender: Contender, rounds: int) -> Contender:
    """Returns the same work, ended after so many rounds, the warm-up among them."""
    return replace(lasting(contender, rounds - 1), most_turns=1)


def lasting(contender: Contender, rounds: int) -> Contender:
    """Returns the same work for so many rounds after the warm-up."""
    arguments = list(contender.arguments)
    arguments[arguments.index("--rounds") + 1] = str(rounds)
    return replace(contender, arguments=tuple(arguments))


def private(contenders: Contenders, model: str) -> Iterator[Figure]:
    """What DP-SGD in every client costs, in processor time, and what Opacus rebuilt per client does."""
    plain, noisy = contenders.together(ours(model), ours(model, "--dp"))
    key = "updates_per_cpu_s"
    costs = ratios(plain, noisy, key)
    cost = statistics.median(costs)
    bar = {"mlp": 3.0, "cnn": 2.5}[model]
    yield Figure(
        name=f"{model} DP-SGD over non-private",
        ours=round(cost, 3),
        spread=(min(costs), max(costs)),
        unit="x processor time",
        bar=f"<= {bar}x",
        holds=cost <= bar,
    )
    (theirs,) = contenders.together(opacus(model))
    bar = {"mlp": 15.0, "cnn": 3.0}[model]
    yield faster(f"{model} DP-SGD against Opacus rebuilt per client", noisy, theirs, key=key, bar=bar)


def secure(contenders: Contenders, _: str) -> Iterator[Figure]:
    """What secure aggregation adds for 50 clients with 225,034 parameters."""
    clear, masked, ideal = contenders.together(
        ours("cnn"), ours("cnn", "--secure", "masked"), ours("cnn", "--secure", "ideal")
    )
    added = [
        with_masks - without
        for with_masks, without in zip(milliseconds(masked), milliseconds(clear), strict=True)
    ]
    cost = statistics.median(added)
    yield Figure(
        name="masked, added per client and round",
        ours=round(cost, 2),
        spread=(round(min(added), 2), round(max(added), 2)),
        unit="ms of processor time",
        bar="<= 12",
        holds=cost <= 12,
    )
    shares = [each - 1 for each in ratios(clear, ideal, "updates_per_cpu_s")]
    share = statistics.median(shares)
    yield Figure(
        name="ideal, added share of the round",
        ours=round(share, 4),
        spread=(min(shares), max(shares)),
        unit="1",
        bar="<= 0.03",
        holds=share <= 0.03,
    )


def scale(contenders: Contenders, _: str) -> Iterator[Figure]:
    """Whether a client costs the same in a larger population."""
    small, large = (ours("mlp", "--cohort", "100", users=users) for users in (1_000, 10_000))
    few, many = contenders.together(small, large)
    large_costs, small_costs = milliseconds(many), milliseconds(few)
    yield Figure(
        name="10,000 clients against 1,000, cohort 100",
        ours=round(statistics.median(large_costs), 3),
        spread=(round(min(large_costs), 3), round(max(large_costs), 3)),
        reference=round(statistics.median(small_costs), 3),
        unit="ms of processor time per update",
        ratio=round(ratio(few, many, "updates_per_cpu_s"), 3),
        bar="<= 1.05x",
        holds=ratio(few, many, "updates_per_cpu_s") <= 1.05,
    )


def profile(contenders: Contenders, _: str) -> Iterator[Figure]:
    """What it costs to count where the time goes: rounds with and without take turns in one process."""
    counted = lasting(ours("mlp", "--profile", workers=1), ALTERNATING_ROUNDS)
    (alternating,) = contenders.together(counted)
    costs = values(alternating, "counted_over_plain")
    cost = statistics.median(costs)
    yield Figure(
        name="mlp with --profile over without",
        ours=round(cost, 3),
        spread=(min(costs), max(costs)),
        unit="x processor time",
        bar="<= 1.03x",
        holds=cost <= 1.03,
    )


PARTS: dict[str, Callable[[Contenders], Iterator[Figure]]] = {
    "speed-mlp": partial(speed, model="mlp"),
    "speed-cnn": partial(speed, model="cnn"),
    "parity": partial(parity, _=""),
    "private-mlp": partial(private, model="mlp"),
    "private-cnn": partial(private, model="cnn"),
    "secure": partial(secure, _=""),
    "scale": partial(scale, _=""),
    "profile": partial(profile, _=""),
}


def main() -> None:
    """Runs the parts that are asked for and prints their figures."""
    parser = options(__doc__, only=f"parts by name or pattern: {', '.join(PARTS)}")
    parser.add_argument("--turns", type=int, default=3, help="how often contenders take turns")
    arguments = parser.parse_args()
    lost = 0
    with tempfile.TemporaryDirectory() as folder:
        contenders = Contenders(Path(folder), arguments.turns)
        for name, part in PARTS.items():
            if fnmatch.fnmatch(name, f"*{arguments.only}*"):
                lost += not printed(part(contenders), name, as_json=arguments.json)
    raise SystemExit(lost > 0)


def printed(figures: Iterator[Figure], part: str, *, as_json: bool) -> bool:
    """Prints the figures of a part; returns whether it ran to its end."""
    try:
        for figure in figures:
            show(figure, as_json=as_json)
    except (NoResult, subprocess.SubprocessError) as error:
        print(f"{part}: {error}", file=sys.stderr, flush=True)
        return False
    return True


if __name__ == "__main__":
    main()
