"""A server that mixes the sessions of two rounds: each attempt is refused by name."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import msgspec
import pytest

from fedlearn.rounds.messages import (
    Failure,
    Reply,
    Request,
    SecureReply,
    SecureRequest,
    SecureTrainRequest,
    decode_reply,
    decode_request,
    encode,
)
from fedlearn.rounds.transport import Message
from fedlearn.secagg import messages as secagg
from fedlearn.secagg.step import Step, step_of
from tests.rounds.parties import RUN
from tests.rounds.test_pipelining import NAMES, Course, Wire, asked, model_of

VICTIM, OTHER = NAMES[0], NAMES[1]
Place = tuple[int, Step]


class Paused(Exception):
    """The message at which the honest part ends is about to be delivered."""


@dataclass
class Spying(Wire):
    """Keeps each request and each answer as the session's own message, until the victim reaches a place.

    Attributes:
      sent: (client, round, step) → the request.
      got: (client, round, step) → the answer.
    """

    until: Place = (0, Step.ADVERTISE)
    sent: dict[tuple[str, int, Step], bytes] = field(default_factory=dict)
    got: dict[tuple[str, int, Step], bytes] = field(default_factory=dict)

    def deliver(self, request: Message) -> Message:
        places = asked(request)
        self._keep(self.sent, request.client, places, decode_request(request.body))
        if request.client == VICTIM and self.until in places:
            raise Paused
        answer = super().deliver(request)
        self._keep(self.got, request.client, places, decode_reply(answer.body))
        return answer

    @staticmethod
    def _keep(
        kept: dict[tuple[str, int, Step], bytes], client: str, places: list[Place], message: Request | Reply
    ) -> None:
        if isinstance(message, Failure):
            return
        assert isinstance(message, SecureRequest | SecureReply)
        for (round, step), payload in zip(places, (message.payload, message.ahead), strict=False):
            kept[client, round, step] = payload


class Attack:
    """Honest rounds until the victim is about to get a message; from there on the server cheats."""

    def __init__(self, round: int, step: Step, **options: Any) -> None:
        course = Course([NAMES] * 3, wired=partial(Spying, until=(round, step)), **options)
        with pytest.raises(Paused):
            course.run()
        assert isinstance(course.wire, Spying)
        self.sent, self.got = course.wire.sent, course.wire.got
        self.course, self.victim = course, course.wire.clients[VICTIM]

    def ask(self, round: int, payload: bytes, *, ahead: bytes = b"") -> Reply:
        """The victim's answer to a request of the server's own making."""
        trains = step_of(payload) is Step.INPUTS
        kind, vectors = (SecureTrainRequest, (model_of(round),)) if trains else (SecureRequest, ())
        body = encode(kind(run=RUN, round=round, payload=payload, ahead=ahead))
        return decode_reply(self.victim.handle(Message(client=VICTIM, body=body, vectors=vectors)).body)

    def refused(self, round: int, payload: bytes) -> str:
        """The name of the error in which the request ends."""
        reply = self.ask(round, payload)
        assert isinstance(reply, Failure)
        return reply.code

    def honest(self, round: int, step: Step) -> bytes:
        """What the honest server would have asked the victim."""
        return self.sent[VICTIM, round, step]


def test_the_honest_requests_are_answered() -> None:
    """Else the refusals below would prove nothing."""
    for round, step in ((1, Step.SHARE), (1, Step.INPUTS), (1, Step.AGREE), (1, Step.UNMASK)):
        attack = Attack(round, step)
        assert isinstance(attack.ask(round, attack.honest(round, step)), SecureReply)


@pytest.mark.parametrize("step", [Step.INPUTS, Step.AGREE, Step.UNMASK])
def test_a_prepared_session_does_not_skip_ahead(step: Step) -> None:
    """Requests of this round's session, in the name of the next one's, whose cohort is not yet made."""
    attack = Attack(0, step)
    assert attack.refused(1, attack.honest(0, step)) == "OutOfOrder"


@pytest.mark.parametrize("step", [Step.SHARE, Step.INPUTS, Step.AGREE, Step.UNMASK])
def test_a_step_that_rides_ahead_is_refused_alone(step: Step) -> None:
    attack = Attack(0, Step.AGREE)
    earlier = attack.sent.get((VICTIM, 0, step), attack.sent[VICTIM, 0, Step.SHARE])
    reply = attack.ask(0, attack.honest(0, Step.AGREE), ahead=earlier)
    assert isinstance(reply, SecureReply)
    assert reply.payload, "this round goes on"
    assert (reply.ahead, reply.refusal) in {
        (b"", "OutOfOrder"),  # not due
        (b"", "InconsistentMembers"),  # the adverts are those of another session
    }


def test_the_unmasking_of_one_session_opens_nothing_of_the_next() -> None:
    attack = Attack(1, Step.UNMASK)
    assert attack.refused(2, attack.honest(1, Step.UNMASK)) == "OutOfOrder"
    assert attack.refused(0, attack.honest(1, Step.UNMASK)) == "OutOfOrder"


def test_signatures_of_the_round_before_are_no_quorum() -> None:
    attack = Attack(1, Step.UNMASK)
    assert attack.refused(1, attack.honest(0, Step.UNMASK)) == "TamperedMessage"


def test_headers_of_the_round_before_are_no_survivors() -> None:
    attack = Attack(1, Step.AGREE)
    assert attack.refused(1, attack.honest(0, Step.AGREE)) == "TamperedMessage"


def test_shares_dealt_in_the_round_before_are_refused() -> None:
    attack = Attack(1, Step.INPUTS)
    honest = secagg.expect(secagg.decode_request(attack.honest(1, Step.INPUTS)), secagg.InputsRequest)
    before = secagg.expect(secagg.decode_request(attack.honest(0, Step.INPUTS)), secagg.InputsRequest)
    assert attack.refused(1, secagg.encode(msgspec.structs.replace(honest, packages=before.packages))) == (
        "TamperedMessage"
    )
    assert attack.refused(1, attack.honest(0, Step.INPUTS)) == "ModelMismatch"


def with_advert(attack: Attack, round: int, advert: bytes) -> bytes:
    """The request to share in which another client's advert is replaced."""
    request = secagg.expect(secagg.decode_request(attack.honest(round, Step.SHARE)), secagg.ShareRequest)
    replay = secagg.expect(secagg.decode_reply(advert), secagg.Advert)
    adverts = tuple(replay if known.client == OTHER else known for known in request.adverts)
    return secagg.encode(secagg.ShareRequest(adverts))


