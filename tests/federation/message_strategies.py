"""Hypothesis strategies for messages, and what it means that two are the same."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from fedlearn.federation.vectors import DTYPES
from fedlearn.rounds.transport import Message

clients = st.text(min_size=1, max_size=32)


@st.composite
def messages(draw: st.DrawFn, *, max_length: int = 40) -> Message:
    """Returns messages with vectors of every dtype that travels, empty ones included."""
    arrays = npst.arrays(
        dtype=st.sampled_from(sorted(DTYPES)).map(np.dtype), shape=st.integers(0, max_length)
    )
    vectors = draw(st.lists(arrays, max_size=3))
    return Message(client=draw(clients), body=draw(st.binary(max_size=64)), vectors=tuple(vectors))


def assert_same(one: Message, other: Message) -> None:
    """Compares bit by bit, so that NaNs and signed zeros count."""
    assert (one.client, one.body, len(one.vectors)) == (other.client, other.body, len(other.vectors))
    for left, right in zip(one.vectors, other.vectors, strict=True):
        assert left.dtype == right.dtype
        assert left.tobytes() == right.tobytes()
