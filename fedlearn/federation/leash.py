"""Runs a command and ends everything that it started: ``python -m fedlearn.federation.leash COMMAND…``.

``flwr run`` starts a SuperLink that detaches itself and stays for ever; that one starts a
simulation, and Ray its own daemons. The leash makes itself the process that orphans are handed to
(Linux: child subreaper), so all of them remain its descendants, whatever they do to detach. When the
command ends, when SIGTERM or SIGINT comes, or when the pipe given with ``--lifeline`` closes
because its writer died, it ends every descendant: SIGTERM, a grace period, SIGKILL.

It imports nothing of fedlearn and nothing heavy.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from types import FrameType

GRACE_SECONDS = 10.0
INTERRUPTED = 130

_PR_SET_CHILD_SUBREAPER = 36
_TICK_SECONDS = 0.05


class _Ended(Exception):
    """The leash was told to end."""


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code, or 130 if it was cut short."""
    parser = argparse.ArgumentParser(description="Runs a command and ends everything that it started.")
    parser.add_argument("--lifeline", action="store_true", help="end when standard input does")
    parser.add_argument("--grace", type=float, default=GRACE_SECONDS, help="seconds from SIGTERM to SIGKILL")
    parser.add_argument("--launcher", type=int, help="process id of whoever starts this")
    parser.add_argument(
        "--remove", metavar="FOLDER", help="remove the folder at the end if the launcher died"
    )
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args(arguments)
    adopt_orphans()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _end)
    try:
        child = subprocess.Popen(  # noqa: S603  # running the command given is what this program is for
            options.command, stdin=subprocess.DEVNULL, start_new_session=True
        )
        if options.lifeline:
            threading.Thread(target=_watch_lifeline, daemon=True).start()
        return _wait_for(child.pid)
    except _Ended:
        return INTERRUPTED
    except OSError as error:
        sys.stderr.write(f"cannot run {options.command[:1]}: {error}\n")
        return 127
    finally:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        end_descendants(grace=options.grace)
        if options.remove and os.getppid() != options.launcher:
            shutil.rmtree(options.remove, ignore_errors=True)


def adopt_orphans() -> None:
    """Has orphans among this process' descendants handed to it (Linux: child subreaper)."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_descendants(*, grace: float) -> None:
    """Ends every descendant of this process and reaps it; gives up on one that even SIGKILL does not end."""
    start = time.monotonic()
    told: set[int] = set()
    while (left := descendants(os.getpid())) and (spent := time.monotonic() - start) < 2 * grace:
        late = spent >= grace
        for pid in left if late else left - told:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL if late else signal.SIGTERM)
        told |= left
        time.sleep(_TICK_SECONDS)
        _reap()


def descendants(root: int) -> set[int]:
    """Returns the ids of all processes below ``root``, those included that have ended but are not reaped."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (parent := _parent(entry)) is not None:
            children.setdefault(parent, []).append(int(entry))
    found: set[int] = set()
    front = [root]
    while front:
        below = children.get(front.pop(), [])
        found.update(below)
        front.extend(below)
    return found


def _parent(pid: str) -> int | None:
    """Returns the id of a process' parent; None if it is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
            return int(stat.read().rpartition(")")[2].split()[1])
    except OSError:
        return None


def _wait_for(child: int) -> int:
    """Reaps whatever ends until ``child`` has; returns its exit code."""
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == child:
            return abs(os.waitstatus_to_exitcode(status))


def _reap() -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _end(number: int, frame: FrameType | None) -> None:
    raise _Ended


def _watch_lifeline() -> None:
    while os.read(0, 4096):  # not through sys.stdin: its lock would be held at interpreter shutdown
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
