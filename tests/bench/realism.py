"""What slow machines cost, and what helps: simulated time to an accuracy, and bytes for an accuracy.

One scenario (digits, 50 clients, Dirichlet 0.3, lognormal speeds of σ = 1) under every way to end a round,
and with every compressor. Accuracies, simulated seconds and bytes do not depend on this machine::

    python -m tests.bench.realism --json [--only time|bytes] [--seeds 3]
"""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fedlearn.experiment import Experiment
from fedlearn.runs.result import Result
from fedlearn.simulation import simulate
from tests.bench.figure import Figure, options, show

TARGET = 0.90
"""Accuracy that a run must reach."""

SCENARIO: Mapping[str, Any] = {
    "rounds": 60,
    "metrics": ["accuracy"],
    "data": {
        "dataset": "digits",
        "partition": {"kind": "dirichlet", "clients": 50, "arguments": {"alpha": 0.3}},
    },
    "model": {"name": "mlp"},
    "training": {"learning_rate": 0.1, "batch_size": 10, "epochs": 2},
    "fleet": {"enabled": True, "records_per_second": 50.0, "speed_spread": 1.0},
    "cohort": {"fraction": 0.4},
}

ENDINGS: Mapping[str, Mapping[str, Any]] = {
    "cohort of 20, waiting for all": {},
    "with a deadline of 4 s": {"cohort": {"fraction": 0.4, "deadline_seconds": 4.0}},
    "over-selection 1.5": {"cohort": {"fraction": 0.4, "over_selection": 1.5}},
    "FedBuff, buffer 10, 20 in flight": {
        "cohort": {},
        "rounds": 240,
        "asynchronous": {"enabled": True, "buffer": 10, "concurrency": 20},
    },
}

COMPRESSIONS: Mapping[str, Mapping[str, Any]] = {
    "whole updates": {},
    "quantise, 8 bits": {"name": "quantise", "arguments": {"bits": 8}},
    "quantise, 4 bits": {"name": "quantise", "arguments": {"bits": 4}},
    "quantise, 2 bits, error feedback": {
        "name": "quantise",
        "arguments": {"bits": 2},
        "error_feedback": True,
    },
    "top-k 5 %, error feedback": {"name": "top-k", "arguments": {"fraction": 0.05}, "error_feedback": True},
    "top-k 5 %": {"name": "top-k", "arguments": {"fraction": 0.05}},
    "random-k 20 %": {"name": "random-k", "arguments": {"fraction": 0.2}},
    "random-k 20 %, error feedback": {
        "name": "random-k",
        "arguments": {"fraction": 0.2},
        "error_feedback": True,
    },
}


def run(seed: int, **sections: Any) -> tuple[Result, list[dict[str, Any]]]:
    """The scenario's result and its rounds."""
    with tempfile.TemporaryDirectory() as folder:
        experiment = Experiment.from_dict({**SCENARIO, "seed": seed, **sections})
        result = simulate(experiment, out=Path(folder) / "run", workers=1)
        text = (Path(folder) / "run" / "rounds.jsonl").read_text(encoding="utf-8")
    return result, [json.loads(line) for line in text.splitlines()]


def seconds_to(rounds: list[dict[str, Any]], target: float) -> float:
    """Simulated time until the accuracy was first reached; infinite if it never was."""
    passed = 0.0
    for entry in rounds:
        passed += float(entry["simulated_seconds"])
        if entry["metrics"]["accuracy"] >= target:
            return passed
    return float("inf")


def time_figures(seeds: range) -> Iterator[Figure]:
    """Simulated seconds to the accuracy, against rounds that wait for all; the same seeds each."""
    waiting: list[float] = []
    for name, sections in ENDINGS.items():
        runs = [run(seed, **sections) for seed in seeds]
        taken = [seconds_to(rounds, TARGET) for _, rounds in runs]
        waiting = waiting or taken
        yield Figure(
            name=f"simulated seconds to accuracy {TARGET}: {name}",
            ours=statistics.median(taken),
            spread=(min(taken), max(taken)),
            reference=statistics.median(waiting),
            unit="s",
            ratio=statistics.median(slow / fast for slow, fast in zip(waiting, taken, strict=True)),
            beside={
                "final": statistics.median(result.final["accuracy"] or 0.0 for result, _ in runs),
                "updates": statistics.median(result.timing.client_updates for result, _ in runs),
            },
        )


def byte_figures(seeds: range) -> Iterator[Figure]:
    """Bytes up of one client in one round, and what accuracy they end with."""
    whole = 0.0
    for name, compression in COMPRESSIONS.items():
        results = [run(seed, compression=compression, fleet={})[0] for seed in seeds]
        lengths = [result.communication.most_up for result in results if result.communication is not None]
        finals = [result.final["accuracy"] or 0.0 for result in results]
        whole = whole or statistics.median(lengths)
        yield Figure(
            name=f"bytes up per update: {name}",
            ours=statistics.median(lengths),
            reference=whole,
            unit="bytes",
            ratio=whole / statistics.median(lengths),
            beside={"final": statistics.median(finals), "final_spread": (min(finals), max(finals))},
        )


def main() -> None:
    """Prints the figures that the command line chooses."""
    parser = options(__doc__, only="time or bytes")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    for name, figures in (("time", time_figures), ("bytes", byte_figures)):
        if name.startswith(arguments.only):
            for figure in figures(range(arguments.seeds)):
                show(figure, as_json=arguments.json)


if __name__ == "__main__":
    main()
