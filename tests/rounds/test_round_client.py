"""A client of a round: what it answers, what it refuses, and what it charges first."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedlearn._types import Vector
from fedlearn.errors import (
    BudgetExhausted,
    DataError,
    FaultyDealer,
    MalformedMessage,
    OutOfOrder,
    ProtocolError,
)
from fedlearn.privacy.account import Account
from fedlearn.privacy.events import Event, SampledGaussianEvent
from fedlearn.rounds.member import model_digest
from fedlearn.rounds.messages import (
    Failure,
    Request,
    SecureReply,
    SecureRequest,
    SecureTrainRequest,
    TrainReply,
    TrainRequest,
    decode_reply,
    encode,
)
from fedlearn.rounds.protection import SecureSum
from fedlearn.rounds.transport import Message
from fedlearn.secagg import messages as secagg
from fedlearn.secagg.client import ClientSession
from tests.rounds.parties import RECORD, RUN, Constant, client, federation, names_of, updates_of

UPDATE = np.arange(6, dtype=np.float32)
MODEL = np.zeros(6, np.float32)


def asking(request: Request, *vectors: NDArray[Any], to: str = "a") -> Message:
    return Message(client=to, body=encode(request), vectors=vectors)


TRAIN = asking(TrainRequest(run=RUN, round=4), MODEL)


class Watching:
    """A trainer that notes what its account held when training began."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.steps_before: list[int] = []

    def train(self, params: Vector, *, round: int) -> Vector:
        self.steps_before.append(self.account.steps)
        raise DataError("record 17 is broken")


class Exhausted(Account):
    """An account that is spent."""

    def charge(self, event: Event) -> None:
        raise BudgetExhausted("ε=3 is spent")


class TestAnswers:
    def test_a_request_to_train_is_answered_with_the_update(self) -> None:
        trainer = Constant(UPDATE)
        reply = client("a", trainer).answer(TRAIN)
        assert decode_reply(reply.body) == TrainReply(run=RUN, round=4)
        assert reply.client == "a"
        np.testing.assert_array_equal(reply.vectors[0], UPDATE)
        assert trainer.rounds == [4]

    def test_the_size_is_that_of_body_and_vectors(self) -> None:
        assert TRAIN.size == len(TRAIN.body) + 6 * 4

    def test_in_ideal_mode_ring_elements_leave_and_no_update(self) -> None:
        clients, secure = federation(updates_of(names_of(4)), dict.fromkeys(names_of(4), 1.0), mode="ideal")
        assert secure is not None
        name = "client-0"
        reply = clients[name].answer(asking(TrainRequest(run=RUN, round=0), MODEL, to=name))
        assert reply.vectors[0].dtype == secure.encoding.dtype
        np.testing.assert_allclose(
            secure.encoding.decode(reply.vectors[0]), updates_of(names_of(4))[name], atol=1e-6
        )


class TestRefusals:
    @pytest.mark.parametrize(
        ("message", "error", "line"),
        [
            (
                asking(TrainRequest(run=RUN, round=0), MODEL, to="b"),
                ProtocolError,
                "for client 'b' reached 'a'",
            ),
            (asking(TrainRequest(run="other", round=0), MODEL), ProtocolError, "request of run 'other'"),
            (Message(client="a", body=b"junk"), MalformedMessage, "does not decode"),
            (asking(TrainRequest(run=RUN, round=0)), MalformedMessage, "0 vectors"),
            (asking(TrainRequest(run=RUN, round=0), MODEL, MODEL), MalformedMessage, "2 vectors"),
            (
                asking(TrainRequest(run=RUN, round=0), MODEL[:5]),
                MalformedMessage,
                r"model of float32 \(5,\); expected float32 \(6,\)",
            ),
            (
                asking(TrainRequest(run=RUN, round=0), MODEL.astype(np.float64)),
                MalformedMessage,
                "model of float64",
            ),
            (asking(TrainRequest(run=RUN, round=0), MODEL[None]), MalformedMessage, r"\(1, 6\)"),
            (
                asking(TrainRequest(run=RUN, round=0), MODEL + np.float32(np.nan)),
                MalformedMessage,
                "NaN or inf",
            ),
            (
                asking(TrainRequest(run=RUN, round=0), MODEL + np.float32(np.inf)),
                MalformedMessage,
                "NaN or inf",
            ),
            (asking(SecureRequest(run=RUN, round=0, payload=b"")), ProtocolError, "is no member of any"),
            (
                asking(SecureTrainRequest(run=RUN, round=0, payload=b""), MODEL),
                ProtocolError,
                "is no member of any",
            ),
        ],
    )
    def test_a_request_that_is_not_for_it_trains_nothing(
        self, message: Message, error: type[ProtocolError], line: str
    ) -> None:
        trainer, account = Constant(UPDATE), Account()
        with pytest.raises(error, match=line):
            client("a", trainer, record=RECORD, account=account).answer(message)
        assert trainer.rounds == []
        assert account.steps == 0

    def test_a_member_never_sends_an_update_in_the_clear(self) -> None:
        names = names_of(4)
        clients, _ = federation(updates_of(names), dict.fromkeys(names, 1.0), mode="masked")
        with pytest.raises(ProtocolError, match="in the clear; this client sends masked updates only"):
            clients["client-0"].answer(asking(TrainRequest(run=RUN, round=0), MODEL, to="client-0"))

    def test_a_client_without_a_key_is_no_member(self) -> None:
        names = names_of(4)
        _, secure = federation(updates_of(names), dict.fromkeys(names, 1.0), mode="masked")
        with pytest.raises(ProtocolError, match="is no member of any"):
            client("a", Constant(UPDATE), secure=secure).answer(
                asking(SecureRequest(run=RUN, round=0, payload=b""))
            )

    def test_an_older_round_is_over_once_a_newer_has_begun(self) -> None:
        names = names_of(4)
        clients, secure = federation(updates_of(names), dict.fromkeys(names, 1.0), mode="masked")
        member = clients["client-0"]
        assert secure is not None
        for round in (5, 6, 6, 5):
            member.answer(asking(advertise(secure, round), to="client-0"))
        with pytest.raises(OutOfOrder, match="request of round 3; round 5 has begun"):
            member.answer(asking(advertise(secure, 3), to="client-0"))


