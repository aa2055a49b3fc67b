"""Answers that the parties of a simulation share, so that each is worked out once.

The two ends of a pair agree on one secret, and a cohort checks one signature many times: a machine that
is all of these parties need not compute it anew for each. What is shared is the answer to the very same
question, so that every party computes what it would alone. A real site shares nothing.

>>> answers = SharedAnswers(np.zeros((64, ROW_BYTES), np.uint8))
>>> with sharing(answers):
...     [shared_result((b"a question",), lambda: bytes(32)) == bytes(32) for _ in range(2)]
[True, True]
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from fedlearn.crypto.framing import frame

ANSWER_BYTES: Final = 32
ROW_BYTES: Final = 3 * ANSWER_BYTES
_NEAR: Final = 4
_WINDOW: Final = _NEAR * ROW_BYTES
_MOST_KNOWN: Final = 8192
_LATEST: Final = 4

Value = TypeVar("Value")


class SharedAnswers:
    """A table of questions and answers in memory that forked processes may share; no lock is needed.

    A row holds the name of a question, its answer, and a hash of both: a row that another process is
    writing does not verify, and counts as unknown. Where four rows in a row are taken, the first is
    written over.

    Args:
      rows: shape (n, ROW_BYTES), bytes, n > 4; zeros at first.
    """

    def __init__(self, rows: NDArray[np.uint8]) -> None:
        self._bytes = rows.reshape(-1).data
        self._starts = len(rows) - _NEAR
        self._known: dict[tuple[bytes, ...], bytes] = {}
        self._latest: deque[tuple[object, object]] = deque(maxlen=_LATEST)
        self._vector: NDArray[Any] = np.empty(0)
        self._digest = b""

    def secret(self, question: bytes, work: Callable[[], bytes]) -> bytes:
        """Returns an answer that two parties ask for; the second one erases it."""
        name = _name(question)
        window = self._window(name)
        at = window.find(name)
        if at >= 0 and (answer := _answer_in(window[at : at + ROW_BYTES])) is not None:
            self._write(name, at, bytes(ROW_BYTES))
            return answer
        return self._noted(name, window, work())

    def public(self, question: tuple[bytes, ...], work: Callable[[], bytes]) -> bytes:
        """Returns an answer that anybody may know and many ask for; this process remembers the latest."""
        answer = self._known.get(question)
        if answer is None:
            name = _name(frame("", *question))
            window = self._window(name)
            at = window.find(name)
            answer = None if at < 0 else _answer_in(window[at : at + ROW_BYTES])
            answer = self._noted(name, window, work()) if answer is None else answer
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[question] = answer
        return answer

    def value(self, question: object, work: Callable[[], Value]) -> Value:
        """Returns the answer to an equal question that this process worked out lately, or works it out."""
        for asked, answer in self._latest:
            if asked == question:
                return cast(Value, answer)
        found = work()
        self._latest.appendleft((question, found))
        return found

    def digest_of(self, vector: NDArray[Any]) -> bytes:
        """Returns SHA-256 of a vector's bytes; of the one that this process hashed last, without hashing."""
        raw = vector.view(np.uint8)
        if not np.array_equal(raw, self._vector):
            self._vector, self._digest = raw.copy(), hashlib.sha256(raw.data).digest()
        return self._digest

    def _noted(self, name: bytes, window: bytes, answer: bytes) -> bytes:
        # The first byte of a name is never 0.
        free = next((start for start in range(0, _WINDOW, ROW_BYTES) if not window[start]), 0)
        self._write(name, free, name + answer + _check(name, answer))
        return answer

    def _window(self, name: bytes) -> bytes:
        start = self._start(name)
        return bytes(self._bytes[start : start + _WINDOW])

    def _write(self, name: bytes, at: int, row: bytes) -> None:
        start = self._start(name) + at
        self._bytes[start : start + ROW_BYTES] = row

    def _start(self, name: bytes) -> int:
        return int.from_bytes(name[1:8], "big") % self._starts * ROW_BYTES


_shared: ContextVar[SharedAnswers | None] = ContextVar("shared answers", default=None)


@contextmanager
def sharing(answers: SharedAnswers | None) -> Iterator[None]:
    """Shares answers inside, and in processes that are forked inside; None shares nothing."""
    token = _shared.set(answers)
    try:
        yield
    finally:
        _shared.reset(token)


def shared_secret(question: bytes, work: Callable[[], bytes]) -> bytes:
    """Returns an answer of 32 secret bytes, which two parties ask for, from whoever has worked it out.

    Args:
      question: says all that the answer depends on.
      work: works it out; what it raises is raised, and nothing is noted.
    """
    answers = _shared.get()
    return work() if answers is None else answers.secret(question, work)


def shared_result(question: tuple[bytes, ...], work: Callable[[], bytes]) -> bytes:
    """Returns an answer of 32 bytes, which anybody may know, from whoever has worked it out.

    Args:
      question: says all that the answer depends on.
      work: works it out; what it raises is raised, and nothing is noted.
    """
    answers = _shared.get()
    return work() if answers is None else answers.public(question, work)


def shared_value(question: object, work: Callable[[], Value]) -> Value:
    """Returns a value that nobody changes and all parties of a process may know, worked out once for them.

    Args:
      question: says all that the value depends on, and is compared by equality.
      work: works it out; what it raises is raised, and nothing is noted.
    """
    answers = _shared.get()
    return work() if answers is None else answers.value(question, work)


def digest_of(vector: NDArray[Any]) -> bytes:
    """Returns SHA-256 of a contiguous vector's bytes."""
    answers = _shared.get()
    return hashlib.sha256(vector.data).digest() if answers is None else answers.digest_of(vector)


def _name(question: bytes) -> bytes:
    return b"\1" + hashlib.sha256(question).digest()[1:]


def _check(name: bytes, answer: bytes) -> bytes:
    return hashlib.sha256(name + answer).digest()


def _answer_in(row: bytes) -> bytes | None:
    name, answer = row[:ANSWER_BYTES], row[ANSWER_BYTES : 2 * ANSWER_BYTES]
    return answer if row[2 * ANSWER_BYTES :] == _check(name, answer) else None
