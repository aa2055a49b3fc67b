"""A host that Ray keeps: keys made in place, frames in and out, and what it cannot do told as a value."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest

import fedlearn
from fedlearn.errors import ConfigError, DataError, MalformedMessage, RunDirectoryError, WorkerLost
from fedlearn.experiment import Experiment
from fedlearn.federation import frames
from fedlearn.federation.assignment import Assignment, Resident
from fedlearn.federation.cluster.host import ActorHost
from fedlearn.federation.cluster.relay import address_of
from fedlearn.federation.cluster.watched import WatchedTransport
from fedlearn.federation.conduct import check_conductible
from fedlearn.federation.relay import relay
from fedlearn.rounds.transport import Lost, Message
from tests.federation.message_strategies import assert_same

ECHO = "tests.federation.echo_residents:settle"
TOLD = Assignment(experiment="seed = 1", run="run-1")


@pytest.fixture
def host() -> ActorHost:
    made = ActorHost()
    made.enrol(["echo-1", "counting-2", "broken-3"])
    assert made.settle(TOLD, settle=ECHO, shared=False) is None
    return made


def test_keys_are_made_where_clients_live_and_only_public_halves_leave() -> None:
    host = ActorHost()
    enrolled = host.enrol(["a", "b"])
    assert enrolled.version == fedlearn.__version__
    assert enrolled.public == {name: key.public for name, key in host._keys.items()}
    secrets = [key.to_bytes() for key in host._keys.values()]
    assert not any(secret in repr(enrolled).encode() for secret in secrets)
    assert len(set(enrolled.public.values())) == 2


def test_residents_get_the_keys_that_were_made_here(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Assignment] = []

    def settle(told: Assignment) -> dict[str, Resident]:
        seen.append(told)
        return {}

    monkeypatch.setattr("tests.federation.echo_residents.settle", settle)
    host = ActorHost()
    host.enrol(["a"])
    assert host.settle(TOLD, settle=ECHO, shared=False) is None
    assert seen[0].keys == {"a": host._keys["a"].to_bytes()}
    assert seen[0].run == "run-1"


def test_an_answer_is_the_frame_that_a_socket_would_carry(host: ActorHost) -> None:
    request = Message(client="echo-1", body=b"body", vectors=(np.arange(5, dtype=np.uint32),))
    answer = frames.unpack(host.answer(frames.pack(request)))
    assert isinstance(answer, Message)
    assert_same(answer, request)


def test_a_client_keeps_its_state_from_one_frame_to_the_next(host: ActorHost) -> None:
    request = frames.pack(Message(client="counting-2", body=b""))
    bodies = [frames.unpack(host.answer(request)) for _ in range(3)]
    assert [body.body.split()[-1] for body in bodies if isinstance(body, Message)] == [b"1", b"2", b"3"]


@pytest.mark.parametrize("client", ["broken-3", "nobody"])
def test_what_goes_wrong_is_a_loss(host: ActorHost, client: str) -> None:
    answer = frames.unpack(host.answer(frames.pack(Message(client=client, body=b""))))
    assert answer == Lost(client=client, reason="failed")


@pytest.mark.parametrize(
    "frame", [b"", b"GET /", frames.pack(Lost(client="a", reason="failed")), b"FLF1\xff\xff\xff\xff"]
)
def test_what_is_no_request_is_refused(host: ActorHost, frame: bytes) -> None:
    with pytest.raises(MalformedMessage):
        host.answer(frame)


def test_an_error_of_settling_is_told_with_its_kind() -> None:
    host = ActorHost()
    host.enrol(["a"])
    failure = host.settle(TOLD, settle=f"{ECHO}_without_data", shared=False)
    assert failure is not None
    assert isinstance(failure.as_error(), DataError)
    assert failure.message == "clients ['a'] have no records"


def test_a_run_whose_clients_keep_something_needs_its_directory(tmp_path: Path) -> None:
    told = Assignment(experiment="seed = 1", run="run-1", directory=str(tmp_path))
    host = ActorHost()
    failure = host.settle(told, settle=ECHO, shared=True)
    assert failure is not None
    assert isinstance(failure.as_error(), RunDirectoryError)
    (tmp_path / "experiment.toml").write_text("seed = 2")  # another run's
    assert host.settle(told, settle=ECHO, shared=True) is not None
    (tmp_path / "experiment.toml").write_text("seed = 1")
    assert host.settle(told, settle=ECHO, shared=True) is None


def test_no_actor_is_reached_from_a_process_that_is_none_of_rays() -> None:
    address = address_of(namespace="fedlearn-1", name="host-0")
    assert relay(Message(client="a", body=b""), address=address) == Lost(client="a", reason="unreachable")


def lossy(reason: str) -> WatchedTransport:
    class Carrier:
        def exchange(
            self, requests: Iterable[Message], *, deadline: float | None = None
        ) -> Iterator[Message | Lost]:
            yield Message(client="a", body=b"")
            yield Lost(client="b", reason=reason)

    def check(seconds: float) -> None:
        assert seconds > 0
        raise WorkerLost("host-1 has ended")

    return WatchedTransport(Carrier(), check=check)


@pytest.mark.parametrize("reason", ["failed", "unreachable"])
def test_a_loss_is_looked_into(reason: str) -> None:
    answers = lossy(reason).exchange([])
    assert isinstance(next(answers), Message)
    with pytest.raises(WorkerLost, match="host-1"):
        next(answers)


def test_who_is_late_is_a_dropout() -> None:
    assert [answer.client for answer in lossy("timeout").exchange([])] == ["a", "b"]


def test_a_ledger_is_refused_on_a_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    experiment = Experiment.from_toml_text('[data]\ndataset = "breast-cancer"\npartition = { clients = 2 }')
    check_conductible(experiment, ledger=tmp_path)
    monkeypatch.setenv("RAY_ADDRESS", "local")
    check_conductible(experiment, ledger=tmp_path)
    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.1:6379")
    check_conductible(experiment)
    with pytest.raises(ConfigError, match=r"--ledger .*RAY_ADDRESS=192\.0\.2\.1:6379"):
        check_conductible(experiment, ledger=tmp_path)
