"""The gate that every vector with privacy passes on its way out of a client.

Charged before it is made, bound to its bytes before the first of them leaves, spent if it never does: a
privacy filter (Rogers et al. 2016), which lets a release through while the budget lasts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from secrets import token_hex
from typing import Protocol, TypeAlias

import msgspec
import numpy as np

from fedlearn.errors import BudgetExhausted, LedgerUnavailable, PrivacyError
from fedlearn.privacy.account import Account
from fedlearn.privacy.ledger import Ledger
from fedlearn.privacy.release import Release
from fedlearn.rounds.protection import Protection
from fedlearn.rounds.transport import Message

Commit: TypeAlias = Callable[[Message], None]
"""Binds the reservation to the reply that is about to leave."""


class Releases(Protocol):
    """What a client asks before it trains, and tells before it answers."""

    def answered(self, request: Message) -> Message | None:
        """Returns the reply that the very same request was given before, to be sent again for nothing."""
        ...

    def reserved(self, request: Message, *, round: int) -> AbstractContextManager[Commit]:
        """Charges one round for the time of the context; the reply is committed inside it.

        Raises:
          BudgetExhausted: the round would exceed the budget; nothing was charged.
          PrivacyError: the charge cannot be written.
        """
        ...

    def account(self) -> Account:
        """Returns what this run has spent, whether it left or not."""
        ...

    def finish(self) -> None:
        """Drops what is kept for sending again: the rounds are over."""
        ...


class AccountedReleases:
    """Releases counted in memory, for the life of a process: simulations without a ledger.

    Args:
      client: the client's id.
      protection: what a round is charged as, and the budget of the run.
      account: what the run has spent before.
    """

    def __init__(self, *, client: str, protection: Protection, account: Account) -> None:
        self._client = client
        self._protection = protection
        self._account = account

    def answered(self, request: Message) -> Message | None:
        """Returns None: no bytes are kept, so a repeated request is trained for and charged anew."""
        del request
        return None

    @contextmanager
    def reserved(self, request: Message, *, round: int) -> Iterator[Commit]:
        """Charges the round at once; it stays charged whatever follows."""
        del request, round
        event = self._protection.event()
        if event is not None:
            self._check_budget()
            self._account.charge(event)
        yield lambda reply: None

    def account(self) -> Account:
        """Returns what the run has spent."""
        return self._account

    def finish(self) -> None:
        """Does nothing: no bytes are kept."""

    def _check_budget(self) -> None:
        budget, event = self._protection.budget, self._protection.event()
        if budget is None or event is None:
            return
        projected = self._account.projected_epsilon(event, delta=budget.delta)
        if projected > budget.epsilon:
            spent = self._account.epsilon(delta=budget.delta)
            raise BudgetExhausted(
                f"client {self._client!r}: one more round would spend ε {projected:.4g} of {budget.epsilon:g}"
                f" at δ {budget.delta:g}, and {spent:.4g} is spent; stop here, or agree on a larger ε"
            )


class LedgerReleases:
    """Releases booked in a site's ledger: over all runs and restarts, and for good.

    Guarantee: killed at any instruction, the ledger counts at least what has left. The same request
    gets the same bytes; whatever is trained again is another release, and charged.

    Args:
      ledger: the site's.
      run: the run.
      dataset: the site's name of its records.
      protection: what a round is charged as.

    Raises:
      UndeclaredDataSet: the records have no budget.
      PrivacyError: the run has no differential privacy: each of its releases would cost an infinite ε.
    """

    def __init__(self, ledger: Ledger, *, run: str, dataset: str, protection: Protection) -> None:
        if protection.event() is None:
            raise PrivacyError(
                f"run {run!r} has no differential privacy, so no budget covers it: set privacy.enabled, or"
                " run it without a ledger, on records that need no protection"
            )
        ledger.budget(dataset)
        self._ledger = ledger
        self._run = run
        self._dataset = dataset
        self._protection = protection

    def answered(self, request: Message) -> Message | None:
        """Returns the reply that the ledger keeps for the very same request."""
        kept = self._ledger.answer(run=self._run, request=digest_of(request))
        return None if kept is None else unpack(kept, client=request.client)

    @contextmanager
    def reserved(self, request: Message, *, round: int) -> Iterator[Commit]:
        """Books the round before it is trained; burns it if the context ends without a commit."""
        release = self._release(request, round)
        # A new round: the answers to older ones have arrived, or are of no use to anyone.
        self._ledger.reserve(release, superseding=True)
        committed = False

        def commit(reply: Message) -> None:
            nonlocal committed
            self._ledger.commit(release.id, pack(reply))
            committed = True

        try:
            yield commit
        finally:
            if not committed:
                self._burn(release.id)

    def account(self) -> Account:
        """Returns what the run has spent, what was cut off and repeated included."""
        return self._ledger.account(self._dataset, unit=self._protection.unit, run=self._run)

    def finish(self) -> None:
        """Forgets the bytes kept for sending again: the run is over."""
        self._ledger.acknowledge(run=self._run)

    def _release(self, request: Message, round: int) -> Release:
        event = self._protection.event()
        return Release(
            id=f"{self._run}/{round}/{token_hex(8)}",
            run=self._run,
            round=round,
            dataset=self._dataset,
            unit=self._protection.unit,
            clip_norm=self._protection.clip_norm,
            events=() if event is None else (event,),
            request=digest_of(request),
        )

    def _burn(self, release: str) -> None:
        """Marks a release that will not leave; where that cannot be written it stays reserved: spent, too."""
        try:
            self._ledger.burn(release)
        except LedgerUnavailable:
            return


def digest_of(request: Message) -> str:
    """Returns SHA-256 over everything in a request, hex."""
    digest = hashlib.sha256(len(request.body).to_bytes(8, "little") + request.body)
    for vector in request.vectors:
        digest.update(vector.dtype.str.encode())
        digest.update(np.ascontiguousarray(vector).view(np.uint8).data)
    return digest.hexdigest()


def pack(reply: Message) -> bytes:
    """Returns a reply as bytes: what the ledger binds a release to; ``unpack`` reads it back."""
    vectors = [(vector.dtype.str, vector.tobytes()) for vector in reply.vectors]
    return msgspec.msgpack.encode((reply.body, vectors))


def unpack(packed: bytes, *, client: str) -> Message:
    """Returns the reply that ``pack`` made bytes of."""
    body, vectors = msgspec.msgpack.decode(packed, type=tuple[bytes, list[tuple[str, bytes]]])
    return Message(
        client=client,
        body=body,
        vectors=tuple(np.frombuffer(data, dtype=np.dtype(kind)) for kind, data in vectors),
    )
