"""What attacks get, without protection and with it: ``python -m tests.bench.attacks --json``.

Images are Fashion-MNIST (FEDLEARN_DATA), five clients with twenty of them each; membership, property and
audit are made on ``simulations/privacy.toml``. A figure's reference is the blind guess: the score of one who
has seen nothing. Noise is secret, so a run differs from the next; the attackers' own choices are seeded.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fedlearn.experiment import Experiment
from fedlearn.runs.attack_report import AttackReport
from fedlearn.simulation.attack import attack
from fedlearn.simulation.scenarios.question import PLAIN, Question
from tests.bench.figure import Figure, show_groups

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("FEDLEARN_DATA", ROOT.parent / "shared" / "data"))
ATTACKERS = 3
RECORD = {"enabled": True, "epsilon": 8.0, "delta": 1e-3}
"""The weakest privacy that the bar allows."""
MATCHED = {"name": "cnn", "arguments": {"activation": "tanh"}}


def images(model: dict[str, Any], **sections: Any) -> Experiment:
    """Returns the federation of images."""
    return Experiment.from_dict(
        {
            "name": "images",
            "rounds": 10,
            "metrics": ["accuracy"],
            "data": {
                "dataset": "fashion-mnist",
                "folder": str(DATA),
                "partition": {"clients": 5},
                "scarcity": {"records_per_client": 20},
            },
            "model": model,
            **sections,
        }
    )


def inversion(name: str, model: dict[str, Any], **arguments: Any) -> Iterator[Figure]:
    """Yields the median recovery without protection, and with record-level privacy at ε 8."""
    for label, sections in (("nothing", {}), ("record level, ε 8", {"privacy": RECORD})):
        experiment = images(model, **sections)
        started = time.process_time()
        reports = [attack(experiment, name, arguments=arguments, seed=seed) for seed in range(ATTACKERS)]
        values = [report.value for report in reports]
        blind = statistics.median(report.null for report in reports)
        value = statistics.median(values)
        protected = bool(sections)
        yield Figure(
            name=f"{name} on {model['name']}: {label}",
            ours=value,
            spread=(min(values), max(values)),
            reference=blind,
            unit="dB PSNR, median over records and attackers",
            ratio=value / blind,
            bar="below the blind guess" if protected else "> 25",
            holds=value < blind if protected else value > 25.0,
            beside={
                "recovered": sum(report.details["recovered"] for report in reports),
                "records": sum(report.details["records"] for report in reports),
                "cpu_s": time.process_time() - started,
            },
        )


def linear() -> Iterator[Figure]:
    yield from inversion("update-inversion", {"name": "mlp"})


def matching() -> Iterator[Figure]:
    yield from inversion("gradient-matching", MATCHED, victims=3)


def imprint() -> Iterator[Figure]:
    yield from inversion("imprint", {"name": "mlp", "arguments": {"hidden": [256]}})


def lira() -> Iterator[Figure]:
    """Yields LiRA's AUC on the scenario without protection and at ε 3, with what is paid and promised."""
    plain, private = (_privacy(row) for row in (PLAIN, "record level, ε 3"))
    before = attack(plain, "membership", arguments={"models": 20, "targets": 8})
    yield _auc("LiRA: nothing", before, bar=">= 0.65", holds=before.value >= 0.65)
    after = attack(private, "membership", arguments={"models": 20, "targets": 8})
    limit = after.details["auc_upper_95"]
    yield _auc(
        "LiRA: record level, ε 3",
        after,
        bar="upper limit <= 0.55",
        holds=limit <= 0.55 and after.details["epsilon"] <= 3.0,
    )


def audit() -> Iterator[Figure]:
    """Yields the least ε that one run leaves possible, without protection and at ε 3."""
    for row in (PLAIN, "record level, ε 3"):
        reports = [attack(_privacy(row), "one-run-audit", seed=seed) for seed in range(ATTACKERS)]
        values = [report.value for report in reports]
        accounted = reports[0].details.get("epsilon")
        yield Figure(
            name=f"one-run audit: {row or 'nothing'}",
            ours=statistics.median(values),
            spread=(min(values), max(values)),
            reference=accounted,
            unit="ε, lower bound at 95 %",
            bar="none" if accounted is None else "<= accounted",
            holds=None if accounted is None else max(values) <= accounted,
        )


def client_property() -> Iterator[Figure]:
    """Yields how well a property of a client is told from its update, masked or not."""
    for row in (PLAIN, "secure aggregation", "record level, ε 3"):
        report = attack(_privacy(row), "property")
        yield _auc(f"property of a client: {row or 'nothing'}", report)


def _privacy(row: str) -> Experiment:
    return Question.load(ROOT / "simulations", "privacy").experiment_of("", row)


def _auc(name: str, report: AttackReport, *, bar: str = "none", holds: bool | None = None) -> Figure:
    return Figure(
        name=name,
        ours=report.value,
        reference=report.null,
        unit="AUC",
        ratio=report.value / report.null,
        bar=bar,
        holds=holds,
        beside=dict(report.details),
    )


if __name__ == "__main__":
    show_groups(
        __doc__,
        {
            "linear": linear,
            "matching": matching,
            "imprint": imprint,
            "audit": audit,
            "property": client_property,
            "lira": lira,
        },
    )
