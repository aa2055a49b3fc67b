"""Clients and transports of a round for tests: trainers that answer by hand, and faults on demand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal

import numpy as np

from fedlearn._types import Vector
from fedlearn.crypto.identity import SigningKey
from fedlearn.crypto.prg import Keystream
from fedlearn.privacy.account import Account
from fedlearn.rounds.client import Client
from fedlearn.rounds.member import Membership
from fedlearn.rounds.protection import Protection, SecureSum
from fedlearn.rounds.releases import AccountedReleases
from fedlearn.rounds.transport import Lost, Message
from fedlearn.secagg.fixed_point import FixedPoint
from fedlearn.secagg.latches import MemoryLatches
from fedlearn.secagg.parameters import parameters
from fedlearn.secagg.roster import Roster
from fedlearn.secagg.rounding import RandomBits
from fedlearn.training.batches import StepPlan
from fedlearn.training.record_privacy import RecordPrivacy

RUN = "test-run"
PLAN = StepPlan(steps=3, sample_rate=0.5)
RECORD = RecordPrivacy(noise_multiplier=1.0, max_grad_norm=1.0, sample_rate=0.5, declared_size=10)
Answer = Callable[[Message], Message | Lost]


class Constant:
    """A trainer whose update is the same whatever it is sent; counts how often it trained."""

    def __init__(self, update: Vector) -> None:
        self.update = update
        self.rounds: list[int] = []

    def train(self, params: Vector, *, round: int) -> Vector:
        self.rounds.append(round)
        return self.update


class Calls:
    """Calls each client in turn; a fault may answer in its place."""

    def __init__(self, clients: Mapping[str, Client], faults: Mapping[str, Answer] | None = None) -> None:
        self.clients = clients
        self.faults = dict(faults or {})
        self.asked: list[str] = []
        self.deadlines: set[float | None] = set()

    def exchange(
        self, requests: Iterable[Message], *, deadline: float | None = None
    ) -> Iterator[Message | Lost]:
        self.deadlines.add(deadline)
        for request in requests:
            self.asked.append(request.client)
            fault = self.faults.get(request.client)
            yield self.clients[request.client].handle(request) if fault is None else fault(request)


def names_of(count: int) -> list[str]:
    return [f"client-{number}" for number in range(count)]


def updates_of(names: Iterable[str], dimension: int = 6) -> dict[str, Vector]:
    rng = np.random.default_rng(0)
    return {name: rng.uniform(-1, 1, dimension).astype(np.float32) for name in names}


def secure_sum_of(
    roster: Roster, weights: Mapping[str, float], *, mode: Literal["masked", "ideal"] = "masked"
) -> SecureSum:
    count = len(roster.members)
    return SecureSum(
        mode=mode,
        parameters=parameters(count, colluders=1),
        encoding=FixedPoint.for_exact_sum(clients=count, max_weight=1.0, value_range=8.0, modulus_bits=32),
        roster=roster,
        weights=tuple(sorted(weights.items())),
    )


def federation(
    updates: Mapping[str, Vector],
    weights: Mapping[str, float],
    *,
    mode: Literal["clear", "masked", "ideal"] = "clear",
    record: RecordPrivacy | None = None,
) -> tuple[dict[str, Client], SecureSum | None]:
    """Returns a client for each update, and what they agreed on."""
    keys = {name: SigningKey.generate() for name in updates}
    roster = Roster(version=1, members={name: key.public for name, key in keys.items()})
    secure = None if mode == "clear" else secure_sum_of(roster, weights, mode=mode)
    clients = {
        name: client(
            name,
            Constant(update),
            weight=weights[name],
            secure=secure,
            record=record,
            membership=Membership(key=keys[name], latches=MemoryLatches()),
        )
        for name, update in updates.items()
    }
    return clients, secure


def client(
    name: str,
    trainer: Any,
    *,
    weight: float = 1.0,
    secure: SecureSum | None = None,
    record: RecordPrivacy | None = None,
    account: Account | None = None,
    membership: Membership | None = None,
    dimension: int = 6,
) -> Client:
    """Returns a client of the run; its rounding repeats, so that two modes can be compared."""
    protection = Protection(weight=weight, plan=PLAN, record=record, secure=secure)
    return Client(
        name=name,
        run=RUN,
        trainer=trainer,
        protection=protection,
        dimension=dimension,
        releases=AccountedReleases(client=name, protection=protection, account=account or Account()),
        membership=membership,
        rounding=rounding_of(name),
    )


def rounding_of(name: str) -> Callable[[int], RandomBits]:
    """Returns round → the bits that a client of the run rounds with."""
    return lambda round: Keystream(f"{name}-{round}".encode().ljust(32, b"."))
