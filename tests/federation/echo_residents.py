"""Residents for tests, imported by a host: they echo, and do as their name says.

``mute-…`` never answers, ``broken-…`` raises, ``deadly-…`` ends its process, ``counting-…`` counts
its messages, ``liar-…`` answers in another's name; all others echo.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping

from fedlearn.errors import DataError
from fedlearn.federation.assignment import Assignment
from fedlearn.rounds.transport import Message


class Echo:
    def __init__(self, name: str, run: str) -> None:
        self.name = name
        self.run = run
        self.handled = 0

    def handle(self, message: Message) -> Message:
        self.handled += 1
        match self.name.split("-")[0]:
            case "mute":
                threading.Event().wait()
            case "broken":
                raise RuntimeError("broken as asked")
            case "deadly":
                os._exit(9)
            case "counting":
                return Message(client=self.name, body=f"{os.getpid()} {self.run} {self.handled}".encode())
            case "liar":
                return Message(client="someone-else", body=message.body)
        return Message(client=self.name, body=message.body, vectors=message.vectors)


def settle(assignment: Assignment) -> Mapping[str, Echo]:
    print("libraries may print")  # noqa: T201
    return {name: Echo(name, assignment.run) for name in assignment.keys}


def settle_without_data(assignment: Assignment) -> Mapping[str, Echo]:
    raise DataError(f"clients {sorted(assignment.keys)} have no records")


def settle_never(assignment: Assignment) -> Mapping[str, Echo]:
    threading.Event().wait()
    return {}
