"""Memory by the allocator's own account: a client's beyond its vector, and the server's in vectors."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from fedlearn.secagg.fixed_point import FixedPoint
from fedlearn.secagg.masking import add_masks
from tests.secagg.secagg_session import Federation, names_of

DIMENSION = 2_000_000
MIB = 2**20


@pytest.fixture
def peak() -> Iterator[Callable[[], int]]:
    """Bytes allocated at the worst moment since the last call."""
    tracemalloc.start()

    def since() -> int:
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        return most

    yield since
    tracemalloc.stop()


@pytest.mark.parametrize("bits", [16, 32])
def test_encoding_and_masking_take_two_mebibytes_beyond_the_vector(
    bits: int, peak: Callable[[], int]
) -> None:
    encoding = FixedPoint.for_exact_sum(clients=21, value_range=1.0, modulus_bits=bits)
    update = np.full(DIMENSION, 0.1, np.float32)
    before = tracemalloc.get_traced_memory()[0]
    peak()
    add_masks(encoding.encode(update), plus=[bytes([i]) * 32 for i in range(200)])
    assert peak() - before - DIMENSION * bits // 8 < 2 * MIB


def test_a_server_holds_two_vectors_whatever_the_cohort(peak: Callable[[], int]) -> None:
    """Its sum and, while it unmasks, less than another one; what arrives is added at once."""
    for count in (4, 12):
        federation = Federation(count, dimension=DIMENSION, modulus_bits=16)
        federation.until("inputs")
        request = federation.server.requests()
        for name in names_of(count):
            answer = federation.answer(name, request[name])
            before = tracemalloc.get_traced_memory()[0]
            peak()
            federation.server.receive(name, *answer)
            assert peak() - before < MIB
        federation.server.advance()
        federation.until("unmask")
        federation.exchange()
        before = tracemalloc.get_traced_memory()[0]
        peak()
        federation.server.advance()
        assert peak() - before < MIB
