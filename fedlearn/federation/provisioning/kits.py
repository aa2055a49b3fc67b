"""The kits: ``consortium`` (stays offline), ``server``, and one folder per site.

The consortium's folder holds the authority's key and the key that signs the roster; who has it decides
who belongs. It is of no use to the server, and must not lie there: a server that could sign a roster
could put itself in every site's place.
"""

from __future__ import annotations

import datetime
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tomli_w

from fedlearn.config import validated
from fedlearn.crypto.identity import SigningKey
from fedlearn.errors import ConfigError, RunDirectoryError
from fedlearn.federation.private_files import read_private, read_signing_key, write_private, write_signing_key
from fedlearn.federation.provisioning import keys
from fedlearn.federation.provisioning.certificates import Pair, new_authority, new_server
from fedlearn.federation.provisioning.config import FederationConfig
from fedlearn.federation.provisioning.containers import server_containers, site_containers
from fedlearn.federation.provisioning.units import server_units, site_units
from fedlearn.federation.roster import FederationRoster, Member
from fedlearn.federation.site.identity import read_roster
from fedlearn.rounds.checkpoint import write_atomically

CONSORTIUM, SERVER, SITES = "consortium", "server", "sites"
ROSTER = "roster.bin"


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


@dataclass(frozen=True, kw_only=True)
class Kits:
    """A federation's kits in one folder.

    Attributes:
      folder: holds them.
      config: the federation.
      now: the time of certificates.
    """

    folder: Path
    config: FederationConfig
    now: Callable[[], datetime.datetime] = _now

    @classmethod
    def open(cls, folder: Path) -> Kits:
        """Returns the kits that :meth:`create` made; raises ConfigError if there are none."""
        return cls(folder=folder, config=FederationConfig.load(folder / CONSORTIUM / "federation.toml"))

    @classmethod
    def create(cls, config: FederationConfig, folder: Path, **arguments: Any) -> Kits:
        """Makes all keys and certificates and writes every kit.

        Raises:
          RunDirectoryError: the folder exists and is not empty: keys are never overwritten.
        """
        if folder.exists() and any(folder.iterdir()):
            raise RunDirectoryError(
                f"{folder} is not empty; keys are never overwritten: choose another --out"
            )
        kits = cls(folder=folder, config=config, **arguments)
        for name in (kits.consortium, kits.server, *map(kits.site, config.sites)):
            name.mkdir(mode=0o700, parents=True, exist_ok=True)
        kits._make_keys()
        return kits

    @property
    def consortium(self) -> Path:
        """Folder of the consortium."""
        return self.folder / CONSORTIUM

    @property
    def server(self) -> Path:
        """Folder of the server."""
        return self.folder / SERVER

    def site(self, name: str) -> Path:
        """Folder of a site."""
        return self.folder / SITES / name

    def roster(self) -> FederationRoster:
        """Returns the current roster."""
        return read_roster(self.consortium / ROSTER, consortium=self._signer().public)

    def enrol(self, request: keys.Request) -> FederationRoster:
        """Puts a site on the roster, or gives it new keys; returns the roster's next version.

        Raises:
          ConfigError: the site is not one of the federation's.
        """
        if request.site not in self.config.sites:
            raise ConfigError(
                f"site {request.site!r} is none of the federation's ({', '.join(self.config.sites)}):"
                " `fedlearn provision add` it first"
            )
        return self._next({**self.roster().members, request.site: request.member})

    def add(self, name: str) -> Kits:
        """Makes the kit of one more site; with keys of the consortium's making it is on the roster, too.

        Raises:
          ConfigError: there is such a site, or the name is none.
        """
        if name in self.config.sites:
            raise ConfigError(
                f"site {name!r} is in the federation already; `provision sign` gives it new keys"
            )
        values = {**self.config.model_dump(exclude_none=True), "sites": [*self.config.sites, name]}
        kits = replace(self, config=validated(FederationConfig, values))
        kits.site(name).mkdir(mode=0o700, parents=True)
        kits._write_federation()
        kits._write_site(name, self._signer().public.hex())
        members = self.roster().members
        kits._next(members if self.config.keys == "site" else {**members, name: kits._site_keys(name)})
        return kits

    def revoke(self, name: str) -> FederationRoster:
        """Takes a site off the roster; returns the roster's next version.

        Raises:
          ConfigError: it is not on it.
        """
        members = dict(self.roster().members)
        if members.pop(name, None) is None:
            raise ConfigError(f"site {name!r} is not on the roster ({', '.join(members)})")
        return self._next(members)

    def renew_certificate(self) -> None:
        """Writes a new server certificate under the same authority, with a new key."""
        for name in ("server.pem", "server.key"):
            (self.server / name).unlink(missing_ok=True)
        self._write_certificate()

    def _make_keys(self) -> None:
        self._write_federation()
        authority = new_authority(self.config.name, now=self.now())
        write_private(self.consortium / "ca.key", authority.key)
        write_atomically(self.consortium / "ca.crt", authority.certificate)
        signer, server = SigningKey.generate(), SigningKey.generate()
        write_signing_key(self.consortium / "consortium.key", signer)
        write_signing_key(self.server / "signing.key", server)
        self._write_certificate()
        members = (
            {} if self.config.keys == "site" else {name: self._site_keys(name) for name in self.config.sites}
        )
        self._write_roster(
            FederationRoster(name=self.config.name, version=1, server=server.public, members=members)
        )
        self._write_settings(signer.public.hex())

    def _write_federation(self) -> None:
        settings = _toml(self.config.model_dump(exclude_none=True))
        write_atomically(self.consortium / "federation.toml", settings)

    def _site_keys(self, name: str) -> Member:
        folder = self.site(name)
        return keys.make_keys(name, key=folder / "site.key", node_key=folder / "node.key").member

    def _write_certificate(self) -> None:
        authority = Pair(
            certificate=(self.consortium / "ca.crt").read_bytes(),
            key=read_private(self.consortium / "ca.key"),
        )
        names = list(dict.fromkeys([*self.config.server.names, "localhost", "127.0.0.1"]))
        pair = new_server(authority, names=names, days=self.config.server.certificate_days, now=self.now())
        write_private(self.server / "server.key", pair.key)
        write_atomically(self.server / "server.pem", pair.certificate)

    def _write_settings(self, consortium: str) -> None:
        write_atomically(self.server / "server.toml", _toml(self._server_settings(consortium)))
        server = self.config.server
        files = server_containers(port=server.port, public_port=server.public_port or 443)
        _write_all(self.server, server_units() | files)
        shutil.copy(self.consortium / "ca.crt", self.server / "ca.crt")
        for name in self.config.sites:
            self._write_site(name, consortium)

    def _write_site(self, name: str, consortium: str) -> None:
        folder = self.site(name)
        write_atomically(folder / "site.toml", _toml(self._site_settings(name, consortium)))
        _write_all(folder, site_units(name) | site_containers(name))
        shutil.copy(self.consortium / "ca.crt", folder / "ca.crt")

    def _server_settings(self, consortium: str) -> dict[str, Any]:
        server = self.config.server
        waiting: dict[str, Any] = {"seconds": server.wait_seconds}
        if server.minimum_sites is not None:
            waiting["sites"] = server.minimum_sites
        return {
            "name": self.config.name,
            "consortium": consortium,
            "host": server.host,
            "port": server.port,
            "evaluate": server.evaluate,
            "warm": server.warm,
            "waiting": waiting,
        }

    def _site_settings(self, name: str, consortium: str) -> dict[str, Any]:
        site, server = self.config.site, self.config.server
        settings: dict[str, Any] = {
            "site": name,
            "consortium": consortium,
            "data": {"source": "module:loader", "id": "records", **site.data},
            "policy": {"max_epsilon": 1.0, "max_delta": 1e-5, **site.policy},
            "link": {"superlink": f"{server.names[0]}:{server.reached_at}", **site.link},
        }
        return settings | ({"limits": site.limits} if site.limits else {})

    def _next(self, members: Mapping[str, Member]) -> FederationRoster:
        before = self.roster()
        roster = FederationRoster(
            name=before.name, version=before.version + 1, server=before.server, members=members
        )
        self._write_roster(roster)
        return roster

    def _write_roster(self, roster: FederationRoster) -> None:
        signed = roster.sign(self._signer())
        folders = [self.consortium, self.server, *map(self.site, self.config.sites)]
        for folder in folders:
            write_atomically(folder / ROSTER, signed)

    def _signer(self) -> SigningKey:
        return read_signing_key(self.consortium / "consortium.key")


def _toml(values: Mapping[str, Any]) -> bytes:
    text: str = tomli_w.dumps(values)
    return text.encode()


def _write_all(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        write_atomically(folder / name, text.encode())
