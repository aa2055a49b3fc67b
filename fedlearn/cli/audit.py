"""``fedlearn audit``: canaries in an experiment's own training, against the ε that it prints.

Examples::

    fedlearn audit simulations/quickstart.toml
    fedlearn audit runs/quickstart --json

A run directory keeps the audit in ``audit.json`` and in its privacy statement.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from fedlearn.attacks.canaries import SIGNIFICANCE, ClientAudit, audit_client
from fedlearn.errors import PrivacyError
from fedlearn.experiment import Experiment
from fedlearn.privacy.guarantee import format_epsilon
from fedlearn.runs.directory import RunDirectory
from fedlearn.runs.finish import write_statement
from fedlearn.runs.verification import read_statement


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("path", type=Path, metavar="FILE", help="an experiment (TOML) or a run directory")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="lay a value over the file"
    )
    parser.add_argument("--client", help="whose training (default: the largest declared)")
    parser.add_argument("--canaries", type=int, help="how many (default: one per parameter, at most 10000)")
    parser.add_argument("--rounds", type=int, help="of training (default: all)")
    parser.add_argument(
        "--significance",
        type=float,
        default=SIGNIFICANCE,
        help="chance of a false alarm (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Audits, prints what was found, and returns 0.

    Raises:
      PrivacyError: what was found contradicts the accounted ε.
    """
    is_run = arguments.path.is_dir()
    source = arguments.path / "experiment.toml" if is_run else arguments.path
    experiment = Experiment.from_toml(source, settings=arguments.set)
    audit = audit_client(
        experiment,
        client=arguments.client,
        canaries=arguments.canaries,
        rounds=arguments.rounds,
        significance=arguments.significance,
        rng=np.random.default_rng(),
    )
    found = as_dict(audit)
    if is_run:
        _keep(arguments.path, found)
    print(json.dumps(found, indent=2) if arguments.json else as_text(audit))
    if audit.faults:
        raise PrivacyError(f"client {audit.client!r}: {'; '.join(audit.faults)}: the accounted ε is not true")
    return 0


def _keep(run: Path, found: dict[str, Any]) -> None:
    """Writes what was found into the run's statement."""
    directory = RunDirectory(run)
    directory.write("audit.json", json.dumps(found, indent=2) + "\n")
    statement = read_statement(run).model_copy(update={"audit": found})
    write_statement(directory, statement)


def as_dict(audit: ClientAudit) -> dict[str, Any]:
    """Returns the audit as JSON-able values; an infinite ε is null."""
    bounds = audit.bounds
    return {
        "schema": 1,
        "client": audit.client,
        "rounds": audit.rounds,
        "event": audit.event.to_dict(),
        "canaries": bounds.canaries,
        "delta": bounds.delta,
        "significance": bounds.significance,
        "lower_bound": bounds.gaussian,
        "lower_bound_without_assumption": bounds.one_run,
        "greatest_reachable_bound": _finite(bounds.reachable),
        "accounted": _finite(bounds.accounted),
        "noise_draws": audit.noise_draws,
        "largest_contribution": audit.largest_contribution,
        "faults": audit.faults,
    }


def as_text(audit: ClientAudit) -> str:
    """Returns the audit for people."""
    bounds, steps = audit.bounds, audit.event.steps
    lines = [
        f"client {audit.client}: {audit.rounds} rounds, {steps} steps, {bounds.canaries} canaries",
        "",
        f"  lower bound on ε          {format_epsilon(bounds.gaussian)}   if noise is Gaussian, as accounted",
        f"  without that assumption   {format_epsilon(bounds.one_run)}",
        f"  greatest reachable bound  {_shown(bounds.reachable)}   if every canary were told right",
        f"  accounted ε               {_shown(bounds.accounted)}   at δ = {bounds.delta:g} per record",
        "",
        f"  noise vectors drawn       {audit.noise_draws} in {steps} charged steps",
        f"  largest contribution      {audit.largest_contribution:.6f} of max_grad_norm by one record",
        "",
        f"A lower bound above the accounted ε is a false alarm in {bounds.significance:g} of audits.",
    ]
    return "\n".join(lines)


def _shown(epsilon: float) -> str:
    return format_epsilon(epsilon) if math.isfinite(epsilon) else "∞"


def _finite(epsilon: float) -> float | None:
    return epsilon if math.isfinite(epsilon) else None
