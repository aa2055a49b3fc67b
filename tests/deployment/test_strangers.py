"""Who is not let in: strangers, the revoked, the wrong authority, an expired certificate."""

from __future__ import annotations

import datetime
import random
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import tomli_w

from fedlearn.cli.submit import follow
from fedlearn.config import toml_file
from fedlearn.crypto.identity import SigningKey
from fedlearn.errors import ProtocolError, RunError, SitesMissing, UnsafeFile
from fedlearn.federation import terms
from fedlearn.federation.envelope import open_envelope, seal
from fedlearn.federation.environment import free_ports
from fedlearn.federation.local import LocalFederation
from fedlearn.federation.private_files import read_signing_key
from fedlearn.federation.provisioning.certificates import new_authority, new_node_key
from fedlearn.federation.provisioning.kits import Kits
from fedlearn.federation.relay import relay
from fedlearn.federation.server import queue
from fedlearn.federation.server.config import ServerConfig
from fedlearn.federation.server.daemon import Daemon
from fedlearn.federation.server.preflight import check_server
from fedlearn.federation.site import standing
from fedlearn.federation.site.config import SiteConfig
from fedlearn.federation.terms import Inquiry, Refusal, SiteReply, Standing
from fedlearn.rounds.transport import Lost, Message
from tests.deployment.machines import Machines, until
from tests.federation.mutations import framed, mutated, resized, send
from tests.federation.sites import experiment

pytestmark = [pytest.mark.engine, pytest.mark.deployment]

NOW = datetime.datetime.now(datetime.UTC)


AGENT = "client-4"
BESIEGERS = 5
"""Connections at once; an agent takes eight."""


class Asked:
    """The agent of a site, asked by hand.

    Args:
      machines: with its site and its server's key.
    """

    def __init__(self, machines: Machines) -> None:
        config = SiteConfig.load(machines.folder(AGENT) / "site.toml")
        self.address = str(config.path(config.socket))
        self._experiment = machines.federation.config.to_toml()
        self._roster = machines.federation.kits.roster()
        self._server = read_signing_key(machines.folder("server") / "signing.key")

    def inquiry(self, *, key: SigningKey | None = None) -> Message:
        """Returns a question about the experiment, signed by the server unless another key is given."""
        question = Inquiry(run="by-hand", experiment=self._experiment, roster=self._roster.digest)
        message = Message(client=AGENT, body=terms.encode(question))
        return seal(message, kind="site", key=key or self._server, clock=time.time)[0]

    def answer(self, question: Message) -> SiteReply:
        """Returns the agent's answer, whose signature is checked."""
        answer = relay(question, address=self.address)
        assert isinstance(answer, Message)
        opened = open_envelope(answer, author=self._roster.members[AGENT].key)
        return terms.decode_reply(opened.message.body)


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    """A server without sites, which does not wait for long."""
    names = [f"client-{number}" for number in range(5)]
    server = {"wait_seconds": 5.0}
    folder = tmp_path_factory.mktemp("gate") / "kits"
    machines = Machines(
        LocalFederation.create(experiment(), folder, sites=names, server=server, fast_poll=True, warm=True)
    )
    try:
        machines.start("server")
        log = machines.federation.kits.server / "log.txt"
        until(lambda: "server ready" in log.read_text(), "the start of the server")
        yield machines
    finally:
        machines.stop()


def test_an_unregistered_node_is_refused_and_its_operator_told(gate: Machines) -> None:
    kit = gate.federation.kits.site("client-0")
    (kit / "node.key").write_bytes(new_node_key())
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
    run = gate.submit()
    with pytest.raises(SitesMissing, match="missing: client-0, client-1"):
        follow(run, gate.federation.config, quiet=True)
    assert queue.read(run).state == "failed"


