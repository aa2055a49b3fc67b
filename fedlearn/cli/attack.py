"""``fedlearn attack``: what an adversary gets from an experiment, without and with its protections."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

from fedlearn.attacks import ATTACKS
from fedlearn.attacks.report import AttackReport
from fedlearn.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of ``fedlearn attack``."""
    known = ", ".join(ATTACKS)
    parser.add_argument("file", help="the experiment (TOML)")
    parser.add_argument(
        "--attack", action="append", metavar="NAME", help=f"{known}, or module:Name; may be repeated"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="lay a value over the file"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the attacker's own choices")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the reports as JSON")
    parser.add_argument("--json", action="store_true", help="print the reports as JSON and nothing else")


def run(arguments: argparse.Namespace) -> int:
    """Attacks the experiment under each of its protections; returns 0 whoever wins."""
    from fedlearn.experiment import Experiment
    from fedlearn.rounds.checkpoint import write_atomically
    from fedlearn.simulation.attack import attack
    from fedlearn.simulation.protections import variants

    if arguments.seed < 0:
        raise ConfigError(f"--seed {arguments.seed} must be at least 0")
    experiment = Experiment.from_toml(arguments.file, settings=arguments.set)
    reports = {
        protection: [
            attack(variant, name, seed=arguments.seed)
            for name in arguments.attack or ["update-inversion", "sum-inversion", "membership"]
        ]
        for protection, variant in variants(experiment).items()
    }
    text = json.dumps({name: [report.to_dict() for report in row] for name, row in reports.items()}, indent=2)
    if arguments.out is not None:
        write_atomically(arguments.out, text.encode())
    print(text if arguments.json else "\n".join(table(reports)))
    return 0


def table(reports: dict[str, list[AttackReport]]) -> Iterator[str]:
    """Yields the table: a line per attack and protection, the blind guess beside the score."""
    yield f"{'protection':<22}{'attack':<20}{'sees':<18}{'score':>14}{'blind guess':>14}   "
    yield "─" * 100
    for protection, row in reports.items():
        for report in row:
            verdict = "succeeds" if report.succeeded else "fails"
            yield (
                f"{protection:<22}{report.attack:<20}{report.sees:<18}{_figure(report, report.value):>14}"
                f"{_figure(report, report.null):>14}   {verdict}{_besides(report)}"
            )


def _figure(report: AttackReport, value: float) -> str:
    return f"{value:.1f} dB" if report.score == "psnr_db" else f"AUC {value:.3f}"


def _besides(report: AttackReport) -> str:
    if report.score == "psnr_db":
        return f": {report.details['recovered']:g} of {report.details['records']:g} records recovered"
    return f": AUC at most {report.details['auc_upper_95']:.3f} (95 %)"
