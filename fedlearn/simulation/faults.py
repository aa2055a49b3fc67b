"""Clients that vanish, as the configuration asks for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from fedlearn.config import FaultsConfig
from fedlearn.rounds.messages import ReceiptRequest, Request, SecureRequest, decode_request, encode
from fedlearn.rounds.transport import Message
from fedlearn.secagg.step import Step, step_of

Schedule = Callable[[str, int], Step | None]
"""(Client, round) → the step at which the client vanishes in that round; None if it stays."""

_VANISHING = {
    "advertise": Step.ADVERTISE,
    "share": Step.SHARE,
    "input": Step.INPUTS,
    "agree": Step.AGREE,
    "unmask": Step.UNMASK,
}
_ORDER = list(Step)


def schedule_of(config: FaultsConfig, *, seed: int) -> Schedule:
    """Returns who vanishes when; decided by the arguments alone, so that a resumed run loses the same."""

    def vanishes_at(client: str, round: int) -> Step | None:
        rng = np.random.default_rng([seed, 2, round, *client.encode()])
        if rng.random() >= config.dropout:
            return None
        if config.step == "any":
            return _ORDER[int(rng.integers(len(_VANISHING)))]
        return _VANISHING[config.step]

    return vanishes_at


class Dropouts:
    """Decides what of each request reaches its client: from the step at which it vanishes on, nothing.

    A message may have requests of two rounds; a client that is gone in one of them still gets what
    belongs to the other. ``ideal`` mode loses the clients that ``masked`` does.

    Args:
      vanishes_at: who vanishes when.
      secure: whether updates are summed securely; in the clear a round is one step, so that whoever
        vanishes at any is lost.
    """

    def __init__(self, vanishes_at: Schedule, *, secure: bool) -> None:
        self._vanishes_at = vanishes_at
        self._secure = secure

    def __call__(self, message: Message) -> Message | None:
        """Returns what reaches the client; None if nothing does."""
        request = decode_request(message.body)
        if isinstance(request, ReceiptRequest):  # the rounds are over
            return message
        here = not self._gone(message.client, request.round, self._step(request))
        if not isinstance(request, SecureRequest) or not request.ahead:
            return message if here else None
        if self._gone(message.client, request.round + 1, step_of(request.ahead)):
            return self._only_this_round(message, request) if here else None
        return message if here else self._only_next_round(message, request)

    def _step(self, request: Request) -> Step:
        if isinstance(request, SecureRequest):
            return step_of(request.payload)
        return Step.INPUTS if self._secure else Step.UNMASK

    def _gone(self, client: str, round: int, step: Step) -> bool:
        vanishes_at = self._vanishes_at(client, round)
        return vanishes_at is not None and _ORDER.index(step) >= _ORDER.index(vanishes_at)

    @staticmethod
    def _only_this_round(message: Message, request: SecureRequest) -> Message:
        body = encode(type(request)(run=request.run, round=request.round, payload=request.payload))
        return replace(message, body=body)

    @staticmethod
    def _only_next_round(message: Message, request: SecureRequest) -> Message:
        body = encode(SecureRequest(run=request.run, round=request.round + 1, payload=request.ahead))
        return replace(message, body=body, vectors=())
