"""Whatever is wrong with one client's answer, at whichever step: a named error, and the round goes on."""

from __future__ import annotations

import numpy as np
import pytest

from fedlearn._types import RingVector
from fedlearn.errors import (
    AlreadyAnswered,
    InconsistentMembers,
    MalformedMessage,
    OutOfOrder,
    TamperedMessage,
    UnknownClient,
)
from fedlearn.secagg.messages import Complaint, encode
from tests.secagg.secagg_session import Federation, names_of

NAMES = names_of(6)
CULPRIT, OTHER = NAMES[2], NAMES[4]
STEPS = ["advertise", "share", "inputs", "agree", "unmask"]
Answer = tuple[bytes, RingVector | None]


def answered(step: str, *, round: int = 3) -> tuple[Federation, Answer]:
    """All but the culprit have answered the step; and what the culprit would answer."""
    federation = Federation(6, round=round)
    federation.until(step)
    request = federation.server.requests()[CULPRIT]
    federation.exchange(silent=[CULPRIT])
    return federation, federation.answer(CULPRIT, request)


def assert_the_round_goes_on(federation: Federation, *, without: list[str], error: str = "") -> None:
    """The culprit is missing in the sum if it was not in it already, and its reason names the error."""
    before_the_sum = federation.server.step.value in STEPS[:3]
    federation.server.advance()
    total = federation.run_all(drops={step: without for step in STEPS})
    in_sum = [name for name in NAMES if name not in without] if before_the_sum else NAMES
    np.testing.assert_array_equal(total, federation.ideal(in_sum))
    assert set(federation.server.excluded) == set(without)
    assert all(error in reason for reason in federation.server.excluded.values())


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("body", [b"", b"\xff", b"\x91\xa6sa1.no", bytes(100)])
def test_malformed(step: str, body: bytes) -> None:
    federation, (_, vector) = answered(step)
    with pytest.raises(MalformedMessage):
        federation.server.receive(CULPRIT, body, vector)
    assert_the_round_goes_on(federation, without=[CULPRIT], error="MalformedMessage")


@pytest.mark.parametrize("step", STEPS)
def test_of_another_step(step: str) -> None:
    federation, _ = answered(step)
    other = answered("advertise" if step != "advertise" else "agree")[1][0]
    with pytest.raises(OutOfOrder):
        federation.server.receive(CULPRIT, other)
    assert_the_round_goes_on(federation, without=[CULPRIT], error="OutOfOrder")


@pytest.mark.parametrize("step", STEPS)
def test_replayed_from_another_round(step: str) -> None:
    federation, _ = answered(step)
    _, old = answered(step, round=2)
    # A header names the set U1 under its session's id, before its signature is looked at.
    error = InconsistentMembers if step == "inputs" else TamperedMessage
    with pytest.raises(error):
        federation.server.receive(CULPRIT, *old)
    assert_the_round_goes_on(federation, without=[CULPRIT], error=error.__name__)


@pytest.mark.parametrize("step", STEPS)
def test_of_another_client(step: str) -> None:
    federation, _ = answered(step)
    with pytest.raises(TamperedMessage):
        federation.server.receive(CULPRIT, *federation.sent[step][OTHER])
    assert_the_round_goes_on(federation, without=[CULPRIT], error="TamperedMessage")


@pytest.mark.parametrize("step", STEPS)
def test_sent_twice(step: str) -> None:
    federation, answer = answered(step)
    federation.server.receive(CULPRIT, *answer)
    with pytest.raises(AlreadyAnswered):
        federation.server.receive(CULPRIT, *answer)
    assert_the_round_goes_on(federation, without=[])


@pytest.mark.parametrize("step", STEPS)
def test_late(step: str) -> None:
    federation, answer = answered(step)
    in_sum = NAMES if step in STEPS[3:] else [name for name in NAMES if name != CULPRIT]
    federation.server.advance()
    before = federation.server.total.copy()
    with pytest.raises(UnknownClient, match="is not asked"):
        federation.server.receive(CULPRIT, *answer)
    np.testing.assert_array_equal(federation.server.total, before)
    np.testing.assert_array_equal(federation.run_all(), federation.ideal(in_sum))
    assert set(federation.server.excluded) == {CULPRIT}
    assert federation.server.excluded[CULPRIT].startswith(step)


def test_a_complaint_where_none_belongs() -> None:
    federation, _ = answered("agree")
    with pytest.raises(OutOfOrder):
        federation.server.receive(CULPRIT, encode(Complaint(OTHER, bytes(64))))
    assert_the_round_goes_on(federation, without=[CULPRIT], error="OutOfOrder")
