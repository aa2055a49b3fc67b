"""A Flower grid in memory whose network misbehaves as told, and a clock that only waiting moves."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any
from uuid import uuid4

from flwr.app import Error, RecordDict
from flwr.app import Message as FlowerMessage
from flwr.supercore.task_identity import TaskIdentity

from fedlearn.federation.records import decode_errand, encode_reply
from fedlearn.rounds.transport import Lost, Message

Client = Callable[[FlowerMessage], list[FlowerMessage]]


class Clock:
    """Seconds that pass only while someone sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class FakeGrid:
    """Delivers each request at once to its client's function, and the replies when they are pulled.

    Args:
      clients: client id → function from a request to any number of replies; others echo.
      nodes: node ids.
      batch: how many replies one pull returns, newest first.
    """

    def __init__(
        self, clients: dict[str, Client] | None = None, *, nodes: Iterable[int] = (7,), batch: int = 1000
    ) -> None:
        TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = 1, 1, 1
        self.clients = clients or {}
        self.nodes = list(nodes)
        self.batch = batch
        self.pushed: list[FlowerMessage] = []
        self.replies: list[FlowerMessage] = []
        self.most_unanswered = 0

    def get_node_ids(self) -> list[int]:
        return self.nodes

    def push_messages(self, messages: Iterable[FlowerMessage]) -> list[str]:
        ids = []
        for message in messages:
            message.metadata.__dict__["_message_id"] = str(uuid4())
            name = decode_errand(message.content).message.client
            client = self.clients.get(name, echo)
            if client is refuse:
                continue
            self.pushed.append(message)
            self.replies.extend(client(message))
            self.most_unanswered = max(self.most_unanswered, len(self.replies))
            ids.append(message.metadata.message_id)
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> list[FlowerMessage]:
        wanted = set(message_ids)
        here = [reply for reply in self.replies if reply.metadata.reply_to_message_id in wanted]
        taken = here[::-1][: self.batch]
        self.replies = [reply for reply in self.replies if not any(reply is one for one in taken)]
        return taken


def answer(message: FlowerMessage, reply: Message | Lost) -> FlowerMessage:
    return FlowerMessage(encode_reply(reply), reply_to=message)


def echo(message: FlowerMessage) -> list[FlowerMessage]:
    return [answer(message, decode_errand(message.content).message)]


def twice(message: FlowerMessage) -> list[FlowerMessage]:
    return echo(message) * 2


def silent(message: FlowerMessage) -> list[FlowerMessage]:
    return []


def refuse(message: FlowerMessage) -> list[FlowerMessage]:
    raise AssertionError("a refused message is never delivered")


def fail(message: FlowerMessage) -> list[FlowerMessage]:
    return [FlowerMessage(Error(code=3, reason="ClientApp raised"), reply_to=message)]


def lie(message: FlowerMessage) -> list[FlowerMessage]:
    return [answer(message, Message(client="someone-else", body=b""))]


def babble(message: FlowerMessage) -> list[FlowerMessage]:
    return [FlowerMessage(RecordDict(), reply_to=message)]


def lost(reason: str) -> Client:
    return lambda message: [
        answer(message, Lost(client=decode_errand(message.content).message.client, reason=reason))
    ]


def content_of(message: FlowerMessage) -> Any:
    return decode_errand(message.content)
