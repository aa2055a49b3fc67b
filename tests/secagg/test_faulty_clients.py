"""Clients that deal or reveal wrong shares: the right one is named, and nobody else pays."""

from __future__ import annotations

import numpy as np
import pytest

from fedlearn.crypto import shamir
from fedlearn.crypto.agreement import AgreementKey
from fedlearn.errors import (
    FaultyDealer,
    FaultyHolder,
    MalformedMessage,
    OutOfOrder,
    TamperedMessage,
    TooFewClients,
    UnknownClient,
)
from fedlearn.secagg import client as client_module
from fedlearn.secagg import dealing
from fedlearn.secagg.cohort import Cohort
from fedlearn.secagg.dealing import HeldShares, Secrets
from fedlearn.secagg.messages import (
    Complaint,
    Dealing,
    Revelation,
    SealedShares,
    decode_reply,
    encode,
    expect,
)
from fedlearn.secagg.transcript import complaint_bytes
from tests.secagg.secagg_session import AGREED, MODEL, Federation, key_of, names_of

NAMES = names_of(6)
DEALER, HOLDER = NAMES[1], NAMES[4]


def with_bad_dealer(monkeypatch: pytest.MonkeyPatch, holders: list[str]) -> Federation:
    """The dealer seals other shares than those whose hashes it signs."""
    seal_for = dealing._sealed

    def sealed(
        cohort: Cohort, dealer: str, holder: str, share_key: AgreementKey, held: HeldShares
    ) -> SealedShares:
        box = seal_for(cohort, dealer, holder, share_key, held)
        if dealer != DEALER or holder not in holders:
            return box
        wrong = HeldShares(seed_share=held.key_share, key_share=held.seed_share)
        other = seal_for(cohort, dealer, holder, share_key, wrong)
        return SealedShares(other.box, box.seed_share_hash, box.key_share_hash)

    monkeypatch.setattr(dealing, "_sealed", sealed)
    federation = Federation(6)
    federation.until("inputs")
    return federation


def complaint_of(federation: Federation, name: str) -> bytes:
    request = federation.server.requests()[name]
    with pytest.raises(FaultyDealer) as caught:
        federation.clients[name].accept_inputs_request(
            request, model_digest=MODEL, configuration_digest=AGREED
        )
    assert caught.value.dealer == DEALER
    return caught.value.complaint


def test_a_holder_names_the_dealer_on_receipt_and_the_round_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    federation = with_bad_dealer(monkeypatch, [HOLDER])
    complaint = complaint_of(federation, HOLDER)
    with pytest.raises(FaultyDealer, match=DEALER):
        federation.server.receive(HOLDER, complaint)
    federation.exchange(silent=[HOLDER])
    federation.server.advance()
    assert dict(federation.server.complaints) == {DEALER: frozenset({HOLDER})}
    total = federation.run_all()
    assert federation.server.survivors == tuple(name for name in NAMES if name != HOLDER)
    np.testing.assert_array_equal(total, federation.ideal(federation.server.survivors))
    assert DEALER in federation.server.excluded[HOLDER]


def test_the_dealer_is_excluded_from_u1_where_complaints_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    federation = with_bad_dealer(monkeypatch, [HOLDER])
    for name, request in federation.server.requests().items():
        if name == HOLDER:
            with pytest.raises(FaultyDealer):
                federation.server.receive(HOLDER, complaint_of(federation, HOLDER))
        else:
            federation.clients[name].accept_inputs_request(
                request, model_digest=MODEL, configuration_digest=AGREED
            )
    federation.server.exclude_accused()
    total = federation.run_all()
    assert federation.server.survivors == tuple(name for name in NAMES if name != DEALER)
    np.testing.assert_array_equal(total, federation.ideal(federation.server.survivors))
    assert list(federation.server.excluded) == [DEALER]


def test_dealers_are_not_excluded_once_a_vector_is_in_the_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    federation = with_bad_dealer(monkeypatch, [HOLDER])
    federation.exchange(silent=[HOLDER])
    with pytest.raises(OutOfOrder):
        federation.server.exclude_accused()


def test_a_dealer_that_cheats_everyone_voids_the_round_and_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    federation = with_bad_dealer(monkeypatch, NAMES)
    for name in NAMES:
        if name != DEALER:
            with pytest.raises(FaultyDealer):
                federation.server.receive(name, complaint_of(federation, name))
    with pytest.raises(TooFewClients):
        federation.server.advance()
    assert set(federation.server.complaints) == {DEALER}
    assert len(federation.server.complaints[DEALER]) == 5


