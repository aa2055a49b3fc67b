"""When a program is started again: back-off as a function, and the loop over fake programs."""

from __future__ import annotations

import signal
import subprocess
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedlearn.federation.site.supervision import ACTIVATION_REFUSED, WINDOW_SECONDS, Backoff, Supervisor

REFUSED = f"Exit Code: 305 {ACTIVATION_REFUSED} Failed to activate SuperNode."


class Program:
    """Ends with a code at once, or when it is told to."""

    def __init__(self, code: int | None = None, *, stubborn: bool = False) -> None:
        self._ended = threading.Event()
        self._code = code or 0
        self.signals: list[int] = []
        self._stubborn = stubborn
        if code is not None:
            self._ended.set()

    def poll(self) -> int | None:
        return self._code if self._ended.is_set() else None

    def wait(self, timeout: float | None = None) -> int:
        if self._stubborn and timeout is not None:
            raise subprocess.TimeoutExpired("program", timeout)
        self._ended.wait()
        return self._code

    def send_signal(self, sig: int) -> None:
        self.signals.append(sig)
        if not self._stubborn:
            self._ended.set()

    def kill(self) -> None:
        self.signals.append(signal.SIGKILL)
        self._stubborn = False
        self._ended.set()


def test_flowers_window_is_waited_through_patiently() -> None:
    backoff = Backoff()
    waited = 0.0
    while waited < WINDOW_SECONDS:
        pause = backoff.after(exit_code=1, ran=1.5, said=REFUSED)
        assert pause.seconds <= 10.0
        assert "holds the place" in pause.reason
        waited += pause.seconds + 1.5
    for _ in range(6):
        pause = backoff.after(exit_code=1, ran=1.5, said=REFUSED)
    assert "revoked" in pause.reason


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("ssl: CERTIFICATE_VERIFY_FAILED [code: 2004]", "certificate does not verify"),
        ("[Errno 111] Connection refused", "is it up?"),
        ("Segmentation fault", "ended with code 1"),
    ],
)
def test_the_reason_is_read_from_what_the_program_said(said: str, words: str) -> None:
    backoff = Backoff()
    for _ in range(20):
        pause = backoff.after(exit_code=1, ran=1.5, said=said)
    assert words in pause.reason


def test_crashes_wait_longer_and_longer_and_a_steady_run_forgives() -> None:
    backoff = Backoff()
    assert [backoff.after(exit_code=1, ran=0.1).seconds for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert backoff.after(exit_code=-9, ran=300.0).seconds == 1.0


@given(st.lists(st.tuples(st.sampled_from(["", REFUSED]), st.floats(0, 1000)), max_size=50))
def test_a_pause_is_never_longer_than_a_minute_and_never_none(exits: list[tuple[str, float]]) -> None:
    backoff = Backoff()
    for said, ran in exits:
        assert 1.0 <= backoff.after(exit_code=1, ran=ran, said=said).seconds <= 60.0


def supervised(*programs: Program) -> tuple[Supervisor, list[tuple[str, str]], threading.Thread]:
    changes: list[tuple[str, str]] = []
    coming = iter(programs)
    last = threading.Event()

    def start() -> Program:
        program = next(coming)
        if program is programs[-1]:
            last.set()
        return program

    supervisor = Supervisor(
        "program",
        start,
        backoff=Backoff(first=1e-3, most=1e-3, window=1e-3),
        changed=lambda state, reason: changes.append((state, reason)),
    )
    thread = threading.Thread(target=supervisor.run)
    thread.start()
    assert last.wait(10)
    return supervisor, changes, thread


def test_what_ends_is_started_again_until_told_to_stop() -> None:
    last = Program()
    supervisor, changes, thread = supervised(Program(1), Program(-9), last)
    supervisor.stop()
    thread.join(10)
    assert not thread.is_alive()
    assert supervisor.restarts == 2
    assert [state for state, _ in changes] == ["running", "waiting", "running", "waiting", "running"]
    assert last.signals == [signal.SIGTERM]


def test_a_program_is_not_started_before_it_is_of_use() -> None:
    changes: list[tuple[str, str]] = []
    answers = iter([False, False, True])
    started = threading.Event()
    program = Program()

    def start() -> Program:
        started.set()
        return program

    supervisor = Supervisor(
        "program", start, ready=lambda: next(answers, True), changed=lambda *change: changes.append(change)
    )
    thread = threading.Thread(target=supervisor.run)
    thread.start()
    assert started.wait(10)
    supervisor.stop()
    thread.join(10)
    assert changes == [("waiting", "the server does not answer: is it up?"), ("running", "")]


def test_what_does_not_end_is_killed() -> None:
    last = Program(stubborn=True)
    supervisor, _, thread = supervised(last)
    supervisor.stop(grace=0.0)
    thread.join(10)
    assert last.signals == [signal.SIGTERM, signal.SIGKILL]
