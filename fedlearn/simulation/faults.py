"""Clients that vanish, as the configuration asks for."""

from __future__ import annotations

import numpy as np

from fedlearn.config import FaultsConfig
from fedlearn.rounds.messages import decode_request
from fedlearn.rounds.transport import Message

STEPS = ("advertise", "share", "input", "agree", "unmask")


class Dropouts:
    """Decides for each request whether its client is gone; once gone, it stays so for the round.

    Seed, round and client alone decide, so that a resumed run loses the same clients.

    Args:
      config: how often, and at which step.
      seed: the experiment's seed.
      steps: number of requests a client gets in a round: five with masking, else one.
    """

    def __init__(self, config: FaultsConfig, *, seed: int, steps: int) -> None:
        self._config = config
        self._seed = seed
        self._steps = steps
        self._asked: dict[tuple[int, str], int] = {}

    def __call__(self, request: Message) -> bool:
        """Returns whether the client of this request is gone."""
        if self._config.dropout == 0:
            return False
        round = decode_request(request.body).round
        step = self._asked.get((round, request.client), 0)
        self._asked = {key: count for key, count in self._asked.items() if key[0] == round}
        self._asked[round, request.client] = step + 1
        vanishes_at = self._vanishes_at(round, request.client)
        return vanishes_at is not None and step >= vanishes_at

    def _vanishes_at(self, round: int, client: str) -> int | None:
        rng = np.random.default_rng([self._seed, 2, round, *client.encode()])
        if rng.random() >= self._config.dropout:
            return None
        if self._config.step == "any":
            return int(rng.integers(self._steps))
        return min(STEPS.index(self._config.step), self._steps - 1)
