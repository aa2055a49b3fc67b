"""How long one waits for ``fedlearn``: import, ``--help``, the quickstart's first round, and its end.

``python -m tests.bench.startup --json`` prints one line per figure: medians over turns, with the least and
the greatest.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time

from tests.bench.figure import Figure, Times, options, show
from tests.bench.peers import ROOT

FEDLEARN = [sys.executable, "-m", "fedlearn.cli.main"]
QUICKSTART = str(ROOT / "simulations" / "quickstart.toml")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def seconds(*command: str) -> float:
    """Returns how long a command takes."""
    started = time.perf_counter()
    subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, check=True)
    return time.perf_counter() - started


def importing() -> float:
    """``import fedlearn``."""
    return seconds(sys.executable, "-c", "import fedlearn")


def helping() -> float:
    """``fedlearn --help``."""
    return seconds(*FEDLEARN, "--help")


def watched() -> tuple[float, float]:
    """Returns seconds from the command to the end of the first round, and from the last round to the end."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *FEDLEARN,
            "simulate",
            QUICKSTART,
            "--out",
            f"{folder}/run",
            "--set",
            "baselines.local=false",
        ]
        command += ["--set", "baselines.unprotected=false", "--set", "baselines.pooled=false"]
        started = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=ROOT, env=ENVIRONMENT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        )
        ends = []
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("quickstart "):
                ends.append(time.perf_counter())
        process.wait()
        return ends[0] - started, time.perf_counter() - ends[-1]


def main() -> None:
    """Measures everything in turns and prints it."""
    parser = options(__doc__, only="figures whose name contains this")
    parser.add_argument("--turns", type=int, default=3, help="how often each is measured")
    arguments = parser.parse_args()
    bars = {
        "import fedlearn": None,
        "fedlearn --help": 0.5,
        "command to the end of the first round of the quickstart": 6.0,
        "end of the last round to the prompt": None,
    }
    taken: dict[str, list[float]] = {name: [] for name in bars}
    for _ in range(arguments.turns):
        # One run gives both of its figures: it takes the longest.
        for name, value in zip(bars, (importing(), helping(), *watched()), strict=True):
            taken[name].append(value)
    for name, bar in bars.items():
        if arguments.only not in name:
            continue
        times = Times(tuple(taken[name]))
        figure = Figure(
            name=name,
            ours=times.median,
            spread=times.spread(),
            unit="s",
            bar="none" if bar is None else f"<= {bar}",
            holds=None if bar is None else times.median <= bar,
        )
        show(figure, as_json=arguments.json)


if __name__ == "__main__":
    main()
