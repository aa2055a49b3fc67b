"""Sites as hosts of their own: a network namespace each, a bridge between, and a link that is cut."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedlearn.cli.submit import follow
from tests.deployment.machines import Machines, until
from tests.federation.sites import EXPERIMENT, experiment

pytestmark = [pytest.mark.engine, pytest.mark.deployment]

NAMES = [f"client-{number}" for number in range(5)]
SERVER = "10.77.0.1"


def ip(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["ip", *words], capture_output=True, text=True, check=check)


def refused() -> str:
    """Returns why this machine cannot have namespaces; empty if it can."""
    if shutil.which("ip") is None:
        return "iproute2 is not installed"
    if os.geteuid() != 0:
        return "only root can make network namespaces"
    made = ip("netns", "add", "fl-probe", check=False)
    if made.returncode:
        return f"network namespaces are not permitted: {made.stderr.strip()}"
    ip("netns", "del", "fl-probe")
    return ""


REFUSED = refused()


def has_netem() -> bool:
    """Returns whether the kernel can delay and lose packets."""
    made = subprocess.run(
        ["tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "0ms"], capture_output=True, check=False
    )
    if made.returncode == 0:
        subprocess.run(["tc", "qdisc", "del", "dev", "lo", "root"], capture_output=True, check=True)
    return made.returncode == 0


@pytest.fixture(scope="module")
def network() -> Iterator[None]:
    """A bridge with the server's address, and one namespace per site behind it."""
    try:
        ip("link", "add", "fl-bridge", "type", "bridge")
        ip("addr", "add", f"{SERVER}/24", "dev", "fl-bridge")
        ip("link", "set", "fl-bridge", "up")
        for number, name in enumerate(NAMES):
            ip("netns", "add", f"fl-{name}")
            ip(
                "link",
                "add",
                f"fl-out{number}",
                "type",
                "veth",
                "peer",
                "name",
                "eth0",
                "netns",
                f"fl-{name}",
            )
            ip("link", "set", f"fl-out{number}", "master", "fl-bridge", "up")
            ip("-n", f"fl-{name}", "addr", "add", f"10.77.0.{10 + number}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                ip("-n", f"fl-{name}", "link", "set", device, "up")
        yield
    finally:
        for name in NAMES:
            ip("netns", "del", f"fl-{name}", check=False)
        ip("link", "del", "fl-bridge", check=False)


class Hosts(Machines):
    """Machines whose sites run in namespaces of their own."""

    def start(self, *names: str) -> None:
        import sys

        from fedlearn.federation.site.supervision import start_under_leash

        for name in names or ("server", *self.sites):
            if name == "server":
                super().start("server")
                continue
            command = ["ip", "netns", "exec", f"fl-{name}", sys.executable, "-m", "fedlearn.cli.main"]
            command += ["site", "run", "--config", str(self.federation.site_file(name))]
            with (self.federation.kits.site(name) / "log.txt").open("ab") as output:
                self.processes[name] = start_under_leash(command, environment=dict(os.environ), output=output)


@pytest.mark.skipif(bool(REFUSED), reason=REFUSED or "namespaces")
def test_hosts_apart_train_and_a_cut_link_is_a_dropout(network: None, tmp_path: Path) -> None:
    from fedlearn.federation.local import LocalFederation

    config = experiment(
        rounds=6,
        data={**EXPERIMENT["data"], "declared_size": 79},
        cohort={"deadline_seconds": 60.0},
    )
    server = {"names": [SERVER], "host": SERVER}
    federation = LocalFederation.create(config, tmp_path / "kits", sites=NAMES, server=server, fast_poll=True)
    hosts = Hosts(federation)
    try:
        if has_netem():
            for number in range(len(NAMES)):
                device = f"fl-out{number}"
                subprocess.run(
                    ["tc", "qdisc", "add", "dev", device, "root", "netem", "delay", "40ms", "loss", "1%"],
                    check=True,
                )
        hosts.start()
        run = hosts.submit()
        hosts.await_round(run, 1)
        ip("link", "set", "fl-out3", "down")
        until(lambda: any("client-3" in entry["dropped"] for entry in hosts.rounds(run)), "the dropout")
        ip("link", "set", "fl-out3", "up")
        follow(run, config, quiet=True)
        assert all(entry["failure"] is None for entry in hosts.rounds(run))
        assert hosts.rounds(run)[0]["survivors"] == 5
    finally:
        hosts.stop()
