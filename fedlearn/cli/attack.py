"""``fedlearn attack``: what an adversary gets from an experiment, without and with its protections."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from fedlearn.attacks import ATTACKS
from fedlearn.errors import ConfigError, RunDirectoryError

if TYPE_CHECKING:
    from fedlearn.runs.attack_report import AttackReport, Table

_DEFAULT = ["update-inversion", "sum-inversion", "membership"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of ``fedlearn attack``."""
    known = ", ".join(ATTACKS)
    parser.add_argument(
        "target", type=Path, help="the experiment (TOML); or a run directory, whose report then has the table"
    )
    parser.add_argument(
        "--attack", action="append", metavar="NAME", help=f"{known}, or module:Name; may be repeated"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="lay a value over the experiment"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the attacker's own choices")
    parser.add_argument("--json", action="store_true", help="print the reports as JSON and nothing else")


def run(arguments: argparse.Namespace) -> int:
    """Attacks the experiment under each of its protections; returns 0 whoever wins."""
    from fedlearn.experiment import Experiment
    from fedlearn.runs.attack_report import attacks_json
    from fedlearn.simulation.attack import attack
    from fedlearn.simulation.protections import variants

    if arguments.seed < 0:
        raise ConfigError(f"--seed {arguments.seed} must be at least 0")
    of_run = arguments.target.is_dir()
    if of_run and arguments.set:
        raise ConfigError("--set goes with an experiment; a run was what its experiment.toml says")
    if of_run:
        _check_run(arguments.target)
    file = arguments.target / "experiment.toml" if of_run else arguments.target
    experiment = Experiment.from_toml(file, settings=arguments.set)
    names = arguments.attack or _DEFAULT
    table = {
        protection: [attack(variant, name, seed=arguments.seed) for name in names]
        for protection, variant in variants(experiment).items()
    }
    print(attacks_json(table) if arguments.json else "\n".join(lines(table)))
    if of_run:
        _keep(arguments.target, table)
    return 0


def _check_run(path: Path) -> None:
    """Raises before anything is attacked unless the directory has what an attack and its report need."""
    from fedlearn.runs.directory import RunDirectory
    from fedlearn.runs.report import Material
    from fedlearn.runs.result import Result

    result = Result.load(path)
    if result.engine == "sites":
        raise RunDirectoryError(
            f"{path}: the records of this run are at its sites; attack a simulation of its experiment.toml"
        )
    Material.read(RunDirectory(path), result)


def lines(table: Table) -> Iterator[str]:
    """Yields a line per protection and attack, the blind guess beside the score."""
    yield f"{'protection':<22}{'attack':<20}{'sees':<18}{'score':>14}{'blind guess':>14}   "
    yield "─" * 100
    for protection, reports in table.items():
        for report in reports:
            yield (
                f"{protection:<22}{report.attack:<20}{report.sees:<18}{_figure(report, report.value):>14}"
                f"{_figure(report, report.null):>14}   {_verdict(report)}"
            )


def _keep(path: Path, table: Table) -> None:
    """Writes the table into the run directory and its report."""
    from fedlearn.cli.report import write_report
    from fedlearn.runs.attack_report import ATTACKS_FILE, attacks_json
    from fedlearn.runs.directory import RunDirectory

    directory = RunDirectory(path)
    directory.write(ATTACKS_FILE, attacks_json(table))
    write_report(directory)


def _figure(report: AttackReport, value: float) -> str:
    return f"{value:.1f} dB" if report.score == "psnr_db" else f"AUC {value:.3f}"


def _verdict(report: AttackReport) -> str:
    verdict = "succeeds" if report.succeeded else "fails"
    if report.score == "psnr_db":
        return (
            f"{verdict}: {report.details['recovered']:g} of {report.details['records']:g} records recovered"
        )
    return f"{verdict}: AUC at most {report.details['auc_upper_95']:.3f} (95 %)"
