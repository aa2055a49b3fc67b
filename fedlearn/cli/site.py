"""``fedlearn site``: the process that holds a site's records, and what its operator asks of it.

Examples::

    fedlearn site keygen --config site.toml     make the keys and the request to have them signed
    fedlearn site keygen --replace …            new keys; the ledger goes on under them
    fedlearn site check --config site.toml      what is in order, and how to mend what is not
    fedlearn site run --config site.toml        agent and link
    fedlearn site status --config site.toml     is it ready?
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from fedlearn.errors import ConfigError, PreflightFailure
from fedlearn.federation.site import standing
from fedlearn.federation.site.config import LEDGER, SiteConfig

REQUEST = "request.json"
PARTS = {"agent": standing.AGENT, "link": standing.LINK}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the actions and their arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    keygen = actions.add_parser("keygen", help="make the site's keys where they stay")
    keygen.add_argument("--replace", action="store_true", help="new keys in place of those that are there")
    keygen.add_argument("--ledger", type=Path, help="of an installed site, to go on under the new keys")
    keygen.add_argument("--request", type=Path, help=f"file to send (default: {REQUEST} beside the settings)")
    check = actions.add_parser("check", help="look at everything that a start needs")
    run = actions.add_parser("run", help="run until SIGTERM")
    status = actions.add_parser("status", help="is it ready? exit code 0 if so, else 1")
    for action, what in ((run, "what to run"), (status, "whose settings these are")):
        action.add_argument("--part", choices=["both", *PARTS], default="both", help=what)
    for action in (keygen, check, run, status):
        action.add_argument("--config", type=Path, default=Path("site.toml"), help="the site's settings")
        action.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Carries out the action."""
    config = SiteConfig.load(arguments.config)
    actions = {"keygen": _keygen, "check": _check, "run": _run, "status": _status}
    return actions[arguments.action](config, arguments)


def _keygen(config: SiteConfig, arguments: argparse.Namespace) -> int:
    from fedlearn.federation.provisioning import keys

    paths = {"key": config.path(config.key), "node_key": config.path(config.link.node_key)}
    ledger = arguments.ledger or config.path(config.state) / LEDGER
    if not arguments.replace:
        request = keys.make_keys(config.site, **paths)
    elif standing.read(ledger.parent, standing.AGENT)["alive"]:
        raise ConfigError("the agent is running; stop it before its keys are replaced")
    else:
        request = keys.replace_keys(config.site, ledger=ledger, **paths)
    path = arguments.request or config.path(REQUEST)
    path.write_bytes(keys.encode(request))
    fingerprint = request.key.hex()
    if arguments.json:
        print(json.dumps({"request": str(path), "key": fingerprint}))
    else:
        print(f"{path}: send it to the consortium, and tell it this by another way: {fingerprint}")
    return 0


def _check(config: SiteConfig, arguments: argparse.Namespace) -> int:
    from fedlearn.cli.preflight import show
    from fedlearn.federation.site.preflight import check_site

    findings = check_site(config)
    show(findings, as_json=arguments.json)
    if any(not finding.ok for finding in findings):
        raise PreflightFailure(f"site {config.site!r} is not ready; each line above says how to mend it")
    return 0


def _run(config: SiteConfig, arguments: argparse.Namespace) -> int:
    from fedlearn.federation.site import journal

    journal.start()
    if arguments.part == "agent":
        from fedlearn.federation.site.run_agent import AgentProcess

        AgentProcess(config).run()
        return 0
    from fedlearn.federation.site.run_site import run_link, run_site

    if arguments.part == "link":
        run_link(config)
    else:
        run_site(config, file=arguments.config.absolute())
    return 0


def _status(config: SiteConfig, arguments: argparse.Namespace) -> int:
    state = config.path(config.state)
    wanted = PARTS if arguments.part == "both" else {arguments.part: PARTS[arguments.part]}
    parts = {name: standing.read(state, file) for name, file in wanted.items()}
    if arguments.json:
        print(json.dumps(parts, indent=2))
    else:
        for name, part in parts.items():
            print(f"{name:<6} {_described(part)}")
    return 0 if standing.ready(state, *wanted.values()) else 1


def _described(part: dict[str, object]) -> str:
    if not part["alive"]:
        return "not running"
    words = ["ready" if part.get("ready") else str(part.get("state", "starting"))]
    if part.get("run"):
        words.append(f"run {part['run']}, round {int(str(part['round'])) + 1}")
    if part.get("reason"):
        words.append(str(part["reason"]))
    return " · ".join(words)
