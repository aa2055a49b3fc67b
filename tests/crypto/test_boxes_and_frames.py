"""Boxes open only in their context; frames and Merkle paths have one reading."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedlearn.crypto import entropy, merkle
from fedlearn.crypto.aead import OVERHEAD_BYTES, open_sealed, seal
from fedlearn.crypto.agreement import AgreementKey
from fedlearn.crypto.framing import digest, frame
from fedlearn.crypto.identity import SigningKey, verify
from fedlearn.crypto.prg import CHUNK_BYTES, Keystream
from fedlearn.errors import ConfigError, TamperedMessage

PARTS = st.lists(st.binary(max_size=12), max_size=4)


@given(one=PARTS, other=PARTS)
def test_different_parts_give_different_frames(one: list[bytes], other: list[bytes]) -> None:
    assert (frame("x", *one) == frame("x", *other)) == (one == other)


def test_labels_separate() -> None:
    assert digest("a", b"") != digest("a|", b"")
    assert frame("ab", b"c") != frame("a", b"bc")


@given(plaintext=st.binary(max_size=80), context=st.binary(max_size=20), bit=st.integers(0))
def test_a_box_with_one_flipped_bit_does_not_open(plaintext: bytes, context: bytes, bit: int) -> None:
    key = bytes(range(32))
    box = seal(key, plaintext, context=context)
    assert len(box) == len(plaintext) + OVERHEAD_BYTES
    assert open_sealed(key, box, context=context) == plaintext
    altered = bytearray(box)
    altered[bit // 8 % len(box)] ^= 1 << bit % 8
    with pytest.raises(TamperedMessage):
        open_sealed(key, bytes(altered), context=context)
    with pytest.raises(TamperedMessage):
        open_sealed(key, box, context=context + b"x")


@pytest.mark.parametrize("box", [b"", bytes(11), bytes(12), bytes(27)])
def test_a_truncated_box_does_not_open(box: bytes) -> None:
    with pytest.raises(TamperedMessage):
        open_sealed(bytes(32), box, context=b"")


@pytest.mark.parametrize("public", [b"", bytes(31), b"\xff" * 32])
def test_a_malformed_public_key_verifies_nothing(public: bytes) -> None:
    with pytest.raises(TamperedMessage):
        verify(public, bytes(64), b"")


def test_secrets_do_not_show() -> None:
    signing, agreement = SigningKey.generate(), AgreementKey.generate()
    assert signing.to_bytes().hex() not in repr(signing)
    assert agreement.to_bytes().hex() not in repr(agreement)
    assert SigningKey.from_bytes(signing.to_bytes()).public == signing.public


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 8, 13, 64])
def test_every_item_has_a_path_to_the_root_and_to_no_other_place(count: int) -> None:
    items = [bytes([i]) for i in range(count)]
    root, paths = merkle.root_and_paths(items)
    assert root == merkle.root(items)
    for index, siblings in enumerate(paths):
        assert merkle.root_of_path(items[index], index, count, siblings) == root
        for elsewhere in set(range(count)) - {index}:
            assert _root_or_none(items[index], elsewhere, count, siblings) != root
        assert _root_or_none(items[index], index, count, (*siblings, bytes(32))) is None


def _root_or_none(item: bytes, index: int, count: int, siblings: tuple[bytes, ...]) -> bytes | None:
    try:
        return merkle.root_of_path(item, index, count, siblings)
    except TamperedMessage:
        return None


def test_an_inner_node_does_not_pass_for_a_leaf() -> None:
    items = [b"a", b"b", b"c", b"d"]
    left, right = merkle._levels(items)[1]
    assert merkle.root([left, right]) != merkle.root(items)


def test_the_root_names_every_item() -> None:
    items = [b"a", b"b", b"c"]
    assert len({merkle.root(items), merkle.root(items[:2]), merkle.root([b"a", b"b", b"x"])}) == 3


@pytest.mark.parametrize("size", [1, 15, 16, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 17])
def test_a_stream_does_not_depend_on_how_it_is_read(size: int) -> None:
    whole = Keystream(bytes(32)).take(size, np.uint8)
    pieces = Keystream(bytes(32))
    first = pieces.take(size // 3, np.uint8)
    np.testing.assert_array_equal(whole, np.concatenate([first, pieces.take(size - size // 3, np.uint8)]))


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_a_short_seed_is_refused(length: int) -> None:
    with pytest.raises(ConfigError, match=str(length)):
        Keystream(bytes(length))


def test_every_secret_is_drawn_from_the_operating_system(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[bytes] = []

    def record(size: int) -> bytes:
        drawn.append(bytes([len(drawn) + 1]) * size)
        return drawn[-1]

    monkeypatch.setattr(entropy, "urandom", record)
    assert SigningKey.generate().to_bytes() == drawn[0]
    assert AgreementKey.generate().to_bytes() == drawn[1]
    assert seal(bytes(32), b"", context=b"")[:12] == drawn[2]
    np.testing.assert_array_equal(
        Keystream.from_os().take(8, np.uint8), Keystream(drawn[3]).take(8, np.uint8)
    )
    assert [len(draw) for draw in drawn] == [32, 32, 12, 32]
