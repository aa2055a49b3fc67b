"""``fedlearn budget``: what a site's records have spent, and whether its ledger is whole.

Examples::

    fedlearn budget show ledger.sqlite --delta 1e-5
    fedlearn budget verify ledger.sqlite --public-key 1f0c… --head 12:9ab3…
    fedlearn budget export ledger.sqlite > ledger.jsonl
"""

from __future__ import annotations

import argparse
import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

from fedlearn.errors import ConfigError
from fedlearn.privacy.chain import Head, Row, check_chain, check_signatures
from fedlearn.privacy.guarantee import format_epsilon
from fedlearn.privacy.release import latest, read, spent


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the actions and their arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    show = actions.add_parser("show", help="print what each data set has spent")
    show.add_argument("--delta", type=float, default=1e-5, metavar="δ", help="below 1 / records")
    show.add_argument("--json", action="store_true", help="print JSON")
    verify = actions.add_parser("verify", help="check that the chain is whole and signed")
    verify.add_argument("--public-key", metavar="HEX", help="the site's Ed25519 key, to check signatures")
    verify.add_argument("--head", metavar="LENGTH:HEX", help="head noted elsewhere, to recognise an old copy")
    verify.add_argument("--json", action="store_true", help="print JSON")
    export = actions.add_parser("export", help="print all rows as JSON lines, with digests and signatures")
    for action in (show, verify, export):
        action.add_argument("ledger", type=Path, help="the ledger's file")


def run(arguments: argparse.Namespace) -> int:
    """Runs the action; returns 0, or raises what is wrong with the ledger."""
    rows = read(arguments.ledger)
    if arguments.action == "show":
        _show(rows, delta=arguments.delta, as_json=arguments.json)
    elif arguments.action == "verify":
        _verify(rows, arguments)
    else:
        _export(rows)
    return 0


def balances(rows: list[Row], *, delta: float) -> list[dict[str, Any]]:
    """Returns for each data set and unit what was released and spent, as JSON-able values.

    Raises:
      TamperedLedger: the chain is broken.
    """
    check_chain(rows)
    releases = list(latest(rows).values())
    pairs = sorted({(release["dataset"], release["unit"]) for release in releases})
    return [_balance(releases, dataset, unit, delta) for dataset, unit in pairs]


def _balance(releases: list[dict[str, Any]], dataset: str, unit: Any, delta: float) -> dict[str, Any]:
    account = spent(releases, dataset, unit=unit)
    epsilon = account.epsilon(delta=delta)
    states = Counter(r["state"] for r in releases if (r["dataset"], r["unit"]) == (dataset, unit))
    return {
        "dataset": dataset,
        "unit": unit,
        "relation": "add-remove",
        "epsilon": epsilon if math.isfinite(epsilon) else None,
        "delta": delta,
        "steps": account.steps,
        "releases": dict(sorted(states.items())),
    }


def _show(rows: list[Row], *, delta: float, as_json: bool) -> None:
    entries = balances(rows, delta=delta)
    if as_json:
        print(json.dumps(entries, indent=2))
        return
    if not entries:
        print("nothing was released")
    for entry in entries:
        states = ", ".join(f"{count} {state}" for state, count in entry["releases"].items())
        epsilon = "∞ (no guarantee)" if entry["epsilon"] is None else format_epsilon(entry["epsilon"])
        print(
            f"{entry['dataset']}: ε = {epsilon} at δ = {delta:g} per {entry['unit']} (add-remove) spent"
            f" over all runs; {entry['steps']} steps; releases: {states}"
        )


def _verify(rows: list[Row], arguments: argparse.Namespace) -> None:
    known = Head.parse(arguments.head) if arguments.head else None
    check_chain(rows, known=known)
    if arguments.public_key:
        check_signatures(rows, _key(arguments.public_key))
    head = Head(length=len(rows), digest=rows[-1].digest) if rows else None
    report = {
        "rows": len(rows),
        "head": str(head) if head else None,
        "chain": "whole",
        "signatures": "valid" if arguments.public_key else "not checked: give --public-key",
        "known_head": "contained" if known else "not checked: give --head",
    }
    if arguments.json:
        print(json.dumps(report, indent=2))
        return
    for name, value in report.items():
        print(f"{name.replace('_', ' '):<11} {value}")


def _key(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise ConfigError(f"--public-key {text!r} is no hexadecimal number; it reads 64 hex digits") from None


def _export(rows: list[Row]) -> None:
    for row in rows:
        line = {"row": row.values, "digest": row.digest.hex(), "signature": row.signature.hex()}
        print(json.dumps(line, sort_keys=True))
