"""Relay and resident hosts over real Unix sockets, with clients that misbehave."""

from __future__ import annotations

import os
import select
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from fedlearn.errors import MalformedMessage, RunError
from fedlearn.federation import assignment
from fedlearn.federation.assignment import Assignment
from fedlearn.federation.pool import HostPool
from fedlearn.federation.relay import relay
from fedlearn.rounds.transport import Lost, Message
from tests.federation.message_strategies import assert_same

SETTLE = "tests.federation.echo_residents:settle"


def whole(*names: str) -> Assignment:
    return Assignment(experiment="", run="run-1", keys=dict.fromkeys(names, b"secret-key"))


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., HostPool]]:
    pools: list[HostPool] = []

    def _start(*names: str, hosts: int = 1) -> HostPool:
        pool = HostPool(whole(*names), logs=tmp_path / "logs", hosts=hosts, settle=SETTLE)
        pools.append(pool.__enter__())
        return pool

    yield _start
    for pool in pools:
        pool.close()


def ask(pool: HostPool, name: str, *, seconds: float = 60.0, address: str | None = None) -> Message | Lost:
    message = Message(client=name, body=b"body", vectors=(np.arange(5, dtype=np.uint32),))
    return relay(message, address=address or pool.addresses[name], seconds=seconds)


def test_an_answer_comes_back_whole(start: Callable[..., HostPool]) -> None:
    answer = ask(start("echo-1"), "echo-1")
    assert isinstance(answer, Message)
    assert_same(answer, Message(client="echo-1", body=b"body", vectors=(np.arange(5, dtype=np.uint32),)))


def test_a_client_lives_in_one_process_over_all_messages(start: Callable[..., HostPool]) -> None:
    names = [f"counting-{index}" for index in range(4)]
    pool = start(*names, hosts=2)
    seen: dict[str, list[tuple[str, str, str]]] = {name: [] for name in names}
    for _ in range(3):
        for name in names:
            answer = ask(pool, name)
            assert isinstance(answer, Message)
            process, run, count = answer.body.decode().split()
            seen[name].append((process, run, count))
    assert all([count for _, _, count in answers] == ["1", "2", "3"] for answers in seen.values())
    homes = [{process for process, _, _ in answers} for answers in seen.values()]
    assert all(len(home) == 1 for home in homes)
    assert homes[0] == homes[2] != homes[1] == homes[3]
    assert set.union(*homes) == {str(pid) for pid in pool.pids}


def test_an_error_is_a_loss_and_its_text_stays_in_the_log(
    start: Callable[..., HostPool], tmp_path: Path
) -> None:
    pool = start("broken-1", "echo-1")
    assert ask(pool, "broken-1") == Lost(client="broken-1", reason="failed")
    assert isinstance(ask(pool, "echo-1"), Message)
    assert "broken as asked" in (tmp_path / "logs" / "host-0.log").read_text()


def test_a_silent_client_is_a_timeout(start: Callable[..., HostPool]) -> None:
    assert ask(start("mute-1"), "mute-1", seconds=0.05) == Lost(client="mute-1", reason="timeout")


def test_an_answer_in_anothers_name_is_a_loss(start: Callable[..., HostPool]) -> None:
    assert ask(start("liar-1"), "liar-1") == Lost(client="liar-1", reason="failed")


def test_a_client_that_lives_elsewhere_is_a_loss(start: Callable[..., HostPool]) -> None:
    pool = start("echo-1")
    assert ask(pool, "echo-2", address=pool.addresses["echo-1"]) == Lost(client="echo-2", reason="failed")


def test_the_death_of_a_host_loses_its_clients_only(start: Callable[..., HostPool]) -> None:
    pool = start("deadly-1", "echo-2", "echo-3", hosts=2)
    assert ask(pool, "deadly-1") == Lost(client="deadly-1", reason="failed")
    assert ask(pool, "echo-3") == Lost(client="echo-3", reason="unreachable")  # its neighbour
    assert isinstance(ask(pool, "echo-2"), Message)


def test_no_socket_is_unreachable(tmp_path: Path) -> None:
    lost = relay(Message(client="a", body=b""), address=str(tmp_path / "nobody.sock"))
    assert lost == Lost(client="a", reason="unreachable")


