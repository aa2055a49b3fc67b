"""``fedlearn server``: the SuperLink with TLS and node authentication, and the queue of runs.

Examples::

    fedlearn server check --config server.toml
    fedlearn server run --config server.toml
    fedlearn server status --config server.toml
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path

from fedlearn.errors import PreflightFailure
from fedlearn.federation.server.config import ServerConfig


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the actions and their arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, summary in (
        ("check", "look at everything that a start needs"),
        ("run", "run until SIGTERM"),
        ("status", "is it up? exit code 0 if so"),
    ):
        action = actions.add_parser(name, help=summary)
        action.add_argument("--config", type=Path, default=Path("server.toml"), help="the server's settings")
        action.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Carries out the action."""
    config = ServerConfig.load(arguments.config)
    if arguments.action == "check":
        return _check(config, as_json=arguments.json)
    if arguments.action == "status":
        return _status(config, as_json=arguments.json)
    from fedlearn.federation.server.daemon import Daemon

    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    Daemon(config, file=arguments.config).run()
    return 0


def _check(config: ServerConfig, *, as_json: bool) -> int:
    from fedlearn.cli.preflight import show
    from fedlearn.federation.server.preflight import check_server

    findings = check_server(config)
    show(findings, as_json=as_json)
    if any(not finding.ok for finding in findings):
        raise PreflightFailure("the server is not ready; each line above says how to mend it")
    return 0


def _status(config: ServerConfig, *, as_json: bool) -> int:
    from fedlearn.federation.preflight import checked, tls
    from fedlearn.federation.server import queue
    from fedlearn.federation.server.superlink import loopback

    address = f"{loopback(config)}:{config.port}"
    reached = checked("server", lambda: tls(address, ca=config.path(config.ca)))
    open_runs = [run for run, one in queue.runs_in(config.runs).items() if one.state in queue.OPEN]
    if as_json:
        print(json.dumps({"up": reached.ok, "detail": reached.detail, "open_runs": open_runs}))
    else:
        print(
            f"{'up' if reached.ok else 'down'}: {reached.detail}; open runs: {', '.join(open_runs) or 'none'}"
        )
    return 0 if reached.ok else 1
