"""``fedlearn provision``: sets a federation up, and keeps its roster and certificates current.

Examples::

    fedlearn provision federation.toml --out kits
    fedlearn provision sign request.json --kits kits
    fedlearn provision add bergen --kits kits
    fedlearn provision revoke oslo --kits kits
    fedlearn provision renew --kits kits
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from fedlearn.errors import ConfigError
from fedlearn.federation.provisioning.config import FederationConfig
from fedlearn.federation.provisioning.keys import read_request
from fedlearn.federation.provisioning.kits import Kits
from fedlearn.federation.roster import FederationRoster


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of ``fedlearn provision``."""
    parser.add_argument("what", help="federation.toml, or one of sign, add, revoke, renew")
    parser.add_argument("subject", nargs="?", help="sign: the request file; add, revoke: the site")
    parser.add_argument("--out", type=Path, default=Path("kits"), help="folder of new kits")
    parser.add_argument("--kits", type=Path, default=Path("kits"), help="folder of the kits to change")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Carries out the action."""
    actions = {"sign": _sign, "add": _add, "revoke": _revoke, "renew": _renew}
    told = actions.get(arguments.what, _create)(arguments)
    if arguments.json:
        print(json.dumps(told))
        return 0
    print("\n".join(f"{key}: {value}" for key, value in told.items()))
    return 0


def _create(arguments: argparse.Namespace) -> dict[str, str]:
    kits = Kits.create(FederationConfig.load(Path(arguments.what)), arguments.out)
    told = {
        "consortium": f"{kits.consortium}: keep it offline; it decides who belongs",
        "server": f"{kits.server}: to the server's operator",
    }
    return told | {f"site {name}": str(kits.site(name)) for name in kits.config.sites}


def _sign(arguments: argparse.Namespace) -> dict[str, str]:
    kits, request = Kits.open(arguments.kits), read_request(Path(_subject(arguments)))
    told = _distributed(kits.enrol(request))
    return {
        "site": request.site,
        "key": f"{request.key.hex()}: compare it with what the site told you",
        **told,
    }


def _add(arguments: argparse.Namespace) -> dict[str, str]:
    name = _subject(arguments)
    kits = Kits.open(arguments.kits).add(name)
    return {f"site {name}": str(kits.site(name)), **_distributed(kits.roster())}


def _revoke(arguments: argparse.Namespace) -> dict[str, str]:
    name = _subject(arguments)
    return {"revoked": name, **_distributed(Kits.open(arguments.kits).revoke(name))}


def _renew(arguments: argparse.Namespace) -> dict[str, str]:
    kits = Kits.open(arguments.kits)
    kits.renew_certificate()
    return {"server": f"{kits.server}: new server.pem and server.key; restart the server"}


def _distributed(roster: FederationRoster) -> dict[str, str]:
    return {"roster": f"version {roster.version}: give roster.bin to server and sites, and restart them"}


def _subject(arguments: argparse.Namespace) -> str:
    if arguments.subject is None:
        raise ConfigError(f"fedlearn provision {arguments.what} needs one more word; see --help")
    subject: str = arguments.subject
    return subject