def test_an_expired_certificate_is_found_before_and_at_the_start(gate: Machines, tmp_path: Path) -> None:
    copy = tmp_path / "kits"
    shutil.copytree(gate.federation.kits.folder, copy, ignore=shutil.ignore_patterns("run", "state"))
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
    return free_ports(1)[0]


def test_a_tampered_roster_is_refused(gate: Machines) -> None:
    kit = gate.folder("client-3")
    roster = bytearray((kit / "roster.bin").read_bytes())
    roster[len(roster) // 2] ^= 1
    (kit / "roster.bin").write_bytes(roster)
    gate.start("client-3")
    assert gate.await_event("client-3", "agent ended")["code"] == ProtocolError.exit_code
    assert not standing.ready(kit / "state")
    gate.kill("client-3")


def test_a_world_readable_key_is_refused(gate: Machines) -> None:
    (gate.folder("client-0") / "site.key").chmod(0o644)
    begun = len(gate.log("client-0"))
    gate.start("client-0")
    ended = gate.await_event("client-0", "agent ended", after=begun)
    assert ended["code"] == UnsafeFile.exit_code
    gate.kill("client-0")
    (gate.folder("client-0") / "site.key").chmod(0o600)


@pytest.fixture(scope="module")
def agent(gate: Machines) -> Iterator[Asked]:
    """An agent behind its socket, with nothing between the test and it."""
    gate.start(AGENT)
    gate.await_event(AGENT, "agent ready")
    yield Asked(gate)
    gate.kill(AGENT)


def test_an_agent_answers_the_server_once_and_nobody_else(gate: Machines, agent: Asked) -> None:
    question = agent.inquiry()
    assert isinstance(agent.answer(question), Standing)
    again = agent.answer(question)
    assert isinstance(again, Refusal)
    assert again.rule == "AlreadyAnswered"
    for hostile in (
        agent.inquiry(key=SigningKey.generate()),
        replace(agent.inquiry(), client="client-2"),
        replace(question, body=question.body[:-1]),
        replace(question, body=question.body[:-1] + bytes([question.body[-1] ^ 1])),
    ):
        assert isinstance(relay(hostile, address=agent.address), Lost)
    assert isinstance(agent.answer(agent.inquiry()), Standing)
    rejected = {line["error"] for line in gate.log(AGENT) if line["event"] == "message rejected"}
    assert rejected >= {"TamperedMessage", "UnknownClient"}


@pytest.mark.parametrize("count", [500, pytest.param(100_000, marks=pytest.mark.slow)])
def test_an_agent_goes_on_whatever_its_socket_is_sent(gate: Machines, agent: Asked, count: int) -> None:
    honest = framed(agent.inquiry())

    def besiege(seed: int) -> None:
        rng = random.Random(seed)  # noqa: S311  # science
        for _ in range(count // BESIEGERS):
            send(mutated(honest, rng), agent.address)

    with ThreadPoolExecutor(BESIEGERS) as besiegers:
        list(besiegers.map(besiege, range(BESIEGERS)))
    send(resized(honest, 2**32 - 1), agent.address)
    gate.await_event(AGENT, "connection dropped", error="MalformedMessage")
    assert isinstance(agent.answer(agent.inquiry()), Standing)


def test_a_revoked_site_is_not_let_in_again(gate: Machines) -> None:
    site, kit = "client-2", gate.folder("client-2")
    gate.start(site)
    gate.await_connected(site)
    before = (kit / "roster.bin").read_bytes()
    gate.end(site)
    gate.end("server")
    gate.federation.kits.revoke(site)
    (kit / "roster.bin").write_bytes(before)  # it goes on with the roster that it likes
    begun = len(gate.log(site))
    gate.start("server", site)
    ended = gate.await_event(site, "supernode ended", after=begun)
    assert "does not know the node key" in ended["reason"]
    run = gate.submit()
    with pytest.raises(SitesMissing) as missing:
        follow(run, gate.federation.config, quiet=True)
    assert site not in str(missing.value)
