"""A whole federation on one machine, with real certificates and a process per site: for trying it.

The sites are the experiment's clients. The data set is public to this machine, so each site takes the part
that the experiment deals to it, and the server evaluates on the test part: the result is comparable with a
simulation's.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedlearn.config import ExperimentConfig, validated
from fedlearn.errors import ConfigError, RunError
from fedlearn.experiment.statistics import are_declared
from fedlearn.federation.environment import free_ports
from fedlearn.federation.provisioning.config import FederationConfig
from fedlearn.federation.provisioning.kits import Kits
from fedlearn.federation.site import siblings
from fedlearn.federation.site.config import SiteConfig
from fedlearn.federation.site.socket_service import check_socket_path
from fedlearn.federation.site.supervision import Process, start_under_leash

STARTED_SECONDS = 120.0


@dataclass(frozen=True, kw_only=True)
class LocalFederation:
    """A federation's kits, ready to be started on this machine.

    Attributes:
      kits: the kits.
      config: the experiment that they are for.
      warm: whether processes are forked from warm ones.
    """

    kits: Kits
    config: ExperimentConfig
    warm: bool = False

    @classmethod
    def create(
        cls,
        config: ExperimentConfig,
        folder: Path,
        *,
        sites: Sequence[str],
        policy: dict[str, Any] | None = None,
        limits: dict[str, Any] | None = None,
        server: dict[str, Any] | None = None,
        fast_poll: bool = False,
        warm: bool = False,
    ) -> LocalFederation:
        """Writes the kits of a federation for one experiment.

        Args:
          config: the experiment; its data set must be named.
          folder: where; must be empty.
          sites: names of the sites: the experiment's clients.
          policy: laid over a policy that allows just this experiment.
          limits: of every site.
          server: laid over the server's section.
          fast_poll: whether SuperNodes poll every 0.2 s.
          warm: whether processes for messages and runs are forked from warm ones.

        Raises:
          ConfigError: the experiment names no data set, or the folder's path is too long for sockets in it.
        """
        if config.data.dataset is None:
            raise ConfigError("data.dataset is missing: sites cannot be given objects")
        port, *node_ports = free_ports(1 + len(sites))
        values = {
            "name": config.name,
            "sites": list(sites),
            "server": {
                "names": ["127.0.0.1"],
                "host": "127.0.0.1",
                "port": port,
                "evaluate": "experiment",
                "warm": warm,
                **(server or {}),
            },
            "site": {
                "data": _data(config),
                "policy": {**policy_of(config), **(policy or {})},
                "limits": limits or {},
                "link": {"fast_poll": fast_poll, "warm": warm},
            },
        }
        kits = Kits.create(validated(FederationConfig, values), folder)
        for site, node_port in zip(sites, node_ports, strict=True):
            settings = kits.site(site) / "site.toml"
            _set_port(settings, node_port)
            placed = SiteConfig.load(settings)
            check_socket_path(placed.path(placed.socket))
        return cls(kits=kits, config=config, warm=warm)

    @property
    def server_file(self) -> Path:
        """The server's settings."""
        return self.kits.server / "server.toml"

    def site_file(self, site: str) -> Path:
        """A site's settings."""
        return self.kits.site(site) / "site.toml"

    def start_server(self) -> Process:
        """Starts the server; its log is in its kit."""
        return self._run("server", self.server_file)

    def start_site(self, site: str) -> Process:
        """Starts a site; its log is in its kit."""
        return self._run("site", self.site_file(site))

    @contextmanager
    def running(self) -> Iterator[None]:
        """Starts server and sites, and ends them all."""
        processes = [self.start_server()]
        try:
            sites = self.kits.config.sites
            processes += [self._start_siblings()] if self.warm else map(self.start_site, sites)
            yield
        finally:
            end(processes[::-1])

    def _start_siblings(self) -> Process:
        """Starts all sites as forks of one process; the log of each is in its kit."""
        return self._start(siblings.command(map(self.site_file, self.kits.config.sites)), self.kits.folder)

    def _run(self, kind: str, settings: Path) -> Process:
        command = [sys.executable, "-m", "fedlearn.cli.main", kind, "run", "--config", str(settings)]
        return self._start(command, settings.parent)

    def _start(self, command: Sequence[str], folder: Path) -> Process:
        with (folder / siblings.LOG).open("ab") as output:
            return start_under_leash(command, environment=dict(os.environ), output=output)


def end(processes: Sequence[Any]) -> None:
    """Ends processes under a leash: their pipes close, which ends all that they started."""
    for process in processes:
        if process.stdin is not None:
            process.stdin.close()
    for process in processes:
        process.wait()


def await_state(found: Callable[[], bool], what: str, *, seconds: float = STARTED_SECONDS) -> None:
    """Returns once something is so; raises RunError if it is not within ``seconds``."""
    deadline = time.monotonic() + seconds
    while not found():
        if time.monotonic() >= deadline:
            raise RunError(f"{what} was not so after {seconds:g} s")
        time.sleep(0.2)


def _data(config: ExperimentConfig) -> dict[str, Any]:
    section: dict[str, Any] = {"source": config.data.dataset, "id": "records", "share": "dealt"}
    if config.data.arguments:
        section["arguments"] = dict(config.data.arguments)
    if config.data.folder is not None:
        section["folder"] = str(Path(config.data.folder).expanduser().absolute())
    return section


def policy_of(config: ExperimentConfig) -> dict[str, Any]:
    """Returns the policy that allows this experiment and little more."""
    privacy, secure = config.privacy, config.secure_aggregation
    masked = secure.enabled and secure.mode == "masked"
    return {
        # Against outsiders ε follows from secret coins; what a site counts against everyone is more.
        "max_epsilon": 1e6 if privacy.epsilon is None or privacy.against == "outsiders" else privacy.epsilon,
        "max_delta": privacy.delta,
        "unit": privacy.unit,
        "noise": [privacy.noise],
        "require_privacy": privacy.enabled and not are_declared(config),
        "allow_plain": not masked,
        "min_cohort": 1,
        "min_survivors": 1,
        "redo_without_dp": secure.redo_without_dp,
    }


def _set_port(file: Path, port: int) -> None:
    import tomli_w

    from fedlearn.config import toml_file

    values = toml_file(file)
    values["link"]["port"] = port
    file.write_text(tomli_w.dumps(values), encoding="utf-8")
