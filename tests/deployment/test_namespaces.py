"""Sites as hosts, set up by the operations page: a network namespace each, and bad wires between.

Every file and key comes from the commands of ``docs/operating.md``, its ``federation.toml`` included; only
the server's address and ports, one budget, the polling and the link's user are changed in it. Server and
sites are installed by their kits' ``install.sh``. The server listens on the loopback interface; what sites
reach in its place are the wires, with the kit's proxy behind them.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import ssl
import statistics
import subprocess
import sys
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tomli_w

from fedlearn.cli.submit import follow
from fedlearn.config import ExperimentConfig, toml_file
from fedlearn.errors import PreflightFailure
from fedlearn.experiment import Experiment
from fedlearn.federation.environment import free_ports
from fedlearn.federation.provisioning.kits import Kits
from fedlearn.federation.provisioning.units import SERVER as SERVER_HOME
from fedlearn.federation.site import standing
from fedlearn.federation.site.supervision import start_under_leash
from fedlearn.runs.result import Result
from fedlearn.simulation import simulate
from tests.deployment import installed
from tests.deployment.bad_network import Wire
from tests.deployment.machines import PATIENCE, Machines, until

pytestmark = [pytest.mark.engine, pytest.mark.deployment]

HERE = Path(__file__).parents[2]
QUICKSTART = HERE / "simulations" / "quickstart.toml"
NAMES = [f"client-{number}" for number in range(5)]
SERVER = "10.77.0.1"
DELAY_SECONDS = 0.005
"""One way: sites of one country."""
FEDLEARN = [sys.executable, "-m", "fedlearn.cli.main"]


def ip(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["ip", *words], capture_output=True, text=True, check=check)


def refused() -> str:
    """Returns why this machine cannot have namespaces; empty if it can."""
    if shutil.which("ip") is None:
        return "iproute2 is not installed"
    if os.geteuid() != 0:
        return "only root can make network namespaces"
    probe = f"fl-probe-{os.getpid()}"  # several workers of pytest ask at once
    made = ip("netns", "add", probe, check=False)
    if made.returncode:
        return f"network namespaces are not permitted: {made.stderr.strip()}"
    ip("netns", "del", probe)
    return ""


REFUSED = refused()
NGINX = shutil.which("nginx")
"""The kit's proxy is put before the server where it is installed."""


