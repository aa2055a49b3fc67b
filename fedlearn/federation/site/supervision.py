"""When to start a program again: a state machine without processes or clocks, and the loop that drives it.

Flower keeps a SuperNode that vanished for 60 s and refuses to activate it again within them; whatever
goes wrong, its process ends with 1 and says why in its output. Being refused is no reason to give up,
and none to hurry.

>>> backoff = Backoff()
>>> [backoff.after(exit_code=1, ran=2.0, said="[code: 2004] Failed to activate").seconds for _ in range(3)]
[1.0, 2.0, 4.0]
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Protocol

from fedlearn.federation.site.journal import told

ACTIVATION_REFUSED = "[code: 2004]"
"""What Flower 1.41 writes when the server does not activate a SuperNode, whatever the reason."""

UNVERIFIED = "CERTIFICATE_VERIFY_FAILED"
REFUSED_CONNECTION = "Connection refused"
LOOK_SECONDS = 0.5
WINDOW_SECONDS = 60.0
GRACE_SECONDS = 20.0


@dataclass(frozen=True, kw_only=True)
class Pause:
    """How long to wait before the next start, and why."""

    seconds: float
    reason: str


@dataclass(kw_only=True)
class Backoff:
    """Decides how long to wait after an exit.

    Attributes:
      first: seconds after the first crash; each further one doubles it.
      most: longest wait.
      steady: a program that ran this long had started well: counting begins anew.
      window: longest wait between attempts within Flower's window; the first is a fifth of it.
    """

    first: float = 1.0
    most: float = 60.0
    steady: float = 120.0
    window: float = 5.0
    _crashes: int = field(default=0, init=False)
    _refusals: int = field(default=0, init=False)
    _refused: float = field(default=0.0, init=False)

    def after(self, *, exit_code: int, ran: float, said: str = "") -> Pause:
        """Returns the pause after a program ended.

        Args:
          exit_code: as of its process; negative for a signal.
          ran: seconds that it ran.
          said: the last of its output.
        """
        if ran >= self.steady:
            self._crashes, self._refusals, self._refused = 0, 0, 0.0
        refused = ACTIVATION_REFUSED in said and UNVERIFIED not in said
        if refused and self._refused < 1.5 * WINDOW_SECONDS:
            seconds = min(self.window, self.window / 5 * 2**self._refusals)
            self._refusals += 1
            self._refused += ran + seconds
            return Pause(seconds=seconds, reason=_WINDOW)
        self._crashes += 1
        known = next((reason for words, reason in _KNOWN.items() if words in said), "")
        return Pause(
            seconds=min(self.most, self.first * 2 ** (self._crashes - 1)),
            reason=known or f"it ended with code {exit_code}",
        )


_WINDOW = (
    "the server does not let it in: it holds the place of a SuperNode that ended for up to 60 s, or does not"
    " know the node key"
)
_KNOWN = {
    UNVERIFIED: "the server's certificate does not verify: wrong link.ca or name, expired, or the clock is"
    " off; `fedlearn site check` says which",
    ACTIVATION_REFUSED: "the server does not know the node key: not signed yet, revoked, or an old node.key",
    REFUSED_CONNECTION: "the server does not answer: is it up?",
}
"""Words in the output of a SuperNode → why it ended."""


class Process(Protocol):
    """What the loop needs of a running program."""

    def wait(self, timeout: float | None = None) -> int:
        """Returns the exit code."""
        ...

    def send_signal(self, sig: int) -> None:
        """Sends a signal."""
        ...

    def kill(self) -> None:
        """Ends it at once."""
        ...

    def poll(self) -> int | None:
        """Returns the exit code if it has ended."""
        ...


class Start(Protocol):
    """Starts a program."""

    def __call__(
        self, command: Sequence[str], *, environment: Mapping[str, str], output: IO[bytes] | None = None
    ) -> Process:
        """Returns the running program; it writes where this process does, or to ``output``."""
        ...


class Supervisor:
    """Keeps one program running until told to stop.

    Args:
      name: of the program, for the log.
      start: starts it.
      backoff: decides on pauses.
      changed: told of each change: "running", or "waiting" with the reason.
      said: returns the last of its output.
      ready: whether there is any use in starting it now.
      clock: seconds since anything.
    """

    def __init__(
        self,
        name: str,
        start: Callable[[], Process],
        *,
        backoff: Backoff | None = None,
        changed: Callable[[str, str], None] = lambda state, reason: None,
        said: Callable[[], str] = lambda: "",
        ready: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.restarts = 0
        self._name = name
        self._start = start
        self._backoff = backoff or Backoff()
        self._changed = changed
        self._said = said
        self._ready = ready
        self._clock = clock
        self._stopping = threading.Event()
        self._process: Process | None = None

    def run(self) -> None:
        """Starts the program, and again each time that it ends; returns after :meth:`stop`."""
        while self._await_ready():
            started = self._clock()
            self._process = self._start()
            self._changed("running", "")
            code = self._process.wait()
            if self._stopping.is_set():
                break
            pause = self._backoff.after(exit_code=code, ran=self._clock() - started, said=self._said())
            self.restarts += 1
            told(f"{self._name} ended", code=code, wait=pause.seconds, reason=pause.reason)
            self._changed("waiting", pause.reason)
            self._stopping.wait(pause.seconds)

    def _await_ready(self) -> bool:
        """Returns True once the program may start, False if it is to stop first."""
        if not self._stopping.is_set() and not self._ready():
            self._changed("waiting", _KNOWN[REFUSED_CONNECTION])
            while not self._stopping.is_set() and not self._ready():
                self._stopping.wait(LOOK_SECONDS)
        return not self._stopping.is_set()

    def stop(self, *, grace: float = GRACE_SECONDS) -> None:
        """Ends the program: SIGTERM, and SIGKILL if it has not ended after ``grace`` seconds."""
        self._stopping.set()
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(grace)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def start_under_leash(
    command: Sequence[str], *, environment: Mapping[str, str], output: IO[bytes] | None = None
) -> subprocess.Popen[bytes]:
    """Starts a program that ends, with all it started, when this process does.

    Args:
      command: the program.
      environment: its environment.
      output: where it writes; by default where this process does.
    """
    leashed = [sys.executable, "-m", "fedlearn.federation.leash", "--lifeline", "--grace", "10", *command]
    return subprocess.Popen(  # noqa: S603  # our own module, by full path
        leashed,
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=output,
        env=environment,
        start_new_session=True,
    )