def test_a_prepared_advert_of_an_older_round_is_refused() -> None:
    attack = Attack(2, Step.SHARE)
    for round in (0, 1):
        stale = with_advert(attack, 2, attack.got[OTHER, round, Step.ADVERTISE])
        assert attack.refused(2, stale) == "TamperedMessage"


def test_all_adverts_of_an_older_round_are_refused() -> None:
    attack = Attack(2, Step.SHARE)
    assert attack.refused(2, attack.honest(1, Step.SHARE)) == "InconsistentMembers"


def test_a_session_opened_anew_has_fresh_keys_and_forgets_the_old_ones() -> None:
    attack = Attack(1, Step.SHARE)
    first = attack.got[VICTIM, 1, Step.ADVERTISE]
    again = attack.ask(1, attack.honest(1, Step.ADVERTISE))
    assert isinstance(again, SecureReply)
    old, new = (secagg.expect(secagg.decode_reply(b), secagg.Advert) for b in (first, again.payload))
    assert not {old.mask_public, old.share_public, old.nonce} & {
        new.mask_public,
        new.share_public,
        new.nonce,
    }
    assert attack.refused(1, attack.honest(1, Step.SHARE)) == "InconsistentMembers"


def test_a_refused_request_to_open_a_session_leaves_the_others_as_they_were() -> None:
    attack = Attack(1, Step.AGREE)
    forged = secagg.encode(secagg.AdvertiseRequest(bytes(32), RUN, 3))
    assert attack.refused(3, forged) == "RosterMismatch"
    assert isinstance(attack.ask(1, attack.honest(1, Step.AGREE)), SecureReply)


def test_a_round_opened_anew_after_its_input_gives_neither_its_signature_nor_a_second_input() -> None:
    attack = Attack(1, Step.AGREE)
    attack.ask(1, attack.honest(1, Step.ADVERTISE))
    assert attack.refused(1, attack.honest(1, Step.AGREE)) == "OutOfOrder"
    attack.course.wire.until = (9, Step.UNMASK)  # type: ignore[attr-defined]
    outcome = attack.course.server.run_round(model_of(1), NAMES, round=1)
    assert outcome.failure is not None
    assert set(outcome.dropped.values()) == {"AlreadyAnswered"}


@pytest.mark.parametrize("step", [Step.SHARE, Step.INPUTS, Step.AGREE, Step.UNMASK])
def test_a_replay_within_the_round_is_refused(step: Step) -> None:
    attack = Attack(1, Step.UNMASK)
    if step is Step.UNMASK:
        attack.ask(1, attack.honest(1, step))
    assert attack.refused(1, attack.honest(1, step)) in {"AlreadyAnswered", "ModelMismatch"}


def test_rounds_that_are_over_are_not_opened_again() -> None:
    attack = Attack(2, Step.INPUTS)
    assert attack.refused(0, attack.honest(0, Step.ADVERTISE)) == "OutOfOrder"


def test_a_cohort_of_another_round_s_size_is_bound_to_its_own_session() -> None:
    """Members of round 1 shown in round 2: every digest and package binds the session id."""
    attack = Attack(2, Step.INPUTS)
    honest = secagg.expect(secagg.decode_request(attack.honest(2, Step.INPUTS)), secagg.InputsRequest)
    fewer = msgspec.structs.replace(honest, members=honest.members[:-1])
    assert attack.refused(2, secagg.encode(fewer)) == "WithheldShares"
