"""What four and five sites survive, step by step; and what a session may be told while it is prepared."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from fedlearn.errors import ConfigError, MalformedMessage, OutOfOrder, ProtocolError, TooFewClients
from fedlearn.secagg import messages as secagg
from fedlearn.secagg.parameters import parameters
from fedlearn.secagg.server import ServerSession
from fedlearn.secagg.step import Step, step_of
from tests.secagg.secagg_session import AGREED, MODEL, Federation, names_of

STEPS = [step for step in Step if step is not Step.FINISHED]
BEFORE_INPUT = (Step.ADVERTISE, Step.SHARE, Step.INPUTS)


def test_three_sites_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"clients=3 must be at least colluders \+ 3"):
        parameters(3, colluders=1)


@pytest.mark.parametrize("step", STEPS)
def test_four_sites_lose_none_before_its_update_is_in_and_one_after(step: Step) -> None:
    federation = Federation(4)
    lost = {step.value: [names_of(4)[2]]}
    if step in BEFORE_INPUT:
        with pytest.raises(TooFewClients, match="min_survivors=4"):
            federation.run_all(drops=lost)
    else:
        np.testing.assert_array_equal(federation.run_all(drops=lost), federation.ideal(names_of(4)))


@pytest.mark.parametrize("step", STEPS)
def test_five_sites_lose_one_at_any_step(step: Step) -> None:
    federation, names = Federation(5), names_of(5)
    total = federation.run_all(drops={step.value: [names[0]]})
    np.testing.assert_array_equal(total, federation.ideal(names[1:] if step in BEFORE_INPUT else names))


@pytest.mark.parametrize("step", BEFORE_INPUT)
def test_five_sites_do_not_lose_two_before_their_updates_are_in(step: Step) -> None:
    with pytest.raises(TooFewClients):
        Federation(5).run_all(drops={step.value: names_of(5)[:2]})


def test_five_sites_with_two_colluders_lose_none() -> None:
    assert parameters(5, colluders=2).tolerated_dropouts == 0


# Preparation


def test_who_has_answered_is_not_asked_again() -> None:
    federation, names = Federation(5), names_of(5)
    federation.exchange(silent=names[3:])
    assert list(federation.server.requests()) == names[3:]


def test_model_and_configuration_may_be_bound_until_r2_is_answered() -> None:
    federation = Federation(5)
    federation.until("inputs")
    other = bytes(range(32))
    federation.server.bind(model_digest=other, configuration_digest=AGREED)
    request = secagg.decode_request(federation.server.requests()[names_of(5)[0]])
    assert secagg.expect(request, secagg.InputsRequest).model_digest == other
    federation.server.bind(model_digest=MODEL, configuration_digest=AGREED)
    federation.exchange()
    with pytest.raises(OutOfOrder, match="bound before R2"):
        federation.server.bind(model_digest=other, configuration_digest=AGREED)


def test_inputs_are_held_to_what_was_bound_last() -> None:
    federation, names = Federation(5), names_of(5)
    federation.until("inputs")
    requests = federation.server.requests()
    answers = {name: federation.answer(name, requests[name]) for name in names}
    federation.server.bind(model_digest=bytes(range(32)), configuration_digest=AGREED)
    with pytest.raises(ProtocolError):
        federation.server.receive(names[0], *answers[names[0]])
    federation.server.bind(model_digest=MODEL, configuration_digest=AGREED)
    for name in names:
        federation.server.receive(name, *answers[name])
    federation.server.advance()
    np.testing.assert_array_equal(federation.run_all(), federation.ideal(names))


@pytest.mark.parametrize("step", [Step.ADVERTISE, Step.SHARE])
def test_a_client_may_be_left_out_until_r2(step: Step) -> None:
    federation, names = Federation(6), names_of(6)
    federation.until(step.value)
    federation.exchange()
    federation.server.exclude(names[1], "accused")
    federation.server.advance()
    federation.until("inputs")
    assert names[1] not in federation.server.members
    assert federation.server.excluded[names[1]] == f"{step.value}: accused"
    with pytest.raises(OutOfOrder, match="left out before R2"):
        federation.server.exclude(names[2], "accused")
    total = federation.run_all()
    np.testing.assert_array_equal(total, federation.ideal([name for name in names if name != names[1]]))


def test_a_session_of_nobody_fails_by_name() -> None:
    federation = Federation(5)
    assert federation.roster is not None
    assert federation.agreed is not None
    empty = ServerSession(
        clients=[],
        roster=federation.roster,
        parameters=federation.agreed,
        run="run-1",
        round=0,
        dimension=1,
        modulus_bits=32,
    )
    with pytest.raises(TooFewClients, match="0 clients are left"):
        empty.advance()


@pytest.mark.parametrize("step", STEPS)
def test_a_request_says_which_step_it_belongs_to(step: Step) -> None:
    federation = Federation(4)
    federation.until(step.value)
    assert {step_of(body) for body in federation.server.requests().values()} == {step}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x90",
        b"\x80",
        b"\x91\xc0",
        msgspec.msgpack.encode(["sa1.advert", "a"]),
        msgspec.msgpack.encode(["sa1.finished"]),
        msgspec.msgpack.encode(["\ud800".encode("utf-8", "surrogatepass")]),
        b"\x91\xa1\xff",
    ],
)
def test_what_is_no_request_belongs_to_no_step(body: bytes) -> None:
    with pytest.raises(MalformedMessage, match="no request"):
        step_of(body)
