"""What the parties of a simulation work out once: the same answers, fewer computations."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedlearn.crypto import agreement, identity
from fedlearn.crypto.agreement import AgreementKey
from fedlearn.crypto.identity import SigningKey, verify
from fedlearn.crypto.shared_answers import (
    ROW_BYTES,
    SharedAnswers,
    digest_of,
    shared_secret,
    shared_value,
    sharing,
)
from fedlearn.errors import KeyMisuse, TamperedMessage
from fedlearn.simulation.workers.memory import shared_array

BYTES = st.binary(min_size=32, max_size=32)


def table(rows: int = 64) -> np.ndarray:
    return np.zeros((rows, ROW_BYTES), np.uint8)


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Returns the messages that are verified in truth."""
    messages: list[bytes] = []
    truly = identity._verifies

    def noted(public: bytes, signature: bytes, message: bytes) -> bytes:
        messages.append(message)
        return truly(public, signature, message)

    monkeypatch.setattr(identity, "_verifies", noted)
    return messages


@pytest.fixture
def sharing_parties() -> Iterator[np.ndarray]:
    rows = table()
    with sharing(SharedAnswers(rows)):
        yield rows


@pytest.fixture
def exchanges(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Returns the peers that a key is exchanged with in truth."""
    peers: list[bytes] = []
    truly = AgreementKey._exchanged

    def noted(self: AgreementKey, peer: bytes) -> bytes:
        peers.append(peer)
        return truly(self, peer)

    monkeypatch.setattr(agreement.AgreementKey, "_exchanged", noted)
    return peers


@pytest.mark.usefixtures("sharing_parties")
def test_the_same_signature_is_verified_once(verified: list[bytes]) -> None:
    key = SigningKey.generate()
    for _ in range(3):
        verify(key.public, key.sign(b"a"), b"a")
    assert verified == [b"a"]


@pytest.mark.usefixtures("sharing_parties")
def test_whatever_differs_is_verified_anew_and_refused(verified: list[bytes]) -> None:
    key, other = SigningKey.generate(), SigningKey.generate()
    signature = key.sign(b"a")
    verify(key.public, signature, b"a")
    for public, signed, message in (
        (other.public, signature, b"a"),
        (key.public, other.sign(b"a"), b"a"),
        (key.public, signature, b"b"),
        (key.public, signature[:-1], b"a"),
        (key.public[:-1], signature, b"a"),
        (key.public + signature[:1], signature[1:], b"a"),
    ):
        for _ in range(2):
            with pytest.raises(TamperedMessage):
                verify(public, signed, message)
    assert len(verified) == 7


@pytest.mark.usefixtures("sharing_parties")
def test_long_messages_are_not_kept(verified: list[bytes]) -> None:
    key, long = SigningKey.generate(), bytes(4097)
    for _ in range(2):
        verify(key.public, key.sign(long), long)
    assert len(verified) == 2


def test_a_party_that_shares_nothing_works_everything_out(
    verified: list[bytes], exchanges: list[bytes]
) -> None:
    key, one, other = SigningKey.generate(), AgreementKey.generate(), AgreementKey.generate()
    for _ in range(2):
        verify(key.public, key.sign(b"a"), b"a")
    assert one.derive(other.public, info=b"x") == other.derive(one.public, info=b"x")
    assert (len(verified), len(exchanges)) == (2, 2)


def test_a_pair_agrees_once_on_what_it_agrees_on_alone(
    sharing_parties: np.ndarray, exchanges: list[bytes]
) -> None:
    keys = [AgreementKey.generate() for _ in range(5)]
    derived = {(a, b): a.derive(b.public, info=b"x") for a in keys for b in keys if a is not b}
    assert len(exchanges) == 10
    assert not sharing_parties.any(), "both ends have asked: no secret is left"
    with sharing(None):
        alone = [AgreementKey(key.to_bytes()) for key in keys]
        for (a, b), secret in derived.items():
            assert alone[keys.index(a)].derive(b.public, info=b"x") == secret


@pytest.mark.usefixtures("sharing_parties")
def test_a_key_of_low_order_is_refused_each_time() -> None:
    for _ in range(2):
        with pytest.raises(KeyMisuse):
            AgreementKey.generate().derive(bytes(32), info=b"x")
        with pytest.raises(KeyMisuse):
            AgreementKey.generate().check_peer(bytes(32))


@given(st.lists(st.tuples(BYTES, BYTES), max_size=40), st.integers(0, 2**32 - 1))
def test_a_row_that_is_half_written_counts_as_unknown(asked: list[tuple[bytes, bytes]], seed: int) -> None:
    rows, answers = table(8), dict(asked)
    shared = SharedAnswers(rows)
    rng = np.random.default_rng(seed)
    for question, _ in asked + asked:
        assert shared.secret(question, lambda q=question: answers[q]) == answers[question]  # type: ignore[misc]
        # Another process writes: some bytes of some row are of something else.
        rows[rng.integers(8), rng.integers(ROW_BYTES)] ^= rng.integers(1, 256, dtype=np.uint8)


def test_forked_processes_share_a_table() -> None:
    rows = shared_array((64, ROW_BYTES), np.uint8)
    with sharing(SharedAnswers(rows)):
        child = os.fork()
        if child == 0:
            shared_secret(b"q", lambda: b"c" * 32)
            os._exit(0)
        os.waitpid(child, 0)
        assert shared_secret(b"q", lambda: b"p" * 32) == b"c" * 32


@pytest.mark.usefixtures("sharing_parties")
def test_a_vector_that_has_changed_is_hashed_anew() -> None:
    vector = np.arange(5, dtype="<f4")
    for _ in range(3):
        assert digest_of(vector) == hashlib.sha256(vector.tobytes()).digest()
        vector[2] += 1


@pytest.mark.usefixtures("sharing_parties")
def test_a_value_is_worked_out_once_for_equal_questions() -> None:
    worked: list[object] = []

    def value(question: object) -> object:
        def work() -> object:
            worked.append(question)
            return object()

        return shared_value(question, work)

    first = value(("cohort", 1))
    assert value(("cohort", 1)) is first
    assert value(("cohort", 2)) is not first
    assert worked == [("cohort", 1), ("cohort", 2)]
    with sharing(None):
        assert value(("cohort", 1)) is not first


@pytest.mark.usefixtures("sharing_parties")
def test_a_check_that_fails_fails_each_time() -> None:
    def check() -> None:
        raise TamperedMessage("no")

    for _ in range(2):
        with pytest.raises(TamperedMessage):
            shared_value("checked", check)