def advertise(secure: SecureSum, round: int) -> SecureRequest:
    """The request that opens a session."""
    payload = secagg.encode(secagg.AdvertiseRequest(secure.roster.digest, RUN, round))
    return SecureRequest(run=RUN, round=round, payload=payload)


class TestFaultyDealer:
    def test_a_complaint_leaves_and_no_input(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The server needs the complaint to exclude the dealer; without training nothing is spent."""

        def complaining(*arguments: object, **more: object) -> None:
            raise FaultyDealer("client-3", "its share is wrong", b"signed complaint")

        monkeypatch.setattr(ClientSession, "accept_inputs_request", complaining)
        names = names_of(4)
        clients, secure = federation(
            updates_of(names), dict.fromkeys(names, 1.0), mode="masked", record=RECORD
        )
        assert secure is not None
        clients["client-0"].answer(asking(advertise(secure, 0), to="client-0"))
        request = SecureTrainRequest(run=RUN, round=0, payload=b"")
        reply = clients["client-0"].answer(asking(request, MODEL, to="client-0"))
        assert decode_reply(reply.body) == SecureReply(run=RUN, round=0, payload=b"signed complaint")
        assert reply.vectors == ()


class TestAccount:
    def test_a_round_is_charged_before_training_even_if_training_fails(self) -> None:
        account = Account()
        trainer = Watching(account)
        with pytest.raises(DataError):
            client("a", trainer, record=RECORD, account=account).answer(TRAIN)
        assert trainer.steps_before == [3]
        assert account.events == (SampledGaussianEvent(noise_multiplier=1.0, sample_rate=0.5, steps=3),)

    def test_a_spent_account_trains_nothing(self) -> None:
        trainer = Constant(UPDATE)
        with pytest.raises(BudgetExhausted):
            client("a", trainer, record=RECORD, account=Exhausted()).answer(TRAIN)
        assert trainer.rounds == []

    def test_each_round_is_charged(self) -> None:
        account = Account()
        member = client("a", Constant(UPDATE), record=RECORD, account=account)
        for round in range(3):
            member.answer(asking(TrainRequest(run=RUN, round=round), MODEL))
        assert account.steps == 9

    def test_without_dp_nothing_is_charged(self) -> None:
        account = Account()
        client("a", Constant(UPDATE), account=account).answer(TRAIN)
        assert account.steps == 0


class TestFailures:
    def failure(self, message: Message, **options: bool) -> Failure:
        reply = client("a", Watching(Account())).handle(message, **options)
        assert reply.vectors == ()
        failure = decode_reply(reply.body)
        assert isinstance(failure, Failure)
        return failure

    def test_an_error_leaves_as_its_class_name_alone(self) -> None:
        assert self.failure(TRAIN) == Failure(run=RUN, round=4, code="DataError", detail="")

    def test_its_line_leaves_only_where_both_have_one_owner(self) -> None:
        assert self.failure(TRAIN, reveal_detail=True).detail == "record 17 is broken"

    def test_a_request_that_does_not_decode_has_no_round(self) -> None:
        failure = self.failure(Message(client="a", body=b"junk"))
        assert (failure.code, failure.round) == ("MalformedMessage", 0)

    def test_errors_that_nobody_raised_on_purpose_are_not_hidden(self) -> None:
        class Broken:
            def train(self, params: Vector, *, round: int) -> Vector:
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            client("a", Broken()).handle(TRAIN)

    @given(st.binary(max_size=80), st.sampled_from(["clear", "masked", "ideal"]), st.booleans())
    def test_whatever_comes_a_decodable_reply_leaves(self, body: bytes, mode: Any, wrapped: bool) -> None:
        names = names_of(4)
        clients, _ = federation(updates_of(names), dict.fromkeys(names, 1.0), mode=mode)
        if wrapped:
            body = encode(SecureRequest(run=RUN, round=1, payload=body))
        reply = clients["client-0"].handle(Message(client="client-0", body=body))
        decode_reply(reply.body)


def test_a_model_s_digest_is_that_of_its_little_endian_bytes() -> None:
    values = np.array([1.0, -2.5], np.float32)
    assert model_digest(values) == model_digest(values.astype(">f4"))
    assert model_digest(values) != model_digest(-values)
    assert len(model_digest(values)) == 32
