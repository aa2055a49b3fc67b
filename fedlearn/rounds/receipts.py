"""The end of a run: every client states what it has spent, and keeps what some others have stated.

First leg: the server asks each client for its receipt. Second leg: it hands out the statement that it made
of them; a client that finds its own part true signs the whole. Where clients have ledgers, each is
also handed the receipts of the clients that follow it, and keeps them beside its own ledger. A
ledger that is put back to an older state is then contradicted by its neighbours.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from fedlearn.crypto.identity import SigningKey
from fedlearn.errors import FedLearnError, ProtocolError, TamperedStatement
from fedlearn.privacy.events import event_from_dict
from fedlearn.privacy.ledger import Ledger
from fedlearn.privacy.receipt import Lifetime, Receipt, SignedReceipt, open_receipt, witness_frame
from fedlearn.rounds.exchange import Exchange
from fedlearn.rounds.messages import ReceiptReply, ReceiptRequest
from fedlearn.rounds.protection import Protection
from fedlearn.rounds.releases import Releases
from fedlearn.secagg.roster import Roster

WITNESSES = 8
"""Each receipt is kept by at most so many other clients."""

SIGNATORIES = 64
"""So many clients at most, the first by name, sign the whole statement; every client signs its receipt."""

_TOLERANCE = 1e-9


@dataclass(frozen=True, kw_only=True)
class Issuer:
    """A client's hand that signs: its own receipt, and that it keeps others'.

    Attributes:
      key: its signing key.
      roster: the keys by which others are known.
      dataset: its name of its records.
      delta: δ that the run's ε is taken at.
      noise: who keys its noise.
      ledger: its ledger; None without one.
    """

    key: SigningKey = field(repr=False)
    roster: Roster
    dataset: str
    delta: float
    noise: Literal["os", "reproducible"]
    ledger: Ledger | None = field(default=None, repr=False)

    def answer(
        self, request: ReceiptRequest, *, client: str, protection: Protection, releases: Releases
    ) -> ReceiptReply:
        """Returns the client's receipt and its signature over the receipts that it was handed.

        The rounds are over: what was kept for sending again is dropped.

        Raises:
          ProtocolError: a receipt was not signed by the client that it is said to be of, or the
            statement says something else of this client than it has spent.
        """
        own = self._own(request.run, client, protection, releases)
        handed = [SignedReceipt(*receipt) for receipt in request.receipts]
        kept = [self._kept(signed) for signed in handed]
        if request.statement:
            _check_entry(request.statement, own)
        self._keep(kept, handed)
        releases.finish()
        asked = request.statement or request.receipts
        message = witness_frame(request.run, client, request.statement, handed)
        return ReceiptReply(
            run=request.run,
            round=request.round,
            receipt=own.sign(self.key),
            witness=self.key.sign(message) if asked else b"",
        )

    def _keep(self, receipts: Sequence[Receipt], signed: Sequence[SignedReceipt]) -> None:
        if self.ledger is None:
            return
        for receipt, original in zip(receipts, signed, strict=True):
            if receipt.lifetime is not None:
                length, encoded = receipt.lifetime.head.length, msgspec.msgpack.encode(original)
                self.ledger.witness(receipt.client, length=length, receipt=encoded)

    def _own(self, run: str, client: str, protection: Protection, releases: Releases) -> Receipt:
        return Receipt(
            client=client,
            run=run,
            dataset=self.dataset,
            unit=protection.unit,
            clip_norm=protection.clip_norm,
            delta=self.delta,
            events=releases.account().events,
            noise=self.noise,
            lifetime=self._lifetime(),
        )

    def _lifetime(self) -> Lifetime | None:
        if self.ledger is None:
            return None
        budget = self.ledger.budget(self.dataset)
        return Lifetime(
            epsilon=self.ledger.epsilon(self.dataset),
            budget=budget.epsilon,
            delta=budget.delta,
            head=self.ledger.head,
        )

    def _kept(self, signed: SignedReceipt) -> Receipt:
        for public in self.roster.members.values():
            try:
                receipt = open_receipt(signed, public=public)
            except TamperedStatement:
                continue
            if self.roster.members.get(receipt.client) == public:
                return receipt
        raise ProtocolError("a receipt was handed on that no client of the roster has signed")


def _check_entry(statement: bytes, own: Receipt) -> None:
    """Raises ProtocolError unless a statement says of a client what it has spent."""
    try:
        (entry,) = [entry for entry in json.loads(statement)["clients"] if entry["client"] == own.client]
        events = [event_from_dict(event) for event in entry["events"]]
        stated = math.inf if entry["epsilon"] is None else float(entry["epsilon"])
        same = (events, entry["unit"], entry["delta"]) == (list(own.events), own.unit, own.delta)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError, FedLearnError) as error:
        raise ProtocolError(f"the run's statement cannot be read: {error}") from None
    spent = own.account.epsilon(delta=own.delta)
    if not same or not (stated == spent or math.isclose(stated, spent, rel_tol=_TOLERANCE)):
        raise ProtocolError(
            f"the run's statement says ε {stated:.6g} of client {own.client!r}, which has spent {spent:.6g}"
        )


@dataclass(frozen=True, kw_only=True)
class Receipts:
    """What the clients of a run have signed about themselves.

    Attributes:
      opened: client → its receipt; without those that could not be reached.
      signed: the same with their signatures.
    """

    opened: Mapping[str, Receipt] = field(default_factory=dict)
    signed: Mapping[str, SignedReceipt] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Witness:
    """A client's signature over the run's statement and the receipts that it keeps.

    Attributes:
      statement: whether it signed the statement.
      of: the clients whose receipts it keeps.
      signature: over both.
    """

    statement: bool
    of: tuple[str, ...]
    signature: bytes


def collect(exchange: Exchange, clients: Sequence[str], *, run: str, roster: Roster) -> Receipts:
    """Returns the clients' receipts: the first leg.

    Args:
      exchange: that of the round after the last.
      clients: whom to ask.
      run: the run's id.
      roster: the keys by which they are known; what another signed is left out.
    """
    opened, signed = {}, {}
    plain = {client: ReceiptRequest(run=run, round=exchange.round) for client in clients}
    for client, reply in _ask(exchange, plain).items():
        try:
            receipt = SignedReceipt(*reply.receipt)
            opened[client] = open_receipt(receipt, public=roster.members[client])
        except TamperedStatement as error:
            exchange.drop(client, type(error).__name__)
        else:
            signed[client] = receipt
    return Receipts(opened=opened, signed=signed)


def witness(exchange: Exchange, receipts: Receipts, *, run: str, statement: bytes) -> dict[str, Witness]:
    """Returns which clients signed the statement and keep whose receipts: the second leg."""
    clients = sorted(receipts.signed)
    ledgers = [client for client in clients if receipts.opened[client].lifetime is not None]
    handed = {client: neighbours(client, ledgers) if client in ledgers else [] for client in clients}
    requests = {
        client: ReceiptRequest(
            run=run,
            round=exchange.round,
            statement=statement if place < SIGNATORIES else b"",
            receipts=tuple(receipts.signed[other] for other in handed[client]),
        )
        for place, client in enumerate(clients)
        if place < SIGNATORIES or handed[client]
    }
    return {
        client: Witness(
            statement=bool(requests[client].statement), of=tuple(handed[client]), signature=reply.witness
        )
        for client, reply in _ask(exchange, requests).items()
    }


def neighbours(client: str, clients: Sequence[str]) -> list[str]:
    """Returns the clients that follow one in a ring of all, at most ``WITNESSES``.

    >>> neighbours("c", ["a", "b", "c"])
    ['a', 'b']
    """
    place = clients.index(client)
    ring = [*clients[place + 1 :], *clients[:place]]
    return ring[:WITNESSES]


def _ask(exchange: Exchange, requests: Mapping[str, ReceiptRequest]) -> dict[str, ReceiptReply]:
    return {client: reply for client, reply, _ in exchange.send(requests) if isinstance(reply, ReceiptReply)}
