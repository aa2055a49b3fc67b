"""The server of a round: one aggregate, and a reason for every client that is not in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import pytest

from fedlearn._types import Vector
from fedlearn.aggregators.median import Median
from fedlearn.aggregators.weighted_mean import WeightedMean
from fedlearn.errors import ConfigError, FaultyDealer, RunError
from fedlearn.rounds.client import Client
from fedlearn.rounds.messages import Failure, Reply, SecureReply, TrainReply, decode_request, encode
from fedlearn.rounds.protection import SecureSum
from fedlearn.rounds.server import RoundServer
from fedlearn.rounds.transport import Lost, Message
from tests.rounds.parties import RUN, Answer, Calls, federation, names_of, updates_of

Mode = Literal["clear", "masked", "ideal"]
NAMES = names_of(6)
UPDATES = updates_of(NAMES)
WEIGHTS = {name: weight for name, weight in zip(NAMES, (1.0, 0.5, 0.25, 0.75, 1.0, 0.125), strict=True)}
MODEL = np.zeros(6, np.float32)


def server(
    transport: Calls,
    secure: SecureSum | None = None,
    *,
    weights: Mapping[str, float] = WEIGHTS,
    **options: Any,
) -> RoundServer:
    options = {"aggregator": WeightedMean(), **options}
    return RoundServer(transport=transport, run=RUN, weights=weights, secure=secure, **options)


def made(mode: Mode = "clear") -> tuple[dict[str, Client], SecureSum | None]:
    return federation(UPDATES, WEIGHTS, mode=mode)


def mean_of(names: list[str]) -> Vector:
    total = sum(WEIGHTS[name] * UPDATES[name].astype(np.float64) for name in names)
    mean: Vector = np.asarray(total / sum(WEIGHTS[name] for name in names), np.float32)
    return mean


def replying(reply: Callable[[Message], Reply], *vectors: np.ndarray[Any, Any]) -> Answer:
    return lambda request: Message(client=request.client, body=encode(reply(request)), vectors=vectors)


def trained(request: Message) -> Reply:
    return TrainReply(run=RUN, round=decode_request(request.body).round)


def lost(request: Message) -> Lost:
    return Lost(client=request.client, reason="timeout")


ONE = np.ones(6, np.float32)
FAULTS: dict[str, tuple[Answer, str]] = {
    "lost": (lost, "timeout"),
    "junk": (lambda request: Message(client=request.client, body=b"junk"), "MalformedMessage"),
    "another-run": (replying(lambda request: TrainReply(run="other", round=2), ONE), "stale"),
    "another-round": (replying(lambda request: TrainReply(run=RUN, round=1), ONE), "stale"),
    "an-error": (replying(lambda request: Failure(run=RUN, round=2, code="DataError")), "DataError"),
    "no-vector": (replying(trained), "UnexpectedReply"),
    "two-vectors": (replying(trained, ONE, ONE), "UnexpectedReply"),
    "another-kind": (
        replying(lambda request: SecureReply(run=RUN, round=2, payload=b""), ONE),
        "UnexpectedReply",
    ),
    "short": (replying(trained, ONE[:5]), "MalformedVector"),
    "double": (replying(trained, ONE.astype(np.float64)), "MalformedVector"),
    "matrix": (replying(trained, ONE[None]), "MalformedVector"),
    "nan": (replying(trained, ONE * np.float32(np.nan)), "ProtocolError"),
    "infinite": (replying(trained, ONE * np.float32(np.inf)), "ProtocolError"),
}


class TestInTheClear:
    def test_the_aggregate_is_the_weighted_mean_of_the_cohort(self) -> None:
        clients, _ = made()
        outcome = server(Calls(clients)).run_round(MODEL, NAMES, round=2)
        assert outcome.update is not None
        np.testing.assert_allclose(outcome.update, mean_of(NAMES), atol=1e-7)
        assert outcome.update.dtype == np.float32
        assert (outcome.survivors, outcome.dropped, outcome.failure) == (tuple(NAMES), {}, None)
        assert outcome.round == 2

    def test_only_the_cohort_is_asked(self) -> None:
        clients, _ = made()
        calls = Calls(clients)
        outcome = server(calls).run_round(MODEL, NAMES[2:4], round=0)
        assert calls.asked == list(outcome.asked_to_train) == NAMES[2:4]

    @pytest.mark.parametrize("fault", list(FAULTS))
    def test_a_faulty_client_is_left_out_with_a_reason(self, fault: str) -> None:
        clients, _ = made()
        answer, reason = FAULTS[fault]
        outcome = server(Calls(clients, {NAMES[3]: answer})).run_round(MODEL, NAMES, round=2)
        others = [name for name in NAMES if name != NAMES[3]]
        assert outcome.dropped == {NAMES[3]: reason}
        assert outcome.survivors == tuple(others)
        assert outcome.asked_to_train == tuple(NAMES), "it was sent the model: it may have trained"
        assert outcome.update is not None
        np.testing.assert_allclose(outcome.update, mean_of(others), atol=1e-7)

    def test_a_second_answer_in_a_client_s_name_is_not_taken(self) -> None:
        clients, _ = made()

        def posing(request: Message) -> Message:
            return Message(client=NAMES[0], body=encode(trained(request)), vectors=(100 * ONE,))

        outcome = server(Calls(clients, {NAMES[3]: posing})).run_round(MODEL, NAMES, round=2)
        others = [name for name in NAMES if name != NAMES[3]]
        assert outcome.dropped == {NAMES[3]: "excluded"}
        assert outcome.update is not None
        np.testing.assert_allclose(outcome.update, mean_of(others), atol=1e-7)

    def test_an_answer_of_a_stranger_is_not_taken(self) -> None:
        clients, _ = made()
        stranger = {NAMES[3]: lambda request: Message(client="stranger", body=encode(trained(request)))}
        outcome = server(Calls(clients, stranger)).run_round(MODEL, NAMES, round=2)
        assert "stranger" not in outcome.survivors
        assert outcome.dropped == {NAMES[3]: "excluded"}

    def test_nobody_left_is_a_failed_round_with_no_update(self) -> None:
        clients, _ = made()
        outcome = server(Calls(clients, dict.fromkeys(NAMES, lost))).run_round(MODEL, NAMES, round=2)
        assert outcome.update is None
        assert outcome.failure is not None
        assert outcome.survivors == ()
        assert outcome.dropped == dict.fromkeys(NAMES, "timeout")

    def test_an_empty_cohort_is_a_failed_round(self) -> None:
        clients, _ = made()
        outcome = server(Calls(clients)).run_round(MODEL, [], round=2)
        assert (outcome.update, outcome.bytes_up, outcome.bytes_down) == (None, 0, 0)

    def test_another_aggregator_takes_its_place(self) -> None:
        clients, _ = made()
        outcome = server(Calls(clients), aggregator=Median()).run_round(MODEL, NAMES, round=0)
        assert outcome.update is not None
        np.testing.assert_allclose(outcome.update, np.median(list(UPDATES.values()), axis=0), atol=1e-7)

    def test_bytes_are_those_of_the_messages(self) -> None:
        clients, _ = made()
        outcome = server(Calls(clients)).run_round(MODEL, NAMES, round=2)
        assert outcome.bytes_up == 6 * (24 + len(encode(TrainReply(run=RUN, round=2))))
        assert outcome.bytes_down == outcome.bytes_up - 6 * 2, "'trained' is two letters more than 'train'"

    def test_updates_are_observed_as_they_arrive(self) -> None:
        clients, _ = made()
        seen: list[tuple[int, int, int]] = []
        watched = server(Calls(clients), observe=lambda *progress: seen.append(progress))
        watched.run_round(MODEL, NAMES, round=2)
        assert seen == [(2, done, 6) for done in range(1, 7)]

    def test_the_deadline_is_the_transport_s(self) -> None:
        clients, _ = made()
        calls = Calls(clients)
        server(calls, deadline=2.5).run_round(MODEL, NAMES, round=0)
        assert calls.deadlines == {2.5}

    def test_a_strict_server_raises_what_a_client_reports(self) -> None:
        clients, _ = made()
        failing = replying(lambda request: Failure(run=RUN, round=2, code="DataError", detail="17 is broken"))
        with pytest.raises(RunError, match="client 'client-3': DataError: 17 is broken"):
            server(Calls(clients, {NAMES[3]: failing}), strict=True).run_round(MODEL, NAMES, round=2)


class TestSecureModes:
    @pytest.mark.parametrize("mode", ["masked", "ideal"])
    def test_the_sum_is_the_weighted_mean_to_the_ring_s_resolution(self, mode: Mode) -> None:
        clients, secure = made(mode)
        assert secure is not None
        outcome = server(Calls(clients), secure, strict=True).run_round(MODEL, NAMES, round=2)
        assert outcome.update is not None
        step = 2.0**-secure.encoding.fractional_bits
        slack = len(NAMES) * step / sum(WEIGHTS.values())
        np.testing.assert_allclose(outcome.update, mean_of(NAMES), atol=slack + 1e-7)
        assert outcome.survivors == tuple(NAMES)
        assert outcome.asked_to_train == tuple(NAMES)

    def test_both_give_the_same_bits(self) -> None:
        results = [
            server(Calls(clients), secure).run_round(MODEL, NAMES, round=2).update
            for clients, secure in (made("masked"), made("ideal"))
        ]
        assert results[0] is not None
        assert results[1] is not None
        assert results[0].tobytes() == results[1].tobytes()

    @pytest.mark.parametrize("call", range(5))
    def test_a_client_that_vanishes_at_any_step_is_survived(self, call: int) -> None:
        clients, secure = made("masked")
        calls = Calls(clients)
        asked = 0

        def vanishing(request: Message) -> Message | Lost:
            nonlocal asked
            asked += 1
            return lost(request) if asked > call else clients[NAMES[3]].handle(request)

        calls.faults[NAMES[3]] = vanishing
        outcome = server(calls, secure).run_round(MODEL, NAMES, round=2)
        assert outcome.failure is None
        # Who gave its masked input is in the sum, though it vanished afterwards.
        others = [name for name in NAMES if name != NAMES[3] or call > 2]
        assert outcome.survivors == tuple(others)
        assert outcome.dropped == ({} if call > 2 else {NAMES[3]: "timeout"})
        assert outcome.update is not None
        np.testing.assert_allclose(outcome.update, mean_of(others), atol=1e-6)

    @pytest.mark.parametrize("mode", ["masked", "ideal"])
    def test_below_the_floor_the_round_is_void(self, mode: Mode) -> None:
        clients, secure = made(mode)
        assert secure is not None
        gone = NAMES[: len(NAMES) - secure.parameters.min_survivors + 1]
        outcome = server(Calls(clients, dict.fromkeys(gone, lost)), secure).run_round(MODEL, NAMES, round=2)
        assert outcome.update is None
        assert outcome.survivors == ()
        assert outcome.failure is not None
        assert str(secure.parameters.min_survivors) in outcome.failure

    @pytest.mark.parametrize(
        "answer",
        [
            lambda request: Message(client=request.client, body=b"junk"),
            replying(lambda request: SecureReply(run=RUN, round=2, payload=b"junk")),
            replying(lambda request: TrainReply(run=RUN, round=2), ONE),
            replying(lambda request: Failure(run=RUN, round=2, code="DataError")),
            replying(lambda request: SecureReply(run=RUN, round=1, payload=b"")),
        ],
        ids=["junk", "junk-payload", "another-kind", "an-error", "stale"],
    )
    def test_a_client_that_answers_nonsense_is_left_out(self, answer: Answer) -> None:
        clients, secure = made("masked")
        outcome = server(Calls(clients, {NAMES[3]: answer}), secure).run_round(MODEL, NAMES, round=2)
        others = [name for name in NAMES if name != NAMES[3]]
        assert outcome.survivors == tuple(others)
        assert list(outcome.dropped) == [NAMES[3]]
        assert outcome.update is not None
        np.testing.assert_allclose(outcome.update, mean_of(others), atol=1e-6)

    def test_arrivals_of_masked_inputs_are_observed(self) -> None:
        clients, secure = made("masked")
        seen: list[tuple[int, int, int]] = []
        server(Calls(clients), secure, observe=lambda *progress: seen.append(progress)).run_round(
            MODEL, NAMES, round=2
        )
        assert seen == [(2, done, 6) for done in range(1, 7)]

    def test_consecutive_rounds_use_fresh_sessions(self) -> None:
        clients, secure = made("masked")
        rounds = server(Calls(clients), secure, strict=True)
        model = MODEL
        for round in range(2):
            outcome = rounds.run_round(model, NAMES, round=round)
            assert outcome.update is not None
            np.testing.assert_allclose(outcome.update, mean_of(NAMES), atol=1e-6)
            model = model + outcome.update

    def test_more_clients_than_the_ring_was_proved_for_are_refused(self) -> None:
        clients, secure = made("masked")
        with pytest.raises(ConfigError, match="at most 6"):
            server(Calls(clients), secure).run_round(MODEL, [*NAMES, "client-9"], round=0)


def test_a_dealer_found_at_fault_at_the_end_voids_the_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its shares were what it signed and still rebuild no secret: there is no sum, and no crash."""

    def at_fault(self: object, total: object) -> None:
        raise FaultyDealer("client-3", "its shares do not rebuild the seed whose hash it signed")

    monkeypatch.setattr("fedlearn.secagg.recovery.Recovery.unmask", at_fault)
    clients, secure = made("masked")
    params = np.zeros(6, np.float32)
    outcome = server(Calls(clients), secure).run_round(params, sorted(clients), round=0)
    assert outcome.update is None
    assert outcome.failure is not None
    assert "client-3" in outcome.failure
