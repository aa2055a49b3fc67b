"""Measures `simulations/persons.toml`: global, personal, local-only and gated models, for strangers too.

``python -m tests.bench.persons --json [--seeds 5]``; the WISDM arrays are looked for in FEDLEARN_DATA. A seed
draws the strangers, the held-out records and the initial model. About 50 s of one core per seed.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

from fedlearn.experiment import Experiment
from fedlearn.runs.result import Personalisation
from fedlearn.simulation import simulate
from tests.bench.figure import Figure, options, show

SCENARIO = Path(__file__).parents[2] / "simulations" / "persons.toml"
LEAST_OWN = 87.0
MOST_BELOW_LOCAL = 0.5


def measured(seed: int) -> Personalisation:
    """Returns what the persons of one seed end with."""
    root = Path(os.environ.get("FEDLEARN_DATA", SCENARIO.parents[2] / "shared" / "data"))
    settings = [
        f"seed={seed}",
        f'data.folder="{root / "wisdm"}"',
        "baselines.local=false",
        "baselines.pooled=false",
    ]
    with tempfile.TemporaryDirectory() as folder:
        result = simulate(Experiment.from_toml(SCENARIO, settings=settings), out=Path(folder) / "run")
    assert result.personalisation is not None
    return result.personalisation


def accuracies(found: Sequence[Personalisation], model: str, *, unseen: bool) -> list[float]:
    """Returns the accuracy of one kind of model in percent, by seed."""
    means = [entry.unseen_means if unseen else entry.means for entry in found]
    return [100.0 * (mean[model]["accuracy"] or 0.0) for mean in means]


def figures(found: Sequence[Personalisation]) -> list[Figure]:
    """Returns one figure for each kind of model and of person, and the gate's."""
    shown = []
    for unseen in (False, True):
        who = "persons who took no part" if unseen else "persons of the federation"
        for model in ("global", "local", "personal", "own"):
            values = accuracies(found, model, unseen=unseen)
            asked = model == "own" and not unseen
            shown.append(
                Figure(
                    name=f"{who}: {model}",
                    ours=statistics.mean(values),
                    spread=(min(values), max(values)),
                    unit="% accuracy, mean over seeds",
                    bar=f">= {LEAST_OWN:g}" if asked else "none",
                    holds=statistics.mean(values) >= LEAST_OWN if asked else None,
                )
            )
        pairs = zip(
            accuracies(found, "own", unseen=unseen), accuracies(found, "local", unseen=unseen), strict=True
        )
        gains = [own - local for own, local in pairs]
        shown.append(
            Figure(
                name=f"{who}: own over local only, worst seed",
                ours=min(gains),
                spread=(min(gains), max(gains)),
                unit="points",
                bar=f">= -{MOST_BELOW_LOCAL:g}",
                holds=min(gains) >= -MOST_BELOW_LOCAL,
            )
        )
    return shown


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    for figure in figures([measured(seed) for seed in range(arguments.seeds)]):
        show(figure, as_json=arguments.json)


if __name__ == "__main__":
    main()