@pytest.fixture(scope="module")
def network() -> Iterator[None]:
    """A bridge with the server's address, and one namespace per site behind it."""
    remove_network()  # that of a test that was killed
    try:
        ip("link", "add", "fl-bridge", "type", "bridge")
        ip("addr", "add", f"{SERVER}/24", "dev", "fl-bridge")
        ip("link", "set", "fl-bridge", "up")
        for number, name in enumerate(NAMES):
            space, out = f"fl-{name}", f"fl-out{number}"
            ip("netns", "add", space)
            ip("link", "add", out, "type", "veth", "peer", "name", "eth0", "netns", space)
            ip("link", "set", out, "master", "fl-bridge", "up")
            ip("-n", space, "addr", "add", f"10.77.0.{10 + number}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                ip("-n", space, "link", "set", device, "up")
        yield
    finally:
        remove_network()


def remove_network() -> None:
    for name in NAMES:
        ip("netns", "del", f"fl-{name}", check=False)
    ip("link", "del", "fl-bridge", check=False)


def fedlearn(*words: object, inside: Sequence[str] = ()) -> str:
    """Runs a command of the page, ``inside`` of a host if told how to enter it; returns what it printed."""
    done = subprocess.run(
        [*inside, *FEDLEARN, *map(str, words)], capture_output=True, text=True, check=False, cwd=HERE
    )
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


def listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def provisioned(folder: Path, port: int, public_port: int) -> Kits:
    """Returns the kits that the page's steps 1 and 2 make."""
    page = (HERE / "docs" / "operating.md").read_text(encoding="utf-8")
    text = next(
        block for block in re.findall(r"```toml\n(.*?)```", page, re.DOTALL) if "[site.data]" in block
    )
    for written, here in (
        ('"fl.example.org"', f'"{SERVER}"'),
        ("\nport = 9092", f"\nport = {port}"),
        ("public_port = 443", f"public_port = {public_port}"),
        ("max_epsilon = 3.0", "max_epsilon = 60.0"),
    ):
        assert written in text
        text = text.replace(written, here)
    hurried = "\n[site.link]\nfast_poll = true\nwarm = true\n"
    (folder / "federation.toml").write_text(text + hurried, encoding="utf-8")
    fedlearn("provision", folder / "federation.toml", "--out", folder / "kits")
    kits = Kits.open(folder / "kits")
    for name in NAMES:
        fedlearn("site", "keygen", "--config", kits.site(name) / "site.toml", "--request", folder / "request")
        fedlearn("provision", "sign", folder / "request", "--kits", kits.folder)
    return kits


class Hosts(Machines):
    """Machines that are installed in views of their own, the sites in network namespaces too."""

    def _start(self, name: str) -> Any:
        host = "server" if name == "proxy" else name  # they share it
        kit, lib = self.folder(host), self.lib(host)
        lib.mkdir(mode=0o755, exist_ok=True)
        command = installed.proxy(kit, lib) if name == "proxy" else installed.command(kit, lib)
        space = ["unshare", "--mount"] if host == "server" else ["ip", "netns", "exec", f"fl-{name}"]
        with (kit / "log.txt").open("ab") as output:
            return start_under_leash([*space, *command], environment=dict(os.environ), output=output)

    @property
    def runs(self) -> Path:
        return self.lib("server") / "fedlearn-server" / "state" / "runs"

    def operate(self, command: str, *words: object) -> str:
        """Runs a command on the server's host as the server's user; returns what it printed."""
        file = Path(SERVER_HOME) / "server.toml"
        view = next(pid for pid in self.pids("server") if Path(f"/proc/{pid}/root{file}").exists())
        user = (self.lib("server") / "fedlearn-server").stat()
        enter = ["nsenter", "--target", str(view), "--mount", "setpriv", "--clear-groups"]
        enter += ["--reuid", str(user.st_uid), "--regid", str(user.st_gid), "--no-new-privs"]
        return fedlearn(command, *words, "--config", file, inside=enter)

    def submit(self, config: ExperimentConfig | None = None) -> Path:
        experiment = self.lib("server") / "experiment.toml"
        experiment.write_text((config or self.federation.config).to_toml(), encoding="utf-8")
        return self.runs / self.operate("submit", experiment, "--detach").strip()

    def check(self, name: str) -> None:
        """Has a site checked before it is installed."""
        enter = ["ip", "netns", "exec", f"fl-{name}"]
        fedlearn("site", "check", "--config", self.folder(name) / "site.toml", inside=enter)

    def lib(self, name: str) -> Path:
        """Returns what is ``/var/lib`` on a host."""
        return self.federation.kits.folder.parent / f"lib-{name}"

    def settings(self, name: str, part: str) -> Path:
        """Returns the installed settings of one part of a site."""
        return self.lib(name) / {"agent": "fedlearn", "link": "fedlearn-link"}[part] / "site.toml"

    def given_up(self, site: str) -> int:
        """Returns how many answers Flower gave up: a connection broke as the server confirmed a part."""
        log = self.lib(site) / "fedlearn-link" / "state" / "supernode.log"
        return log.read_text(encoding="utf-8").count("Failed to send message")

    def is_connected(self, site: str) -> bool:
        """Returns whether ``fedlearn site status`` says so of both parts."""
        return all(
            subprocess.run(
                [*FEDLEARN, "site", "status", "--part", part, "--config", self.settings(site, part)],
                capture_output=True,
                check=False,
            ).returncode
            == 0
            for part in ("agent", "link")
        )


@pytest.fixture(scope="module")
def hosts(network: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Hosts, dict[str, Wire]]]:
    """A federation by the page, and the wire of each site."""
    port, public_port = free_ports(2)
    kits = provisioned(tmp_path_factory.mktemp("hosts"), port, public_port)
    reached = public_port if NGINX else port
    wires = {name: Wire(SERVER, reached, delay=DELAY_SECONDS, breaks_after=12) for name in NAMES}
    for name, wire in wires.items():
        file = kits.site(name) / "site.toml"
        values = toml_file(file)
        values["link"] |= {"superlink": f"{SERVER}:{wire.port}", "user": "fedlearn-link"}
        file.write_text(tomli_w.dumps(values), encoding="utf-8")
    found = Hosts(SimpleNamespace(kits=kits, warm=False))  # type: ignore[arg-type]
    fedlearn("server", "check", "--config", kits.server / "server.toml")
    try:
        found.start("server")
        until(lambda: "server ready" in (kits.server / "log.txt").read_text(), "the start of the server")
        if NGINX:
            found.start("proxy")
            until(lambda: listening(public_port), "the start of the proxy")
        with ThreadPoolExecutor() as pool:
            list(pool.map(found.check, NAMES))
        found.start(*NAMES)
        yield found, wires
    finally:
        found.stop()
        for wire in wires.values():
            wire.close()


