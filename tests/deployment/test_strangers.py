"""Who is not let in: strangers, the revoked, the wrong authority, an expired certificate."""

from __future__ import annotations

import datetime
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import tomli_w

from fedlearn.config import toml_file
from fedlearn.errors import RunError, SitesMissing
from fedlearn.federation.provisioning.certificates import new_authority, new_node_key
from fedlearn.federation.provisioning.kits import Kits
from fedlearn.federation.server import queue
from fedlearn.federation.server.config import ServerConfig
from fedlearn.federation.server.daemon import Daemon
from fedlearn.federation.server.preflight import check_server
from fedlearn.federation.site import standing
from tests.deployment.machines import Machines, until
from tests.federation.sites import experiment

pytestmark = [pytest.mark.engine, pytest.mark.deployment]

NOW = datetime.datetime.now(datetime.UTC)


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    """A server without sites, which does not wait for long."""
    from fedlearn.federation.local import LocalFederation

    names = [f"client-{number}" for number in range(5)]
    server = {"wait_seconds": 5.0}
    folder = tmp_path_factory.mktemp("gate") / "kits"
    machines = Machines(LocalFederation.create(experiment(), folder, sites=names, server=server))
    try:
        machines.start("server")
        log = machines.federation.kits.server / "log.txt"
        until(lambda: "server ready" in log.read_text(), "the start of the server")
        yield machines
    finally:
        machines.stop()


def link_of(machines: Machines, site: str) -> dict[str, object]:
    return standing.read(machines.federation.kits.site(site) / "state", standing.LINK)


def test_an_unregistered_node_is_refused_and_its_operator_told(gate: Machines) -> None:
    kit = gate.federation.kits.site("client-0")
    (kit / "node.key").write_bytes(new_node_key()[0])
    gate.start("client-0")
    ended = gate.await_event("client-0", "supernode ended")
    assert ended["code"] == 1
    assert "does not know the node key" in ended["reason"]
    gate.kill("client-0")


def test_a_server_of_another_authority_is_not_believed(gate: Machines) -> None:
    kit = gate.federation.kits.site("client-1")
    (kit / "ca.crt").write_bytes(new_authority("evil", now=NOW).certificate)
    gate.start("client-1")
    ended = gate.await_event("client-1", "supernode ended")
    assert "certificate does not verify" in ended["reason"]
    gate.kill("client-1")


def test_missing_sites_are_named_with_an_exit_code(gate: Machines) -> None:
    from fedlearn.cli.submit import follow

    run = gate.submit()
    with pytest.raises(SitesMissing, match="missing: client-0, client-1"):
        follow(run, gate.federation.config, quiet=True)
    assert queue.read(run).state == "failed"


def test_an_expired_certificate_is_found_before_and_at_the_start(gate: Machines, tmp_path: Path) -> None:
    copy = tmp_path / "kits"
    shutil.copytree(gate.federation.kits.folder, copy)
    old = Kits(
        folder=copy,
        config=gate.federation.kits.config,
        now=lambda: NOW - datetime.timedelta(days=400),
    )
    old.renew_certificate()
    file = copy / "server" / "server.toml"
    values = toml_file(file)
    values["port"] = free_port()
    file.write_text(tomli_w.dumps(values))
    config = ServerConfig.load(file)
    found = next(one for one in check_server(config) if one.what == "certificate")
    assert not found.ok
    assert "expired" in found.detail
    with pytest.raises(RunError, match="expired"):
        Daemon(config, file=file).run()


def free_port() -> int:
    from fedlearn.federation.environment import free_ports

    return free_ports(1)[0]
