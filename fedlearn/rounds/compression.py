"""Compressed updates in a round: what a client sends instead of its update, and what the server makes of it.

Guarantee: under record-level DP with local noise everything here is post-processing. Compression sees the
update after the noise of each step; what error feedback keeps back is a function of such updates, of the
client's own coins and of nothing else, and all of them are charged whether or not they are sent. Where
noise is added after compression — by the cohort or by the server — only summable compressors without
error feedback are allowed: these lengthen no vector, so the clipping norm that the noise is made for holds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fedlearn._types import Vector
from fedlearn.compression.compressor import Compressor, Layout, Payload
from fedlearn.training.memory import Shelf

_UNSENT = "unsent"
_COINS = 22


class Training(Protocol):
    """Local training, before its result is compressed."""

    def train(self, params: Vector, *, round: int) -> Vector:
        """Returns local − global, float32."""
        ...


@dataclass(frozen=True, kw_only=True)
class Compression:
    """How the updates of a run travel; the same value at all its parties.

    Attributes:
      compressor: makes them shorter.
      dimension: length of an update, d.
      run: the run's id.
      error_feedback: whether clients send later what they have not sent.
    """

    compressor: Compressor
    dimension: int
    run: str
    error_feedback: bool = False

    @cached_property
    def layout(self) -> Layout:
        """The form of a payload."""
        return self.compressor.layout(self.dimension)

    def payload(self, update: Vector, *, round: int, coins: np.random.Generator) -> Payload:
        """Returns what a client sends for an update (d,)."""
        return self.compressor.compress(update, label=(self.run, round), coins=coins)

    def restored(self, payload: Payload, *, round: int) -> Vector:
        """Returns the update (d,) that a payload, or a sum of summable ones, stands for.

        Raises:
          MalformedMessage: it is no payload.
        """
        return self.compressor.restore(payload, dimension=self.dimension, label=(self.run, round))

    def addend(self, payload: Payload, *, round: int) -> Vector:
        """Returns what the server adds for a client: the payload itself where payloads add up."""
        return payload if self.compressor.summable else self.restored(payload, round=round)

    def released(self, aggregate: Vector, *, round: int) -> Vector:
        """Returns the aggregate as an update (d,), of full size unless error feedback makes up for it."""
        update = self.restored(aggregate, round=round) if self.compressor.summable else aggregate
        expansion = 1.0 if self.error_feedback else self.compressor.expansion(self.dimension)
        return update if expansion == 1.0 else update * np.float32(expansion)


@dataclass(frozen=True, kw_only=True)
class CompressedTrainer:
    """A client's training, and behind it its compression.

    With error feedback (Seide et al. 2014; Karimireddy et al. 2019, Algorithm 2) it sends the update and what
    it has not sent before, and keeps what that leaves unsent: over all rounds nothing is lost.

    Attributes:
      trainer: trains.
      compression: how its updates travel.
      client: the client's id; with ``seed`` and the round it fixes its coins.
      seed: the experiment's seed.
      shelf: where it keeps what it has not sent; used with error feedback only.
    """

    trainer: Training
    compression: Compression
    client: str
    seed: int
    shelf: Shelf = field(repr=False)

    def train(self, params: Vector, *, round: int) -> NDArray[Any]:
        """Returns the payload that stands for the round's update."""
        update = self.trainer.train(params, round=round)
        coins = np.random.default_rng([self.seed, _COINS, round, *self.client.encode()])
        if not self.compression.error_feedback:
            return self.compression.payload(update, round=round, coins=coins)
        update = update + self.shelf.recall(before=round).get(_UNSENT, np.float32(0))
        payload = self.compression.payload(update, round=round, coins=coins)
        unsent = update - self.compression.restored(payload, round=round)
        self.shelf.keep(round=round, slots={_UNSENT: unsent})
        return payload