@pytest.mark.skipif(bool(REFUSED), reason=REFUSED or "namespaces")
def test_a_federation_by_the_page_gives_the_accuracy_of_the_simulation(
    hosts: tuple[Hosts, dict[str, Wire]], tmp_path: Path
) -> None:
    machines, wires = hosts
    machines.await_connected()
    said = machines.operate("submit", QUICKSTART)
    run = machines.runs / Path(said.strip().splitlines()[-1]).name
    result = Result.load(run)
    config = ExperimentConfig.from_toml(QUICKSTART, settings=["baselines.local=false"])
    several = [accuracy_of(config, tmp_path / str(seed)) for seed in range(5)]
    spread = max(statistics.stdev(several), 0.01)
    assert abs(accuracy(result) - statistics.mean(several)) <= 6 * spread
    rounds = machines.rounds(run)
    assert [entry["survivors"] + len(entry["dropped"]) for entry in rounds] == [5] * 20
    assert all(entry["failure"] is None for entry in rounds)
    lost = Counter(site for entry in rounds for site in entry["dropped"])
    assert all(times <= machines.given_up(site) for site, times in lost.items())
    assert sum(wire.broken for wire in wires.values()) > 0
    assert fedlearn("verify", run).splitlines()[0].endswith("verified")


@pytest.mark.skipif(bool(REFUSED), reason=REFUSED or "namespaces")
@pytest.mark.parametrize(
    ("path", "may_use"),
    [
        ("/run/fedlearn/agent.sock", True),
        ("/var/lib/fedlearn-link/node.key", True),
        ("/var/lib/fedlearn-link/site.key", False),
        ("/var/lib/fedlearn/site.key", False),
        ("/var/lib/fedlearn/site.toml", False),
        ("/var/lib/fedlearn/state/ledger.sqlite", False),
    ],
)
def test_the_links_user_reaches_the_agents_socket_and_nothing_else(
    hosts: tuple[Hosts, dict[str, Wire]], path: str, may_use: bool
) -> None:
    machines, _ = hosts
    machines.await_connected("client-0")
    link, pid = machines.settings("client-0", "link").stat(), agent_pid(machines, "client-0")
    command = ["nsenter", "--target", str(pid), "--mount", "setpriv", "--clear-groups"]
    command += ["--reuid", str(link.st_uid), "--regid", str(link.st_gid), "test", "-w", path]
    assert link.st_uid != 0
    assert (subprocess.run(command, check=False).returncode == 0) == may_use


@pytest.mark.skipif(bool(REFUSED) or not NGINX, reason=REFUSED or "nginx is not installed")
@pytest.mark.parametrize("path", ["/", "/v1/control/get-login-details", "/v1/fleet/../control/list-runs"])
def test_the_proxy_lets_sites_through_and_nobody_else(
    hosts: tuple[Hosts, dict[str, Wire]], path: str
) -> None:
    machines, wires = hosts
    context = ssl.create_default_context(cafile=str(machines.folder("server") / "ca.crt"))
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"https://{SERVER}:{wires['client-0'].port}{path}", context=context)
    assert refused.value.code == 403
    refused.value.close()


def agent_pid(machines: Hosts, site: str) -> int:
    return int(standing.read(machines.settings(site, "agent").parent / "state", standing.AGENT)["pid"])


def accuracy_of(config: ExperimentConfig, folder: Path) -> float:
    """Returns the accuracy of one simulation: its noise, like the sites', is of the operating system."""
    simulate(Experiment(config=config), out=folder)
    return accuracy(Result.load(folder))


def accuracy(result: Result) -> float:
    value = result.final["accuracy"]
    assert value is not None
    return float(value)


@pytest.mark.skipif(bool(REFUSED), reason=REFUSED or "namespaces")
def test_a_cut_link_is_a_dropout_and_the_site_comes_back(hosts: tuple[Hosts, dict[str, Wire]]) -> None:
    machines, wires = hosts
    for wire in wires.values():
        wire.steady()  # five sites can lose one
    settings = [f"cohort.deadline_seconds={PATIENCE / 10}", "privacy.epsilon=10", "rounds=500"]
    config = ExperimentConfig.from_toml(QUICKSTART, settings=settings)
    run = machines.submit(config)
    machines.await_round(run, 1)
    ip("link", "set", "fl-out3", "down")
    wires["client-3"].cut()

    def lost() -> bool:
        return any("client-3" in entry["dropped"] for entry in machines.rounds(run))

    until(lost, "the dropout of client-3")
    wires["client-3"].mend()
    ip("link", "set", "fl-out3", "up")
    until(lambda: not machines.rounds(run)[-1]["dropped"], "the return of client-3")
    machines.operate("stop", run.name)
    machines.await_over(run)
    assert all(entry["failure"] is None for entry in machines.rounds(run))
    with pytest.raises(Exception, match="stopped after round"):
        follow(run, config, quiet=True)


@pytest.mark.skipif(bool(REFUSED), reason=REFUSED or "namespaces")
def test_the_check_says_when_the_server_cannot_be_reached(hosts: tuple[Hosts, dict[str, Wire]]) -> None:
    machines, wires = hosts
    wires["client-4"].cut()
    command = [*FEDLEARN, "site", "check", "--config", str(machines.folder("client-4") / "site.toml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wires["client-4"].mend()
    assert done.returncode == PreflightFailure.exit_code
    assert "server" in done.stdout