def test_a_package_altered_by_the_server_is_no_complaint() -> None:
    federation = Federation(6)
    federation.until("inputs")
    packages = federation.server._packages[DEALER]
    packages[HOLDER] = packages[NAMES[2]]
    with pytest.raises(TamperedMessage):
        federation.clients[HOLDER].accept_inputs_request(
            federation.server.requests()[HOLDER], model_digest=MODEL, configuration_digest=AGREED
        )


def test_a_complaint_in_another_s_name_is_refused() -> None:
    federation = Federation(6)
    federation.until("inputs")
    session = federation.server._session().session
    forged = key_of(NAMES[2]).sign(complaint_bytes(session, holder=HOLDER, dealer=DEALER))
    with pytest.raises(TamperedMessage):
        federation.server.receive(HOLDER, encode(Complaint(DEALER, forged)))
    stranger = key_of(HOLDER).sign(complaint_bytes(session, holder=HOLDER, dealer="stranger"))
    with pytest.raises(UnknownClient):
        federation.server.receive(HOLDER, encode(Complaint("stranger", stranger)))
    assert not federation.server.complaints


def test_a_dealing_with_a_box_missing_is_refused() -> None:
    federation = Federation(6)
    federation.until("share")
    body = federation.clients[DEALER].receive(federation.server.requests()[DEALER])
    dealt = expect(decode_reply(body), Dealing)
    fewer = Dealing(dealt.seed_hash, dealt.own_share_hash, dealt.sealed[1:], dealt.signature)
    with pytest.raises(MalformedMessage, match="4 boxes"):
        federation.server.receive(DEALER, encode(fewer))


def revealing(federation: Federation, change: object) -> bytes:
    """The holder's revelation with its shares changed, signed by the holder itself."""
    request = federation.server.requests()[HOLDER]
    honest = expect(decode_reply(federation.clients[HOLDER].receive(request)), Revelation)
    shares = change(honest.shares)  # type: ignore[operator]
    message = federation.server._bound().revelation_bytes(
        client=HOLDER, survivors_digest=federation.server._survivors_digest, shares=shares
    )
    return encode(Revelation(tuple(shares), key_of(HOLDER).sign(message)))


@pytest.mark.parametrize(
    "change",
    [
        lambda shares: (bytes(33), *shares[1:]),
        lambda shares: (shares[1], shares[0], *shares[2:]),
        lambda shares: (b"\xff" * 33, *shares[1:]),
        lambda shares: (shamir.PRIME.to_bytes(33, "big"), *shares[1:]),
    ],
    ids=["other", "swapped", "beyond the field", "the order of the field"],
)
def test_a_holder_that_reveals_a_wrong_share_is_named_and_left_out(change: object) -> None:
    federation = Federation(6)
    federation.until("unmask")
    wrong = revealing(federation, change)
    with pytest.raises(FaultyHolder) as caught:
        federation.server.receive(HOLDER, wrong)
    assert caught.value.holder == HOLDER
    federation.exchange(silent=[HOLDER])
    federation.server.advance()
    np.testing.assert_array_equal(federation.server.total, federation.ideal(NAMES))
    assert "FaultyHolder" in federation.server.excluded[HOLDER]


def test_a_holder_that_reveals_too_few_shares_is_refused() -> None:
    federation = Federation(6)
    federation.until("unmask")
    with pytest.raises(MalformedMessage, match="5 shares"):
        federation.server.receive(HOLDER, revealing(federation, lambda shares: shares[1:]))


@pytest.mark.parametrize(
    ("secret", "match", "gone"),
    [
        (2**256 + 5, "beyond 2\\^256", []),
        (12345, "seed whose hash it signed", []),
        (12345, "key that it advertised", [DEALER]),
    ],
)
def test_a_dealer_whose_true_shares_rebuild_another_secret_is_named(
    secret: int, match: str, gone: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All hashes are right, only the polynomial is another: found when the secret is rebuilt."""
    honest_deal, honest_split = dealing.deal, shamir.split

    def deal(cohort: Cohort, dealer: str, secrets: Secrets, signer: object) -> tuple[Dealing, bytes]:
        def split(value: int, *, threshold: int, points: list[int]) -> dict[int, int]:
            return honest_split(secret, threshold=threshold, points=points)

        monkeypatch.setattr(dealing, "split", split if dealer == DEALER else honest_split)
        return honest_deal(cohort, dealer, secrets, signer)  # type: ignore[arg-type]

    monkeypatch.setattr(client_module, "deal", deal)
    federation = Federation(6)
    with pytest.raises(FaultyDealer, match=match) as caught:
        federation.run_all(drops={"inputs": gone})
    assert caught.value.dealer == DEALER
    assert not federation.server.finished
