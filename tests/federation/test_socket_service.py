"""The agent's socket: peers, sizes, permissions, and a hundred thousand hostile messages."""

from __future__ import annotations

import os
import random
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from fedlearn.crypto.identity import SigningKey
from fedlearn.errors import ConfigError, FedLearnError
from fedlearn.federation import frames, terms
from fedlearn.federation.envelope import open_envelope, seal
from fedlearn.federation.relay import relay
from fedlearn.federation.roster import FederationRoster
from fedlearn.federation.site.socket_service import SocketService, listen, user_and_group
from fedlearn.rounds import messages
from fedlearn.rounds.transport import Lost, Message
from tests.federation.mutations import framed, mutated, send

FUZZED = 100_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "agent.sock"


class Serving:
    """An echoing service on a socket."""

    def __init__(self, path: Path, **changes: object) -> None:
        settings: dict[str, object] = {
            "handler": self._handle,
            "users": frozenset({os.geteuid()}),
            "max_bytes": 1000,
            "seconds": 60.0,
            "overdue": lambda: None,
        }
        self.handled: list[Message] = []
        self.service = SocketService(**{**settings, **changes})  # type: ignore[arg-type]
        self.listener = listen(path)
        self.thread = threading.Thread(target=self.service.serve, args=(self.listener,), daemon=True)
        self.thread.start()

    def _handle(self, message: Message) -> Message:
        self.handled.append(message)
        return message

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(10)
        self.service.close()


@pytest.fixture
def serve(path: Path) -> Iterator[Callable[..., Serving]]:
    running: list[Serving] = []

    def start(**changes: object) -> Serving:
        running.append(Serving(path, **changes))
        return running[-1]

    yield start
    for one in running:
        one.close()


def test_an_allowed_user_is_answered(path: Path, serve: Callable[..., Serving]) -> None:
    serve()
    message = Message(client="oslo", body=b"hello", vectors=(np.arange(3, dtype=np.float32),))
    answer = relay(message, address=str(path))
    assert isinstance(answer, Message)
    assert answer.body == b"hello"


def test_another_user_is_not(path: Path, serve: Callable[..., Serving]) -> None:
    serving = serve(users=frozenset({os.geteuid() + 12345}))
    assert isinstance(relay(Message(client="oslo", body=b"hello"), address=str(path)), Lost)
    assert serving.handled == []


def test_an_oversized_message_is_refused_from_its_header(path: Path, serve: Callable[..., Serving]) -> None:
    serving = serve()
    big = Message(client="oslo", body=b"", vectors=(np.zeros(1000, dtype=np.float32),))
    assert isinstance(relay(big, address=str(path)), Lost)
    assert serving.handled == []
    assert isinstance(relay(Message(client="oslo", body=b"x"), address=str(path)), Message)


def test_the_socket_is_for_its_owner_alone(path: Path, serve: Callable[..., Serving]) -> None:
    serve()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_second_agent_is_refused_and_a_stale_socket_replaced(path: Path) -> None:
    first = listen(path)
    with pytest.raises(ConfigError, match="listens at"):
        listen(path)
    first.close()
    listen(path).close()


def test_a_path_too_long_for_a_socket_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="shorter"):
        listen(tmp_path / ("x" * 120))


def test_an_unknown_user_is_said() -> None:
    with pytest.raises(ConfigError, match="no user of this machine"):
        user_and_group("nobody-of-that-name")
    assert user_and_group(None) == (os.geteuid(), None)


def test_a_request_that_takes_too_long_ends_the_process(path: Path, serve: Callable[..., Serving]) -> None:
    ended = threading.Event()

    def slow(message: Message) -> Message:
        assert ended.wait(10)
        return message

    serve(seconds=1e-3, overdue=ended.set, handler=slow)
    relay(Message(client="oslo", body=b""), address=str(path))
    assert ended.is_set()


class Bytes:
    """A connection whose other side has sent some bytes and closed."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)

    def recv_into(self, buffer: memoryview) -> int:
        count = min(len(buffer), len(self._data))
        buffer[:count] = self._data[:count]
        self._data = self._data[count:]
        return count


def valid_frame() -> bytes:
    return framed(Message(client="oslo", body=b"body", vectors=(np.arange(4, dtype=np.float32),)))


def fuzz(data: bytes, decode: Callable[[bytes], object], *, count: int, seed: int) -> int:
    """Returns how many of the mutations were refused by name; anything else would raise."""
    rng, refused = random.Random(seed), 0  # noqa: S311  # science
    for _ in range(count):
        try:
            decode(mutated(data, rng))
        except (FedLearnError, EOFError):
            refused += 1
    return refused


def decoders() -> dict[str, tuple[bytes, Callable[[bytes], object]]]:
    key = SigningKey.from_bytes(b"k" * 32)
    proposal = terms.Proposal(
        run="r", attempt=1, experiment="name='a'", roster=b"r" * 32, sizes={"a": 1}, schema=terms.Schema()
    )
    sealed, _ = seal(Message(client="oslo", body=b"b"), kind="site", key=key, clock=lambda: 1.0)
    roster = FederationRoster(name="n", version=1, server=key.public, members={}).sign(key)
    return {
        "frame": (valid_frame(), lambda data: frames.receive(Bytes(data), max_bytes=10**6)),
        "envelope": (
            sealed.body,
            lambda data: open_envelope(Message(client="oslo", body=data), author=key.public),
        ),
        "site request": (terms.encode(proposal), terms.decode_request),
        "site reply": (terms.encode(terms.Acceptance(run="r")), terms.decode_reply),
        "round request": (
            messages.encode(messages.SecureRequest(run="r", round=0, payload=b"p")),
            messages.decode_request,
        ),
        "round reply": (messages.encode(messages.Failure(run="r", round=0, code="c")), messages.decode_reply),
        "roster": (roster, lambda data: FederationRoster.open(data, consortium=key.public)),
    }


@pytest.mark.parametrize("count", [FUZZED // 10, pytest.param(FUZZED, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", sorted(decoders()))
def test_fuzzed_bytes_are_refused_by_name_at_every_decoder(name: str, count: int) -> None:
    data, decode = decoders()[name]
    decode(data)
    assert fuzz(data, decode, count=count, seed=7) > count // 4


@pytest.mark.parametrize("count", [300, pytest.param(FUZZED, marks=pytest.mark.slow)])
def test_a_fuzzed_socket_goes_on_answering(path: Path, serve: Callable[..., Serving], count: int) -> None:
    serve(stall=5.0)
    rng, data = random.Random(3), valid_frame()  # noqa: S311  # science
    for _ in range(count):
        send(mutated(data, rng), str(path))
    assert isinstance(relay(Message(client="oslo", body=b"still there"), address=str(path)), Message)


def test_a_deeply_nested_message_is_refused() -> None:
    nested = b"\x91" * 100_000
    for decode in (terms.decode_request, terms.decode_reply):
        with pytest.raises(FedLearnError):
            decode(nested)
    with pytest.raises(FedLearnError):
        open_envelope(Message(client="oslo", body=nested), author=b"k" * 32)
