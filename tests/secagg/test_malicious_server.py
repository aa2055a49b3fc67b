"""A server that cheats: each attack is refused by a named error, and what it has seen opens no input.

``Federation`` plays the honest server; each test steps in where a cheating one would. After every test it
is computed, from all that any client gave away and with each client in turn as the server's colluder, that
of the inputs at most one sum over enough of them is known: see ``server_view``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator

import msgspec
import numpy as np
import pytest

from fedlearn.crypto.agreement import AgreementKey
from fedlearn.crypto.identity import SigningKey
from fedlearn.errors import (
    AlreadyAnswered,
    ConfigError,
    ConfigurationMismatch,
    InconsistentMembers,
    KeyMisuse,
    MalformedMessage,
    ModelMismatch,
    OutOfOrder,
    RosterMismatch,
    TamperedMessage,
    TooFewClients,
    UnencodableVector,
    UnknownClient,
    WithheldShares,
)
from fedlearn.secagg.cohort import Cohort, Round
from fedlearn.secagg.latches import MemoryLatches
from fedlearn.secagg.messages import (
    Advert,
    AdvertiseRequest,
    Agreement,
    AgreeRequest,
    InputsRequest,
    ShareRequest,
    UnmaskRequest,
    decode_reply,
    decode_request,
    encode,
    expect,
)
from fedlearn.secagg.parameters import parameters, quorum_of
from fedlearn.secagg.roster import Roster, open_roster
from fedlearn.secagg.server import ServerSession
from tests.secagg.secagg_session import AGREED, MODEL, Federation, key_of, names_of
from tests.secagg.server_view import Eavesdropper, assert_opens_no_input

NAMES = names_of(6)
VICTIM = NAMES[0]


@pytest.fixture(autouse=True)
def _no_input_is_opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    heard = Eavesdropper(monkeypatch)
    yield
    for colluder in NAMES[1:]:
        assert_opens_no_input(heard, [colluder])


def opened(step: str, count: int = 6) -> tuple[Federation, bytes]:
    """A session with this step open, and the honest request that the victim would get."""
    federation = Federation(count)
    federation.until(step)
    return federation, federation.server.requests()[VICTIM]


def accept(federation: Federation, body: bytes, name: str = VICTIM) -> None:
    federation.clients[name].accept_inputs_request(body, model_digest=MODEL, configuration_digest=AGREED)


# R0 and R1: who takes part


def test_an_older_roster_is_refused() -> None:
    consortium = SigningKey.generate()
    older = Roster(version=1, members={"a": key_of("a").public})
    newer = Roster(version=2, members={"b": key_of("b").public})
    with pytest.raises(RosterMismatch, match="version 1 does not follow the pinned version 2"):
        open_roster(older.sign(consortium), consortium=consortium.public, pinned=newer)
    assert open_roster(newer.sign(consortium), consortium=consortium.public, pinned=older) == newer


def test_another_roster_of_the_pinned_version_is_refused() -> None:
    consortium = SigningKey.generate()
    pinned = Roster(version=2, members={"a": key_of("a").public})
    other = Roster(version=2, members={"a": key_of("b").public})
    with pytest.raises(RosterMismatch, match="does not follow"):
        open_roster(other.sign(consortium), consortium=consortium.public, pinned=pinned)


def test_a_roster_that_the_consortium_did_not_sign_is_refused() -> None:
    roster = Roster(version=1, members={"a": key_of("a").public})
    with pytest.raises(RosterMismatch, match="not signed"):
        open_roster(roster.sign(SigningKey.generate()), consortium=SigningKey.generate().public)


def test_a_session_under_another_roster_is_refused() -> None:
    federation, _ = opened("advertise")
    with pytest.raises(RosterMismatch):
        federation.clients[VICTIM].receive(encode(AdvertiseRequest(bytes(32), "run-1", 3)))


@pytest.mark.parametrize(("run", "round"), [("run-2", 3), ("run-1", 2)])
def test_a_session_of_another_run_or_round_is_refused(run: str, round: int) -> None:
    federation, _ = opened("advertise")
    assert federation.roster is not None
    with pytest.raises(OutOfOrder):
        federation.clients[VICTIM].receive(encode(AdvertiseRequest(federation.roster.digest, run, round)))


def test_a_second_advert_is_refused() -> None:
    federation, request = opened("advertise")
    federation.clients[VICTIM].receive(request)
    with pytest.raises(AlreadyAnswered):
        federation.clients[VICTIM].receive(request)


def adverts_with(change: Callable[[dict[str, Advert]], None]) -> tuple[Federation, bytes]:
    """A share request in which the adverts were changed and, as a cheating member would, signed again."""
    federation, request = opened("share")
    adverts = {a.client: a for a in expect(decode_request(request), ShareRequest).adverts}
    change(adverts)
    return federation, encode(ShareRequest(tuple(adverts[name] for name in sorted(adverts))))


def resigned(advert: Advert, **changes: bytes) -> Advert:
    changed = msgspec.structs.replace(advert, **changes)
    roster = Federation(6).roster
    assert roster is not None
    signed = Round(roster=roster, run="run-1", number=3).advert_bytes(changed)
    return msgspec.structs.replace(changed, signature=key_of(advert.client).sign(signed))


def test_a_sybil_outside_the_roster_is_refused() -> None:
    def add(adverts: dict[str, Advert]) -> None:
        del adverts[NAMES[5]]
        adverts["sybil"] = msgspec.structs.replace(adverts[NAMES[4]], client="sybil")

    federation, request = adverts_with(add)
    with pytest.raises(UnknownClient, match="sybil"):
        federation.clients[VICTIM].receive(request)


def test_more_clients_than_agreed_are_refused() -> None:
    roster = Roster(version=1, members={name: key_of(name).public for name in names_of(7)})
    large = Federation(7, roster=roster)
    large.clients[VICTIM] = Federation(6, roster=roster).clients[VICTIM]
    large.until("share")
    with pytest.raises(ConfigurationMismatch, match="7 adverts"):
        large.clients[VICTIM].receive(large.server.requests()[VICTIM])


def test_a_substituted_key_is_refused() -> None:
    def substitute(adverts: dict[str, Advert]) -> None:
        adverts[NAMES[1]] = msgspec.structs.replace(adverts[NAMES[1]], mask_public=bytes(range(32)))

    federation, request = adverts_with(substitute)
    with pytest.raises(TamperedMessage):
        federation.clients[VICTIM].receive(request)


def test_swapped_keys_are_refused() -> None:
    def swap(adverts: dict[str, Advert]) -> None:
        one = adverts[NAMES[1]]
        adverts[NAMES[1]] = msgspec.structs.replace(
            one, mask_public=one.share_public, share_public=one.mask_public
        )

    federation, request = adverts_with(swap)
    with pytest.raises(TamperedMessage):
        federation.clients[VICTIM].receive(request)


def test_a_reflected_key_is_refused() -> None:
    def reflect(adverts: dict[str, Advert]) -> None:
        adverts[NAMES[1]] = resigned(adverts[NAMES[1]], mask_public=adverts[VICTIM].mask_public)

    federation, request = adverts_with(reflect)
    with pytest.raises(KeyMisuse, match="each is fresh"):
        federation.clients[VICTIM].receive(request)


def test_one_key_for_both_purposes_is_refused() -> None:
    def double(adverts: dict[str, Advert]) -> None:
        adverts[NAMES[1]] = resigned(adverts[NAMES[1]], mask_public=adverts[NAMES[1]].share_public)

    federation, request = adverts_with(double)
    with pytest.raises(KeyMisuse):
        federation.clients[VICTIM].receive(request)


@pytest.mark.parametrize("point", [bytes(32), b"\1" + bytes(31)])
def test_a_share_key_of_low_order_is_refused(point: bytes) -> None:
    def weaken(adverts: dict[str, Advert]) -> None:
        adverts[NAMES[1]] = resigned(adverts[NAMES[1]], share_public=point)

    federation, request = adverts_with(weaken)
    with pytest.raises(KeyMisuse, match="low order"):
        federation.clients[VICTIM].receive(request)


def test_a_mask_key_of_low_order_is_refused_before_a_vector_leaves() -> None:
    """The honest server refuses such an advert; a cheating one forwards what its colluder signed."""
    federation = Federation(6)
    federation.exchange()
    federation.server.advance()
    request = expect(decode_request(federation.server.requests()[VICTIM]), ShareRequest)
    weak = {a.client: a for a in request.adverts}
    weak[NAMES[5]] = resigned(weak[NAMES[5]], mask_public=bytes(32))
    cohort = Cohort.of(tuple(weak.values()), where=federation.server._where, agreed=federation.server._agreed)
    federation.server._cohort = cohort
    federation.clients[NAMES[5]]._advert = weak[NAMES[5]]
    federation.exchange()
    federation.server.advance()
    vector = federation.inputs[VICTIM].copy()
    accept(federation, federation.server.requests()[VICTIM])
    with pytest.raises(KeyMisuse, match="low order"):
        federation.clients[VICTIM].mask(vector)
    np.testing.assert_array_equal(vector, federation.inputs[VICTIM])


def test_a_duplicated_advert_is_refused() -> None:
    federation, request = opened("share")
    adverts = expect(decode_request(request), ShareRequest).adverts
    with pytest.raises(InconsistentMembers, match="sorted and distinct"):
        federation.clients[VICTIM].receive(encode(ShareRequest((adverts[0], *adverts))))


def test_adverts_without_the_receiver_s_own_are_refused() -> None:
    def replay_own(adverts: dict[str, Advert]) -> None:
        other = AgreementKey.generate()
        adverts[VICTIM] = resigned(adverts[VICTIM], mask_public=other.public)

    federation, request = adverts_with(replay_own)
    with pytest.raises(InconsistentMembers, match="lack the one"):
        federation.clients[VICTIM].receive(request)


def test_replayed_adverts_of_another_round_are_refused() -> None:
    old = Federation(6, round=2)
    old.until("share")
    stale = decode_reply(old.sent["advertise"][NAMES[1]][0])

    def replay(adverts: dict[str, Advert]) -> None:
        adverts[NAMES[1]] = expect(stale, Advert)

    federation, request = adverts_with(replay)
    with pytest.raises(TamperedMessage):
        federation.clients[VICTIM].receive(request)


def test_a_cohort_below_the_floor_is_refused() -> None:
    federation, request = opened("share")
    adverts = expect(decode_request(request), ShareRequest).adverts
    with pytest.raises(TooFewClients, match="3 of 6"):
        federation.clients[VICTIM].receive(encode(ShareRequest(adverts[:3])))


# R2: what is masked, and with whom


def inputs_with(count: int = 6, **changes: object) -> tuple[Federation, bytes]:
    federation, request = opened("inputs", count)
    message = expect(decode_request(request), InputsRequest)
    return federation, encode(msgspec.structs.replace(message, **changes))


def test_a_withheld_ciphertext_is_refused() -> None:
    federation, request = opened("inputs")
    packages = expect(decode_request(request), InputsRequest).packages
    federation, request = inputs_with(packages=packages[1:])
    with pytest.raises(WithheldShares, match=NAMES[1]):
        accept(federation, request)


def test_members_without_the_receiver_are_refused() -> None:
    federation, request = inputs_with(members=tuple(NAMES[1:]))
    with pytest.raises(InconsistentMembers, match="leave out the receiver"):
        accept(federation, request)


@pytest.mark.parametrize("members", [[*NAMES, "stranger"], [NAMES[0], NAMES[0], *NAMES[1:]], NAMES[::-1]])
def test_impossible_members_are_refused(members: list[str]) -> None:
    federation, request = inputs_with(members=tuple(members))
    with pytest.raises((UnknownClient, InconsistentMembers)):
        accept(federation, request)


def test_members_below_the_floor_are_refused() -> None:
    federation, request = opened("inputs")
    message = expect(decode_request(request), InputsRequest)
    small = msgspec.structs.replace(message, members=tuple(NAMES[:3]), packages=message.packages[:2])
    with pytest.raises(TooFewClients, match="min_survivors=4") as caught:
        accept(federation, encode(small))
    assert caught.value.missing == tuple(NAMES[3:])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("clients", 5),
        ("colluders", 0),
        ("min_survivors", 3),
        ("neighbours", 4),
        ("threshold", 2),
        ("quorum", 3),
        ("agreed", bytes(32)),
    ],
)
def test_lowered_parameters_are_refused(name: str, value: object) -> None:
    federation, request = opened("inputs")
    offered = expect(decode_request(request), InputsRequest).configuration
    changed = msgspec.structs.replace(offered, **{name: value})
    federation, request = inputs_with(configuration=changed)
    with pytest.raises(ConfigurationMismatch, match=f"{name}="):
        accept(federation, request)


@pytest.mark.parametrize(("name", "value"), [("modulus_bits", 16), ("dimension", 4), ("dimension", 6)])
def test_a_lowered_modulus_or_another_dimension_is_refused(name: str, value: int) -> None:
    federation, request = opened("inputs")
    offered = expect(decode_request(request), InputsRequest).configuration
    changed = msgspec.structs.replace(offered, **{name: value})
    request = encode(
        msgspec.structs.replace(expect(decode_request(request), InputsRequest), configuration=changed)
    )
    accept(federation, request)
    vector = federation.inputs[VICTIM].copy()
    with pytest.raises(ConfigurationMismatch, match=f"{name}={value}"):
        federation.clients[VICTIM].mask(vector)
    np.testing.assert_array_equal(vector, federation.inputs[VICTIM])


def test_another_model_is_refused() -> None:
    federation, request = inputs_with(model_digest=bytes(32))
    with pytest.raises(ModelMismatch):
        accept(federation, request)


def test_neighbours_that_are_not_the_derived_ones_are_refused() -> None:
    federation = Federation(70, colluders=2, dropout=0.1)
    federation.until("inputs")
    request = federation.server.requests()[VICTIM]
    message = expect(decode_request(request), InputsRequest)
    cohort = federation.clients[VICTIM]._cohort
    assert cohort is not None
    stranger = next(n for n in cohort.members if n not in (VICTIM, *cohort.neighbours[VICTIM]))
    of_stranger = msgspec.structs.replace(message.packages[0], dealer=stranger)
    chosen = tuple(sorted((*message.packages[1:], of_stranger), key=lambda package: package.dealer))
    with pytest.raises(WithheldShares):
        accept(federation, encode(msgspec.structs.replace(message, packages=chosen)))


def test_a_second_masked_input_of_a_session_is_refused() -> None:
    federation, request = opened("inputs")
    accept(federation, request)
    vector = federation.inputs[VICTIM].copy()
    federation.clients[VICTIM].mask(vector)
    with pytest.raises(AlreadyAnswered):
        accept(federation, request)
    with pytest.raises(AlreadyAnswered):
        federation.clients[VICTIM].mask(vector)


def test_a_redo_of_the_round_with_one_client_fewer_is_refused() -> None:
    latches = {name: MemoryLatches() for name in NAMES}
    Federation(6, latches=latches).run_all()
    again = Federation(6, latches=latches, round=4)
    again.until("inputs", drops={"advertise": [NAMES[5]]})
    with pytest.raises(AlreadyAnswered, match="difference of two sums"):
        accept(again, again.server.requests()[VICTIM])


def test_a_redo_is_given_where_the_client_s_own_policy_allows_it() -> None:
    latches = {name: MemoryLatches() for name in NAMES}
    Federation(6, latches=latches).run_all()
    again = Federation(6, latches=latches, round=4, repeat_model=True)
    np.testing.assert_array_equal(again.run_all(), again.ideal(NAMES))


# R3: one view of the survivors


def masked_under(federation: Federation, name: str, request: bytes, **digests: bytes) -> bytes:
    wanted = {"model_digest": MODEL, "configuration_digest": AGREED, **digests}
    federation.clients[name].accept_inputs_request(request, **wanted)
    return federation.clients[name].mask(federation.inputs[name].copy())


def agree_after(federation: Federation, bodies: dict[str, bytes]) -> bytes:
    headers = [decode_reply(bodies[name]) for name in sorted(bodies) if name != VICTIM]
    return encode(AgreeRequest(tuple(sorted(bodies)), tuple(headers)))  # type: ignore[arg-type]


def test_an_inconsistent_u1_is_refused() -> None:
    federation = Federation(6)
    federation.until("inputs")
    bodies = {}
    for name, request in federation.server.requests().items():
        message = expect(decode_request(request), InputsRequest)
        if name == NAMES[1]:
            packages = tuple(p for p in message.packages if p.dealer != NAMES[5])
            message = msgspec.structs.replace(message, members=tuple(NAMES[:5]), packages=packages)
        bodies[name] = masked_under(federation, name, encode(message))
    with pytest.raises(InconsistentMembers, match="another set U1"):
        federation.clients[VICTIM].receive(agree_after(federation, bodies))


def test_inconsistent_models_are_refused_and_do_not_cancel() -> None:
    federation = Federation(6)
    federation.until("inputs")
    other = hashlib.sha256(b"a constant").digest()
    bodies = {}
    for name, request in federation.server.requests().items():
        message = expect(decode_request(request), InputsRequest)
        model = MODEL if name == VICTIM else other
        changed = encode(msgspec.structs.replace(message, model_digest=model))
        bodies[name] = masked_under(federation, name, changed, model_digest=model)
    with pytest.raises(ModelMismatch, match="was sent another model"):
        federation.clients[VICTIM].receive(agree_after(federation, bodies))


def test_inconsistent_configurations_are_refused() -> None:
    federation = Federation(6)
    federation.until("inputs")
    bodies = {}
    for name, request in federation.server.requests().items():
        message = expect(decode_request(request), InputsRequest)
        agreed = AGREED if name != NAMES[2] else bytes(32)
        offered = msgspec.structs.replace(message.configuration, agreed=agreed)
        changed = encode(msgspec.structs.replace(message, configuration=offered))
        bodies[name] = masked_under(federation, name, changed, configuration_digest=agreed)
    with pytest.raises(ConfigurationMismatch, match="was sent another configuration"):
        federation.clients[VICTIM].receive(agree_after(federation, bodies))


def agree_with(federation: Federation, survivors: list[str], receiver: str = VICTIM) -> bytes:
    headers = {n: decode_reply(body) for n, (body, _) in federation.sent["inputs"].items()}
    chosen = tuple(headers[n] for n in survivors if n != receiver)
    return encode(AgreeRequest(tuple(survivors), chosen))  # type: ignore[arg-type]


def test_survivors_without_the_receiver_are_refused() -> None:
    federation, _ = opened("agree")
    with pytest.raises(InconsistentMembers, match="leave out the receiver"):
        federation.clients[VICTIM].receive(agree_with(federation, NAMES[1:]))


def test_survivors_below_the_floor_are_refused() -> None:
    federation, _ = opened("agree")
    with pytest.raises(TooFewClients, match="min_survivors=4"):
        federation.clients[VICTIM].receive(agree_with(federation, NAMES[:3]))


def test_survivors_that_never_dealt_are_refused() -> None:
    federation = Federation(6)
    federation.until("agree", drops={"share": [NAMES[5]]})
    message = expect(decode_request(federation.server.requests()[VICTIM]), AgreeRequest)
    with pytest.raises(InconsistentMembers, match="never dealt"):
        federation.clients[VICTIM].receive(
            encode(AgreeRequest((*message.survivors, NAMES[5]), message.headers))
        )


def test_withheld_headers_are_refused() -> None:
    federation, request = opened("agree")
    message = expect(decode_request(request), AgreeRequest)
    with pytest.raises(WithheldShares, match="headers"):
        federation.clients[VICTIM].receive(encode(AgreeRequest(message.survivors, message.headers[1:])))


def test_two_requests_to_agree_are_refused() -> None:
    federation, _ = opened("agree")
    federation.clients[VICTIM].receive(agree_with(federation, NAMES))
    with pytest.raises(AlreadyAnswered):
        federation.clients[VICTIM].receive(agree_with(federation, NAMES[:5]))


def test_a_copy_of_a_client_s_state_signs_no_second_view() -> None:
    latches = {name: MemoryLatches() for name in NAMES}
    federation = Federation(6, latches=latches)
    federation.until("agree")
    original, copy = federation.clients[VICTIM], federation.client(VICTIM)
    copy.__dict__.update(original.__dict__)
    original.receive(agree_with(federation, NAMES))
    with pytest.raises(AlreadyAnswered, match=r"agree\|"):
        copy.receive(agree_with(federation, NAMES[:5]))


# R4: shares of one kind, once


def test_different_survivors_to_two_halves_open_nothing() -> None:
    """Isolation: tell some that the victim dropped out, and the victim that all is well."""
    federation, _ = opened("agree")
    with_victim = {n: federation.clients[n].receive(agree_with(federation, NAMES, n)) for n in NAMES[:3]}
    without = {n: federation.clients[n].receive(agree_with(federation, NAMES[1:], n)) for n in NAMES[3:]}
    signatures = [
        expect(decode_reply(body), Agreement) for body in (*with_victim.values(), *without.values())
    ]
    for name in NAMES:
        with pytest.raises(TamperedMessage):
            federation.clients[name].receive(encode(UnmaskRequest(tuple(signatures))))
        own = [s for s in signatures if (s.client in with_victim) == (name in with_victim)]
        with pytest.raises(TooFewClients, match="quorum=4"):
            federation.clients[name].receive(encode(UnmaskRequest(tuple(own))))


@pytest.mark.slow
def test_isolating_one_client_in_a_sparse_graph_opens_nothing() -> None:
    """Its neighbours hear that it dropped out, all others and itself that all is well (Bell et al. 2020)."""
    federation = Federation(70, colluders=2, dropout=0.1)
    federation.until("agree")
    everyone = names_of(70)
    cohort = federation.server._session()
    near = set(cohort.neighbours[VICTIM])
    signed = {}
    for name in everyone:
        told = [other for other in everyone if other != VICTIM or name not in near]
        headers = {n: decode_reply(body) for n, (body, _) in federation.sent["inputs"].items()}
        asked = AgreeRequest(tuple(told), tuple(headers[n] for n in cohort.neighbours_in(name, told)))  # type: ignore[misc]
        reply = decode_reply(federation.clients[name].receive(encode(asked)))
        signed[name] = expect(reply, Agreement)
    quorum = cohort.parameters.quorum
    for group in (near, set(everyone) - near):
        request = encode(UnmaskRequest(tuple(signed[name] for name in sorted(group))))
        if len(group) >= quorum:
            # Signatures of one half are a quorum for its own view only.
            for name in sorted(near):
                with pytest.raises(TamperedMessage):
                    federation.clients[name].receive(request)
            for name in sorted(group):
                federation.clients[name].receive(request)
        else:
            with pytest.raises(TooFewClients, match=f"quorum={quorum}"):
                federation.clients[min(group)].receive(request)


@pytest.mark.parametrize("count", [4, 5, 6, 7, 10, 20])
def test_no_two_survivor_sets_reach_the_quorum(count: int) -> None:
    """However the honest are split between two views, with all colluders signing both."""
    for colluders in range(1, count - 2):
        quorum, honest = quorum_of(count, colluders), count - colluders
        assert not any(
            part + colluders >= quorum and honest - part + colluders >= quorum for part in range(honest + 1)
        )


def test_signatures_below_the_quorum_are_refused() -> None:
    federation, request = opened("unmask")
    agreements = expect(decode_request(request), UnmaskRequest).agreements
    with pytest.raises(TooFewClients, match=r"3 clients signed .* quorum=4") as caught:
        federation.clients[VICTIM].receive(encode(UnmaskRequest(agreements[:3])))
    assert (caught.value.answered, caught.value.needed) == (3, 4)
    assert federation.clients[VICTIM].receive(encode(UnmaskRequest(agreements[:4])))


def test_a_repeated_signature_does_not_make_a_quorum() -> None:
    federation, request = opened("unmask")
    agreements = expect(decode_request(request), UnmaskRequest).agreements
    with pytest.raises(InconsistentMembers, match="sorted and distinct"):
        federation.clients[VICTIM].receive(encode(UnmaskRequest((*agreements[:3], agreements[2]))))


def test_a_signature_from_outside_the_session_does_not_count() -> None:
    federation = Federation(6)
    federation.until("unmask", drops={"advertise": [NAMES[5]]})
    message = expect(decode_request(federation.server.requests()[VICTIM]), UnmaskRequest)
    outsider = Agreement(NAMES[5], bytes(64))
    with pytest.raises(UnknownClient, match="no advert in the session"):
        federation.clients[VICTIM].receive(encode(UnmaskRequest((*message.agreements, outsider))))


def test_a_double_ask_is_refused() -> None:
    federation, request = opened("unmask")
    federation.clients[VICTIM].receive(request)
    with pytest.raises(AlreadyAnswered):
        federation.clients[VICTIM].receive(request)


def test_replay_of_r4_with_other_survivors_is_refused() -> None:
    latches = {name: MemoryLatches() for name in NAMES}
    federation = Federation(6, latches=latches)
    federation.until("unmask")
    request = federation.server.requests()[VICTIM]
    original, copy = federation.clients[VICTIM], federation.client(VICTIM)
    copy.__dict__.update(original.__dict__)
    copy._survivors = tuple(NAMES[:5])
    with pytest.raises(TamperedMessage):
        copy.receive(request)
    original.receive(request)
    copy._survivors = tuple(NAMES)
    with pytest.raises(AlreadyAnswered, match=r"unmask\|"):
        copy.receive(request)


def test_no_client_ever_reveals_both_shares_of_one_owner() -> None:
    federation = Federation(6)
    federation.until("unmask", drops={"inputs": [NAMES[5]]})
    cohort, held = federation.clients[VICTIM]._cohort, federation.clients[VICTIM]._inputs
    assert cohort is not None
    assert held is not None
    federation.exchange()
    shares = federation.server._recovery
    assert shares is not None
    revealed = decode_reply(federation.sent["unmask"][VICTIM][0]).shares  # type: ignore[union-attr]
    for owner, share in zip(cohort.owners(VICTIM, federation.server.members), revealed, strict=True):
        if owner != VICTIM:
            kept = held.held[owner]
            assert share == (kept.key_share if owner == NAMES[5] else kept.seed_share)


def test_secrets_are_gone_after_the_last_answer() -> None:
    federation = Federation(6)
    federation.run_all()
    for client in federation.clients.values():
        assert client._secrets is None
        assert client._inputs is None
        assert client._own_share == b""
        assert client.step == "finished"


# Steps out of order, and vectors


@pytest.mark.parametrize("step", ["share", "agree", "unmask"])
def test_a_request_before_its_step_is_refused(step: str) -> None:
    _, request = opened(step)
    with pytest.raises(OutOfOrder):
        Federation(6).clients[VICTIM].receive(request)


def test_a_request_for_inputs_goes_to_its_own_door() -> None:
    federation, request = opened("inputs")
    with pytest.raises(OutOfOrder, match="accept_inputs_request"):
        federation.clients[VICTIM].receive(request)
    with pytest.raises(OutOfOrder, match="follows accept_inputs_request"):
        federation.clients[VICTIM].mask(federation.inputs[VICTIM])


@pytest.mark.parametrize("size", [0, 4, 6])
def test_a_truncated_or_over_long_vector_is_refused(size: int) -> None:
    federation, request = opened("inputs")
    body, _ = federation.answer(VICTIM, request)
    with pytest.raises(UnencodableVector):
        federation.server.receive(VICTIM, body, np.zeros(size, "<u4"))
    assert VICTIM in federation.server.excluded
    assert not federation.server.total.any()


@pytest.mark.parametrize("dtype", ["<u2", "<i4", ">u4", "<f4"])
def test_a_vector_of_another_type_is_refused(dtype: str) -> None:
    federation, request = opened("inputs")
    body, _ = federation.answer(VICTIM, request)
    with pytest.raises(UnencodableVector):
        federation.server.receive(VICTIM, body, np.zeros(5, dtype))


def test_a_missing_or_superfluous_vector_is_refused() -> None:
    federation, request = opened("inputs")
    body, vector = federation.answer(VICTIM, request)
    with pytest.raises(MalformedMessage, match="without its masked vector"):
        federation.server.receive(VICTIM, body, None)
    fresh, advertise = opened("advertise")
    with pytest.raises(MalformedMessage, match="a vector came beside"):
        fresh.server.receive(VICTIM, fresh.clients[VICTIM].receive(advertise), vector)


# The other way round: clients and relays that cheat the server


def test_the_server_takes_no_answer_twice_and_none_from_strangers() -> None:
    federation, request = opened("advertise")
    body = federation.clients[VICTIM].receive(request)
    federation.server.receive(VICTIM, body)
    with pytest.raises(AlreadyAnswered):
        federation.server.receive(VICTIM, body)
    with pytest.raises(UnknownClient):
        federation.server.receive("stranger", body)
    with pytest.raises(TamperedMessage, match="sent a message of"):
        federation.server.receive(NAMES[1], body)


@pytest.mark.parametrize("name", ["mask_public", "share_public"])
@pytest.mark.parametrize("public", [bytes(32), b"\1" + bytes(31)])
def test_one_client_s_weak_key_does_not_cost_the_others_their_round(name: str, public: bytes) -> None:
    federation = Federation(6)
    federation.exchange(silent=[NAMES[1]])
    body = federation.clients[NAMES[1]].receive(federation.requested["advertise"][NAMES[1]])
    weak = resigned(expect(decode_reply(body), Advert), **{name: public})
    with pytest.raises(KeyMisuse, match="low order"):
        federation.server.receive(NAMES[1], encode(weak))
    federation.server.advance()
    total = federation.run_all()
    np.testing.assert_array_equal(total, federation.ideal([n for n in NAMES if n != NAMES[1]]))


def test_one_client_that_copies_a_key_does_not_cost_the_others_their_round() -> None:
    federation = Federation(6)
    federation.exchange(silent=[NAMES[1]])
    copied = expect(decode_reply(federation.sent["advertise"][VICTIM][0]), Advert)
    body = federation.clients[NAMES[1]].receive(federation.requested["advertise"][NAMES[1]])
    same = resigned(expect(decode_reply(body), Advert), mask_public=copied.mask_public)
    with pytest.raises(KeyMisuse, match="each is fresh"):
        federation.server.receive(NAMES[1], encode(same))
    assert "KeyMisuse" in federation.server.excluded[NAMES[1]]
    federation.server.advance()


def test_a_client_with_a_key_that_is_not_on_the_roster_opens_no_session() -> None:
    federation, _ = opened("advertise")
    assert federation.roster is not None
    members = {**federation.roster.members, VICTIM: SigningKey.generate().public}
    federation.roster = Roster(version=2, members=members)
    with pytest.raises(RosterMismatch, match="ask the consortium"):
        federation.client(VICTIM)


def test_a_cohort_larger_than_its_parameters_is_refused_at_birth() -> None:
    federation, _ = opened("advertise")
    assert federation.roster is not None
    with pytest.raises(ConfigError, match="at most 5"):
        ServerSession(
            clients=NAMES,
            roster=federation.roster,
            parameters=parameters(5, colluders=1),
            run="run-1",
            round=3,
            dimension=1,
            modulus_bits=32,
        )
