"""``fedlearn verify``: a run's privacy statement checked offline, from signatures to the last ε.

Examples::

    fedlearn verify runs/quickstart
    fedlearn verify runs/quickstart --ledger ledgers/ --roster roster.json
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from urllib.parse import unquote

from fedlearn.errors import ConfigError
from fedlearn.runs.verification import verify_run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("run", type=Path, metavar="RUN", help="a run directory")
    parser.add_argument(
        "--roster", type=Path, metavar="FILE", help="the clients' keys as you know them (JSON)"
    )
    parser.add_argument(
        "--ledger", type=Path, metavar="DIR", help="folder of the clients' ledgers, to check too"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Verifies the run and prints what was checked; returns 0, or raises what was tampered with."""
    verified = verify_run(
        arguments.run,
        roster=None if arguments.roster is None else _roster(arguments.roster),
        ledgers=None if arguments.ledger is None else _ledgers(arguments.ledger),
    )
    if arguments.json:
        print(json.dumps(asdict(verified), indent=2))
        return 0
    print(f"run {verified.run}: verified")
    for line in verified.checks:
        print(f"  {line}")
    print(f"  roster {verified.roster}")
    return 0


def _roster(path: Path) -> dict[str, bytes]:
    """Returns client → public key from ``{"hospital-1": "64 hex digits", …}``."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return {name: bytes.fromhex(key) for name, key in values.items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise ConfigError(f"--roster {path} cannot be read as JSON, client → key in hex: {error}") from None


def _ledgers(folder: Path) -> dict[str, Path]:
    found = {unquote(path.stem): path for path in sorted(folder.glob("*.sqlite"))}
    if not found:
        raise ConfigError(f"--ledger {folder} holds no CLIENT.sqlite")
    return found
