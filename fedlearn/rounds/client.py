"""A client of a round: a request's bytes in, a reply's bytes out.

The client trusts no parameter that a request brings. What it trains, how it protects the result
and whom it masks with come from its own configuration; a request only says which round it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fedlearn._types import RingVector, Vector
from fedlearn.crypto.noise import NoiseSource
from fedlearn.errors import FedLearnError, MalformedMessage, ProtocolError
from fedlearn.rounds.member import Member, Membership
from fedlearn.rounds.messages import (
    Failure,
    ReceiptReply,
    ReceiptRequest,
    Reply,
    SecureReply,
    SecureRequest,
    SecureTrainRequest,
    TrainReply,
    TrainRequest,
    decode_request,
    encode,
)
from fedlearn.rounds.protection import Protection, SecureSum
from fedlearn.rounds.receipts import Issuer
from fedlearn.rounds.releases import Releases
from fedlearn.rounds.transport import Message
from fedlearn.secagg.rounding import RandomBits
from fedlearn.stopwatch import phase, timed


class Trainer(Protocol):
    """Local training, as a round sees it."""

    def train(self, params: Vector, *, round: int) -> NDArray[Any]:
        """Returns local − global, shape (d,), float32, or the payload that stands for it."""
        ...


class Client:
    """One client, resident over all rounds of a run.

    Guarantee: a vector leaves only through :class:`Protection` — with DP, its event is charged
    before training begins and bound to its bytes before they leave; with secure aggregation, it is
    masked first.

    Args:
      name: the client's id.
      run: the run it takes part in; requests of other runs are refused.
      trainer: its local training.
      protection: its protection.
      dimension: number of parameters, d.
      releases: counts what its records spend and refuses what would exceed the budget.
      issuer: signs what the run has spent; None: it states nothing.
      membership: key and latches; needed in ``masked`` mode.
      rounding: round → secret bits for its stochastic rounding.
      noise: round → secret randomness of its part of the cohort's noise.
      first: its release before training, under a run id of its own; None if there is none.
    """

    def __init__(
        self,
        *,
        name: str,
        run: str,
        trainer: Trainer,
        protection: Protection,
        dimension: int,
        releases: Releases,
        issuer: Issuer | None = None,
        membership: Membership | None = None,
        rounding: Callable[[int], RandomBits],
        noise: Callable[[int], NoiseSource] = lambda round: NoiseSource(),
        first: Client | None = None,
    ) -> None:
        self.name = name
        self.releases = releases
        self._issuer = issuer
        self.run = run
        self._trainer = trainer
        self._protection = protection
        self._dimension = dimension
        self._rounding = rounding
        self._noise = noise
        self._first = first
        self._member = _member_of(name, run, protection.secure, membership)

    def serves(self, run: str) -> bool:
        """Returns whether requests of a run are answered here, or by what is released before."""
        return run == self.run or (self._first is not None and self._first.serves(run))

    def handle(self, message: Message, *, reveal_detail: bool = False) -> Message:
        """Returns the reply; an error becomes a :class:`Failure` with the error's class name.

        Args:
          message: the request, hostile until decoded.
          reveal_detail: also send the error's line; only where client and server have one owner,
            because the line may tell of the records.
        """
        try:
            return self.answer(message)
        except FedLearnError as error:
            failure = Failure(
                run=self.run,
                round=_round_of(message),
                code=type(error).__name__,
                detail=str(error)[:4096] if reveal_detail else "",
            )
            return Message(client=self.name, body=encode(failure))

    def answer(self, message: Message) -> Message:
        """Returns the reply, or raises what went wrong.

        Raises:
          MalformedMessage: the request does not decode, or its vector has another shape.
          ProtocolError: the request belongs to another run or client, or breaks the protocol.
          BudgetExhausted: training would exceed the agreed ε; nothing was trained.
          PrivacyError: what it would spend cannot be written down; nothing was trained.
        """
        if message.client != self.name:
            raise ProtocolError(f"request for client {message.client!r} reached {self.name!r}")
        request = decode_request(message.body)
        if self._first is not None and self._first.serves(request.run):
            return self._first.answer(message)
        if request.run != self.run:
            raise ProtocolError(f"request of run {request.run!r}; this client serves {self.run!r}")
        if isinstance(request, TrainRequest | SecureTrainRequest):
            return self.releases.answered(message) or self._trained(request, message)
        if isinstance(request, ReceiptRequest):
            return self._reply(self._receipt(request))
        payload = self._agreed()[1].answer(request.round, request.payload)
        return self._reply(self._secured(request, payload))

    def _receipt(self, request: ReceiptRequest) -> ReceiptReply:
        if self._issuer is None:
            raise ProtocolError("the server asks for a receipt; this client signs none")
        return self._issuer.answer(
            request, client=self.name, protection=self._protection, releases=self.releases
        )

    def _trained(self, request: TrainRequest | SecureTrainRequest, message: Message) -> Message:
        params = self._params(message)
        if isinstance(request, SecureTrainRequest):
            return self._masked(request, message, params)
        return self._plain(request, message, params)

    def _plain(self, request: TrainRequest, message: Message, params: Vector) -> Message:
        secure = self._protection.secure
        if secure is not None and secure.mode == "masked":
            raise ProtocolError(
                "the server asks for an update in the clear; this client sends masked updates only"
            )
        with self.releases.reserved(message, round=request.round) as commit:
            vector = self._protected(params, request.round)
            reply = self._reply(TrainReply(run=self.run, round=request.round), vector)
            commit(reply)
        return reply

    def _masked(self, request: SecureTrainRequest, message: Message, params: Vector) -> Message:
        member = self._agreed()[1]
        complaint = member.accept(request.round, request.payload, params)
        if complaint is not None:
            return self._reply(self._secured(request, complaint))
        with self.releases.reserved(message, round=request.round) as commit:
            vector = self._protected(params, request.round)
            payload = member.mask(request.round, vector)
            reply = self._reply(self._secured(request, payload), vector)
            commit(reply)
        return reply

    def _secured(self, request: SecureRequest, payload: bytes) -> SecureReply:
        """Returns the reply; what rides beside it for the next round fails by itself."""
        ahead, refusal = b"", ""
        if request.ahead:
            try:
                ahead = self._agreed()[1].answer(request.round + 1, request.ahead)
            except ProtocolError as error:
                refusal = type(error).__name__
        return SecureReply(run=self.run, round=request.round, payload=payload, ahead=ahead, refusal=refusal)

    def _reply(self, reply: Reply, *vectors: RingVector | Vector) -> Message:
        return Message(client=self.name, body=encode(reply), vectors=vectors)

    def _protected(self, params: Vector, round: int) -> NDArray[Any]:
        """Trains, and returns the vector as :class:`Protection` says: clipped, noised and encoded."""
        mechanism, secure = self._protection.mechanism, self._protection.secure
        if mechanism is None:
            update = self._trainer.train(params, round=round)
            return update if secure is None else self._encoded(update, secure, round)
        model, clip_norm = mechanism.sums.received(params)
        update = self._trainer.train(model, round=round)
        with phase("clipping"):
            vector = mechanism.protect(
                update,
                weight=self._protection.weight,
                clip_norm=clip_norm,
                label=(self.run, round),
                noise=self._noise(round),
            )
        return vector if secure is None else self._encoded(vector, secure, round)

    @timed("masking")
    def _encoded(self, vector: NDArray[Any], secure: SecureSum, round: int) -> RingVector:
        """Returns the vector in the ring: weighted and rounded, or integers with our part of the noise."""
        if secure.noise is not None:
            with phase("noise"):
                vector = secure.noise.part(vector, self._noise(round))
        if vector.dtype.kind == "i":
            # The conversion to an unsigned type is the reduction modulo 2^b.
            return vector.astype(secure.encoding.dtype)
        weight = self._protection.weight if secure.mechanism is None else 1.0
        return secure.encoding.encode(vector, weight=weight, bits=self._rounding(round))

    def _agreed(self) -> tuple[SecureSum, Member]:
        if self._protection.secure is None or self._member is None:
            raise ProtocolError("the server asks for secure aggregation; this client is no member of any")
        return self._protection.secure, self._member

    def _params(self, message: Message) -> Vector:
        if len(message.vectors) != 1:
            raise MalformedMessage(f"{len(message.vectors)} vectors in a training request; one is expected")
        params = message.vectors[0]
        if params.dtype != np.float32 or params.shape != (self._dimension,):
            raise MalformedMessage(
                f"model of {params.dtype} {params.shape}; expected float32 ({self._dimension},)"
            )
        # The cheap test first: the square of the norm of a model that trains is finite, too.
        with np.errstate(all="ignore"):
            suspect = not np.isfinite(np.dot(params, params))
        if suspect and not np.isfinite(params).all():
            raise MalformedMessage("model has parameters that are NaN or infinite")
        return params


def _member_of(name: str, run: str, secure: SecureSum | None, membership: Membership | None) -> Member | None:
    if secure is None or membership is None:
        return None
    return Member(client=name, run=run, secure=secure, membership=membership)


def _round_of(message: Message) -> int:
    try:
        return decode_request(message.body).round
    except MalformedMessage:
        return 0
