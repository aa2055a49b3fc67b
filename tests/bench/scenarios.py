"""Runs the built-in experiments over several seeds and writes the table of ``simulations/README.md``.

``python -m tests.bench.scenarios --seeds 3``; the heart-disease data is looked for in FEDLEARN_DATA.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

from fedlearn.experiment import Experiment
from fedlearn.runs.result import Metrics, Result
from fedlearn.simulation import simulate

SIMULATIONS = Path(__file__).parents[2] / "simulations"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
QUESTIONS = {
    "quickstart": "Does federation pay when each of five unequal hospitals protects its patients (ε 3)?",
    "digits": "What does label skew cost ten clients that share only a sum?",
    "scarcity": "Twenty clients with ten records each: what does federation give back?",
    "hospitals": "Do four real heart-disease hospitals gain from each other at ε 3 per patient?",
    "hospitals-distributed": "And at ε 1, statistics included, when they share the noise?",
}


def settings(name: str, seed: int) -> list[str]:
    """Returns what is laid over a scenario's file to run it here with a seed."""
    lines = [f"seed={seed}"]
    if name.startswith("hospitals"):
        root = Path(os.environ.get("FEDLEARN_DATA", SIMULATIONS.parents[1] / "shared" / "data"))
        lines.append(f'data.folder="{root / "heart-disease"}"')
    return lines


def measure(name: str, seeds: int) -> str:
    """Returns one row of the table: medians over seeds, with the least and the greatest."""
    started, results = time.perf_counter(), []
    for seed in range(seeds):
        experiment = Experiment.from_toml(SIMULATIONS / f"{name}.toml", settings=settings(name, seed))
        with tempfile.TemporaryDirectory() as folder:
            results.append(simulate(experiment, out=Path(folder) / "run"))
    seconds = (time.perf_counter() - started) / seeds
    columns: list[list[Metrics | None]] = [
        [result.baselines.local.metrics for result in results],
        [result.baselines.unprotected.metrics for result in results],
        [result.final for result in results],
        [result.baselines.pooled.metrics for result in results],
    ]
    cells = " | ".join(cell(column) for column in columns)
    return f"| `{name}.toml` | {QUESTIONS[name]} | {cells} | {protection(results[0])} | {seconds:.0f} s |"


def cell(column: list[Metrics | None]) -> str:
    """Returns the median accuracy and its range over seeds."""
    values = [value for entry in column if entry is not None and (value := entry["accuracy"]) is not None]
    if not values:
        return "–"
    return f"{statistics.median(values):.3f} ({min(values):.3f} – {max(values):.3f})"


def protection(result: Result) -> str:
    """Returns what protected the run."""
    words = ["sums only"] if result.secure_aggregation.mode != "off" else []
    overall = next((entry for entry in result.privacy if entry.client == "overall"), None)
    if overall is not None:
        words.append(f"ε {overall.epsilon:.2f}, δ {overall.delta:g} per {overall.unit}")
    return "; ".join(words)


def main() -> None:
    """Measures the scenarios and replaces the table in the README."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=list(QUESTIONS), choices=list(QUESTIONS))
    arguments = parser.parse_args()
    lines = [
        "| file | question | local only | federated, no protection | federated, protected | pooled"
        " | protection | time |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [measure(name, arguments.seeds) for name in arguments.only]
    table = "\n".join(lines)
    print(table)
    page = SIMULATIONS / "README.md"
    text = page.read_text(encoding="utf-8")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    page.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
