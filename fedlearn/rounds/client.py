"""A client of a round: a request's bytes in, a reply's bytes out.

The client trusts no parameter that a request brings. What it trains, how it protects the result
and whom it masks with come from its own configuration; a request only says which round it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from fedlearn._types import RingVector, Vector
from fedlearn.errors import BudgetExhausted, FedLearnError, MalformedMessage, ProtocolError
from fedlearn.privacy.accounting import Account
from fedlearn.privacy.events import SampledGaussianEvent
from fedlearn.rounds.member import Member, Membership
from fedlearn.rounds.messages import (
    Failure,
    Reply,
    Request,
    SecureReply,
    SecureRequest,
    SecureTrainRequest,
    TrainReply,
    TrainRequest,
    decode_request,
    encode,
)
from fedlearn.rounds.protection import Protection, SecureSum
from fedlearn.rounds.transport import Message
from fedlearn.secagg.fixed_point import RandomBits


class Trainer(Protocol):
    """Local training, as a round sees it."""

    def train(self, params: Vector, *, round: int) -> Vector:
        """Returns local − global, shape (d,), float32."""
        ...


class Client:
    """One client, resident over all rounds of a run.

    Guarantee: a vector leaves only through :class:`Protection` — with DP, its event is charged to
    the account before training begins; with secure aggregation, it is masked first.

    Args:
      name: the client's id.
      run: the run it takes part in; requests of other runs are refused.
      trainer: its local training.
      protection: its protection.
      dimension: number of parameters, d.
      account: what its records have spent; refuses what would exceed the budget. None without DP.
      membership: key and latches; needed in ``masked`` mode.
      rounding: round → secret bits for its stochastic rounding.
    """

    def __init__(
        self,
        *,
        name: str,
        run: str,
        trainer: Trainer,
        protection: Protection,
        dimension: int,
        account: Account | None = None,
        membership: Membership | None = None,
        rounding: Callable[[int], RandomBits],
    ) -> None:
        self.name = name
        self.account = account
        self._run = run
        self._trainer = trainer
        self._protection = protection
        self._dimension = dimension
        self._rounding = rounding
        self._member = _member_of(name, run, protection.secure, membership)

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
                run=self._run,
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
        """
        if message.client != self.name:
            raise ProtocolError(f"request for client {message.client!r} reached {self.name!r}")
        request = decode_request(message.body)
        if request.run != self._run:
            raise ProtocolError(f"request of run {request.run!r}; this client serves {self._run!r}")
        reply, vectors = self._dispatch(request, message)
        return Message(client=self.name, body=encode(reply), vectors=vectors)

    def _dispatch(self, request: Request, message: Message) -> tuple[Reply, tuple[RingVector | Vector, ...]]:
        if isinstance(request, TrainRequest):
            return self._plain(request, self._params(message))
        if not isinstance(request, SecureTrainRequest):
            payload = self._agreed()[1].answer(request.round, request.payload)
            return self._secured(request, payload), ()
        return self._masked(request, self._params(message))

    def _plain(self, request: TrainRequest, params: Vector) -> tuple[Reply, tuple[RingVector | Vector, ...]]:
        secure = self._protection.secure
        if secure is not None and secure.mode == "masked":
            raise ProtocolError(
                "the server asks for an update in the clear; this client sends masked updates only"
            )
        update = self._train(params, request.round)
        vector = update if secure is None else self._encoded(update, secure, request.round)
        return TrainReply(run=self._run, round=request.round), (vector,)

    def _masked(
        self, request: SecureTrainRequest, params: Vector
    ) -> tuple[Reply, tuple[RingVector | Vector, ...]]:
        secure, member = self._agreed()
        complaint = member.accept(request.round, request.payload, params)
        if complaint is not None:
            return self._secured(request, complaint), ()
        vector = self._encoded(self._train(params, request.round), secure, request.round)
        payload = member.mask(request.round, vector)
        return self._secured(request, payload), (vector,)

    def _secured(self, request: SecureRequest, payload: bytes) -> SecureReply:
        """Returns the reply; what rides beside it for the next round fails by itself."""
        ahead, refusal = b"", ""
        if request.ahead:
            try:
                ahead = self._agreed()[1].answer(request.round + 1, request.ahead)
            except ProtocolError as error:
                refusal = type(error).__name__
        return SecureReply(run=self._run, round=request.round, payload=payload, ahead=ahead, refusal=refusal)

    def _train(self, params: Vector, round: int) -> Vector:
        event = self._protection.event()
        if self.account is not None and event is not None:
            self._check_budget(self.account, event)
            self.account.charge(event)
        return self._trainer.train(params, round=round)

    def _check_budget(self, account: Account, event: SampledGaussianEvent) -> None:
        """Raises BudgetExhausted if the event would take the account past what was agreed."""
        budget = self._protection.budget
        if budget is None:
            return
        projected = account.projected_epsilon(event, delta=budget.delta)
        if projected > budget.epsilon:
            spent = account.epsilon(delta=budget.delta)
            raise BudgetExhausted(
                f"client {self.name!r}: one more round would spend ε {projected:.4g} of {budget.epsilon:g}"
                f" at δ {budget.delta:g}, and {spent:.4g} is spent; stop here, or agree on a larger ε"
            )

    def _encoded(self, update: Vector, secure: SecureSum, round: int) -> RingVector:
        bits = self._rounding(round)
        return secure.encoding.encode(update, weight=self._protection.weight, bits=bits)

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
        if not np.isfinite(params).all():
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
