"""A federation in one process: drives sessions step by step, with clients that vanish."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from fedlearn._types import RingVector
from fedlearn.crypto.identity import SigningKey
from fedlearn.secagg.client import ClientSession
from fedlearn.secagg.latches import Latches, MemoryLatches
from fedlearn.secagg.parameters import SessionParameters, parameters
from fedlearn.secagg.ring import ideal_sum, ring_dtype
from fedlearn.secagg.roster import Roster
from fedlearn.secagg.server import ServerSession, Step

MODEL = hashlib.sha256(b"model").digest()
AGREED = hashlib.sha256(b"configuration").digest()


def key_of(name: str) -> SigningKey:
    """The signing key of a test client: public knowledge."""
    return SigningKey.from_bytes(hashlib.sha256(name.encode()).digest())


def names_of(count: int) -> list[str]:
    return [f"client-{i:04}" for i in range(count)]


@dataclass
class Federation:
    """All parties of one session.

    Attributes:
      count: clients of the cohort.
      inputs: each client's vector before masking; drawn by ``seed`` unless given.
      sent: what each client sent, by step: (body, vector or None).
    """

    count: int
    colluders: int = 1
    dropout: float = 0.0
    dimension: int = 5
    modulus_bits: int = 32
    run: str = "run-1"
    round: int = 3
    agreed: SessionParameters | None = None
    roster: Roster | None = None
    latches: Mapping[str, Latches] | None = None
    seed: int = 0
    repeat_model: bool = False
    model: bytes = MODEL
    inputs: dict[str, RingVector] = field(default_factory=dict)
    sent: dict[str, dict[str, tuple[bytes, RingVector | None]]] = field(default_factory=dict)
    requested: dict[str, dict[str, bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = names_of(self.count)
        if self.roster is None:
            self.roster = Roster(version=1, members={name: key_of(name).public for name in names})
        if self.agreed is None:
            self.agreed = parameters(self.count, colluders=self.colluders, dropout=self.dropout)
        self.inputs = self.inputs or self._drawn(names)
        self.server = ServerSession(
            clients=names,
            roster=self.roster,
            parameters=self.agreed,
            run=self.run,
            round=self.round,
            dimension=self.dimension,
            modulus_bits=self.modulus_bits,
            model_digest=self.model,
            configuration_digest=AGREED,
        )
        self.clients = {name: self.client(name) for name in names}

    def _drawn(self, names: Sequence[str]) -> dict[str, RingVector]:
        rng, dtype = np.random.default_rng(self.seed), ring_dtype(self.modulus_bits).newbyteorder("=")
        return {name: rng.integers(0, 2**self.modulus_bits, self.dimension, dtype=dtype) for name in names}

    def client(self, name: str) -> ClientSession:
        """A new session of one client."""
        assert self.roster is not None
        assert self.agreed is not None
        return ClientSession(
            client=name,
            key=key_of(name),
            roster=self.roster,
            parameters=self.agreed,
            run=self.run,
            round=self.round,
            latches=MemoryLatches() if self.latches is None else self.latches[name],
            repeat_model=self.repeat_model,
        )

    def answer(self, name: str, request: bytes) -> tuple[bytes, RingVector | None]:
        """What an honest client answers in the open step."""
        client = self.clients[name]
        if self.server.step is not Step.INPUTS:
            return client.receive(request), None
        client.accept_inputs_request(request, model_digest=self.model, configuration_digest=AGREED)
        vector = self.inputs[name].copy()
        return client.mask(vector), vector

    def exchange(self, *, silent: Collection[str] = ()) -> None:
        """One step without closing it: everyone but the silent answers."""
        step = self.server.step.value
        self.requested[step] = self.server.requests()
        self.sent[step] = {}
        for name, request in self.requested[step].items():
            if name not in silent:
                self.sent[step][name] = self.answer(name, request)
                self.server.receive(name, *self.sent[step][name])

    def until(self, step: str, *, drops: Mapping[str, Collection[str]] | None = None) -> None:
        """Runs up to the given step, which is left open; ``drops`` says who vanishes from which step on."""
        gone: set[str] = set()
        while self.server.step.value != step:
            gone |= set((drops or {}).get(self.server.step.value, ()))
            self.exchange(silent=gone)
            self.server.advance()

    def run_all(self, *, drops: Mapping[str, Collection[str]] | None = None) -> RingVector:
        """Runs the whole session and returns the sum."""
        self.until("finished", drops=drops)
        return self.server.total

    def ideal(self, members: Sequence[str]) -> RingVector:
        """The sum of the inputs of some clients."""
        return ideal_sum(self.inputs[name] for name in members)


@dataclass
class DeterministicEntropy:
    """Stands in for the operating system: repeatable, and a record of every draw."""

    owner: str = ""
    draws: dict[str, list[bytes]] = field(default_factory=dict)

    def __call__(self, size: int) -> bytes:
        drawn = self.draws.setdefault(self.owner, [])
        label = f"{self.owner}|{len(drawn)}".encode()
        drawn.append(hashlib.shake_256(label).digest(size))
        return drawn[-1]


Patch = Callable[[str, object], None]
