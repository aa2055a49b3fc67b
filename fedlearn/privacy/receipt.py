"""What a client states, and signs, about the privacy that a run has spent on its records.

A receipt also names the head of the client's ledger, if it has one. Whoever keeps a receipt — the run
directory, the other clients — recognises an older copy of that ledger.

>>> from fedlearn.crypto.identity import SigningKey
>>> from fedlearn.privacy.events import SampledGaussianEvent
>>> key = SigningKey.generate()
>>> round = SampledGaussianEvent(noise_multiplier=1.0, sample_rate=0.1, steps=10)
>>> receipt = Receipt(client="a", run="r", dataset="heart", unit="record", clip_norm=1.0, delta=1e-5,
...                   events=(round,), noise="os")
>>> open_receipt(receipt.sign(key), public=key.public) == receipt
True
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from fedlearn.crypto.framing import frame
from fedlearn.crypto.identity import SigningKey, verify
from fedlearn.errors import FedLearnError, TamperedMessage, TamperedStatement
from fedlearn.privacy.account import Account
from fedlearn.privacy.chain import Head
from fedlearn.privacy.events import Event, event_from_dict
from fedlearn.privacy.guarantee import Unit

SCHEMA = 1
_LABEL = "fedlearn receipt 1"


class SignedReceipt(NamedTuple):
    """A receipt as it travels and is kept.

    Attributes:
      body: canonical JSON.
      signature: of the client named in it.
    """

    body: bytes
    signature: bytes


@dataclass(frozen=True, kw_only=True)
class Lifetime:
    """What the records have spent over all runs, by the client's ledger.

    Attributes:
      epsilon: ε of all releases, counted as the budget is; at most that.
      budget: ε that the client agreed to, per the unit that its policy names.
      delta: δ of both.
      head: newest head of the ledger.
    """

    epsilon: float
    budget: float
    delta: float
    head: Head


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """One client's statement about one run.

    Attributes:
      client: its id.
      run: the run's id.
      dataset: the client's name of its records.
      unit: what the events protect.
      clip_norm: C, bound of one unit's contribution.
      delta: δ that the run's ε is taken at.
      events: everything that was executed on the records in this run, cut-off rounds included.
      noise: "os" if the operating system keyed it, "reproducible" if a seed did.
      lifetime: over all runs; None without a ledger.
    """

    client: str
    run: str
    dataset: str
    unit: Unit
    clip_norm: float
    delta: float
    events: tuple[Event, ...]
    noise: Literal["os", "reproducible"]
    lifetime: Lifetime | None = None

    @property
    def account(self) -> Account:
        """What the run has spent."""
        return Account(self.events)

    def sign(self, key: SigningKey) -> SignedReceipt:
        """Returns the receipt with the client's signature."""
        lifetime = self.lifetime
        values = {
            "schema": SCHEMA,
            **{name: getattr(self, name) for name in _PLAIN},
            "events": [event.to_dict() for event in self.events],
            "lifetime": None
            if lifetime is None
            else {
                "epsilon": lifetime.epsilon,
                "budget": lifetime.budget,
                "delta": lifetime.delta,
                "head": str(lifetime.head),
            },
        }
        body = json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
        return SignedReceipt(body=body, signature=key.sign(frame(_LABEL, body)))


_PLAIN = ("client", "run", "dataset", "unit", "clip_norm", "delta", "noise")


def open_receipt(signed: SignedReceipt, *, public: bytes) -> Receipt:
    """Returns the receipt that the owner of ``public`` signed.

    Raises:
      TamperedStatement: the signature does not verify, or the body is no receipt.
    """
    try:
        verify(public, signed.signature, frame(_LABEL, signed.body))
    except TamperedMessage:
        raise TamperedStatement("a receipt is not signed by the client that it is kept for") from None
    try:
        values = json.loads(signed.body)
        if values.pop("schema") != SCHEMA:
            raise ValueError("another schema")
        return _receipt(values)
    except (
        FedLearnError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise TamperedStatement(f"a receipt cannot be read: {error}") from None


def witness_frame(run: str, witness: str, statement: bytes, receipts: Iterable[SignedReceipt]) -> bytes:
    """Returns what a client signs when it has checked a run's statement and keeps others' receipts."""
    parts = [part for receipt in receipts for part in (receipt.body, receipt.signature)]
    return frame("fedlearn witness 1", run, witness, hashlib.sha256(statement).digest(), *parts)


def _receipt(values: dict[str, Any]) -> Receipt:
    lifetime = values.pop("lifetime")
    if lifetime is not None:
        lifetime = Lifetime(**{**lifetime, "head": Head.parse(lifetime["head"])})
    events = tuple(event_from_dict(event) for event in values.pop("events"))
    return Receipt(events=events, lifetime=lifetime, **values)