def test_nonsense_on_a_socket_harms_nobody(start: Callable[..., HostPool]) -> None:
    pool = start("echo-1")
    for nonsense in (b"", b"GET / HTTP/1.1\r\n\r\n", b"FLF1\xff\xff\xff\xff"):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(pool.addresses["echo-1"])
            connection.sendall(nonsense)
    assert isinstance(ask(pool, "echo-1"), Message)


@pytest.mark.parametrize("nonsense", [b"", b"HTTP/1.1 200 OK", b"FLF1\xff\xff\xff\xff"])
def test_a_host_that_answers_nonsense_is_a_loss(tmp_path: Path, nonsense: bytes) -> None:
    path = str(tmp_path / "s")

    def babble(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(2**16)
            connection.sendall(nonsense)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        host = threading.Thread(target=babble, args=(listener,))
        host.start()
        assert relay(Message(client="a", body=b""), address=path) == Lost(client="a", reason="failed")
        host.join()


def test_sockets_are_private_and_removed(start: Callable[..., HostPool]) -> None:
    pool = start("echo-1")
    folder = Path(pool.addresses["echo-1"]).parent
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    pool.close()
    assert not folder.exists()


def test_all_hosts_are_reaped(start: Callable[..., HostPool]) -> None:
    pool = start("echo-1", "mute-2", hosts=2)
    pids = pool.pids
    pool.close()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_hosts_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    script = f"""
import signal
from pathlib import Path
from fedlearn.federation.assignment import Assignment
from fedlearn.federation.pool import HostPool

whole = Assignment(experiment="", run="r", keys={{"echo-1": b""}})
with HostPool(whole, logs=Path({str(tmp_path)!r}), settle={SETTLE!r}) as pool:
    print(pool.pids[0], flush=True)
    signal.pause()
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        host = os.pidfd_open(pid)
        parent.send_signal(signal.SIGKILL)
    try:
        assert select.select([host], [], [], 30)[0], "the host outlived its parent"
    finally:
        os.close(host)


def test_a_host_that_cannot_start_says_why(tmp_path: Path) -> None:
    pool = HostPool(whole("a"), logs=tmp_path, settle="tests.federation.echo_residents:settle_without_data")
    with pytest.raises(
        RunError, match=r"exit code 3 .*DataError: clients \['a'\] have no records; see .*host-0.log"
    ):
        pool.__enter__()
    assert pool.pids == ()


def test_a_host_that_is_never_ready_is_not_waited_for(tmp_path: Path) -> None:
    pool = HostPool(
        whole("a"), logs=tmp_path, settle="tests.federation.echo_residents:settle_never", ready_seconds=0.5
    )
    with pytest.raises(RunError, match=r"not ready after 0.5 s; see .*host-\*.log"):
        pool.__enter__()


@pytest.mark.parametrize("data", [b"", b"\x01", b"\x05\0\0\0\xc1\xc1\xc1\xc1\xc1", b"\xff\xff\xff\xff"])
def test_an_assignment_that_is_none_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "assignment"
    path.write_bytes(data)
    with path.open("rb") as stream, pytest.raises(MalformedMessage):
        assignment.read(stream)


def test_an_assignment_survives_its_pipe(tmp_path: Path) -> None:
    told = Assignment(experiment="seed = 1", run="r", roster={"a": b"public"}, keys={"a": b"private"})
    with (tmp_path / "pipe").open("wb") as stream:
        assignment.write(stream, told)
    with (tmp_path / "pipe").open("rb") as stream:
        assert assignment.read(stream) == told


def test_keys_are_not_shown() -> None:
    assert "secret-key" not in repr(whole("a"))


def test_the_relay_imports_neither_torch_nor_data() -> None:
    script = (
        "import flwr.app, flwr.clientapp, sys; before = set(sys.modules);"
        "import fedlearn.federation.client_app;"
        "own = {name.split('.')[0] for name in set(sys.modules) - before};"
        "print(*sorted(own & {'torch', 'opacus', 'sklearn', 'scipy', 'ray', 'cryptography', 'pydantic'}));"
        "print(*sorted(name for name in sys.modules if name.startswith('fedlearn.')))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    heavy, own = done.stdout.split("\n")[:2]
    assert heavy == ""
    packages = {name.split(".")[1] for name in own.split()}
    assert packages == {"_types", "errors", "federation", "rounds"} & packages


def test_naming_the_package_does_not_load_flower() -> None:
    script = "import sys, fedlearn.federation.host; print('flwr' in sys.modules or 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
