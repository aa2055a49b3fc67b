"""The client's side: masking, quantising and memory."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Iterator

import numpy as np

from fedlearn._types import RingVector, Vector
from fedlearn.crypto.prg import CHUNK_BYTES
from fedlearn.secagg.fixed_point import FixedPoint
from fedlearn.secagg.masking import add_masks
from fedlearn.secagg.ring import ring_dtype
from tests.bench.figure import Figure, in_turns, median_ratio
from tests.bench.secagg.keystream import chunks_of, keystream

DIMENSION = 1_000_000
MIB = 2**20


def update() -> Vector:
    """An update like that of a trained model."""
    return np.random.default_rng(0).normal(0, 0.05, DIMENSION).astype(np.float32)


def seeds(count: int) -> list[bytes]:
    return [os.urandom(32) for _ in range(count)]


def aes() -> Iterator[Figure]:
    """The machine's own rate, on which all else depends."""
    size = 256 * MIB
    (times,) = in_turns(keystream(size))
    rates = times.rates(size / 1e9)
    yield Figure(
        name="AES-128-CTR, one thread, 256 KiB at a time",
        ours=rates.median,
        spread=rates.spread(),
        unit="GB/s",
    )


def masking() -> Iterator[Figure]:
    """Masking against the keystream alone."""
    for bits in (16, 32):
        for neighbours in (20, 32, 202):
            yield _masking(bits, neighbours)


def _masking(bits: int, neighbours: int) -> Figure:
    vector: RingVector = np.ones(DIMENSION, ring_dtype(bits))
    chosen = seeds(neighbours)
    size = neighbours * vector.nbytes
    expanded = chunks_of(size) * CHUNK_BYTES
    half = neighbours // 2
    masks, limit = in_turns(
        lambda: add_masks(vector, plus=chosen[:half], minus=chosen[half:]), keystream(size)
    )
    ours, best = masks.rates(size / 1e9), limit.rates(expanded / 1e9)
    part = median_ratio(ours, best)
    return Figure(
        name=f"mask uint{bits}, {neighbours} neighbours, part of the AES-CTR rate",
        ours=ours.median,
        spread=ours.spread(),
        reference=best.median,
        unit="GB/s",
        ratio=part,
        bar="ratio >= 0.70",
        holds=part >= 0.70,
    )


def quantise() -> Iterator[Figure]:
    """Fixed point with stochastic rounding; the reference is the keystream of as many coins of two bytes."""
    vector = update()
    for bits in (16, 32):
        encoding = FixedPoint.for_exact_sum(clients=20, value_range=1.0, modulus_bits=bits)
        coins = 2 * DIMENSION
        times, limit = in_turns(lambda e=encoding: e.encode(vector), keystream(coins), repeats=21)  # type: ignore[misc]
        nanoseconds = 1e9 / DIMENSION
        coin_part = coins / chunks_of(coins) / CHUNK_BYTES
        yield Figure(
            name=f"quantise to uint{bits}",
            ours=times.median * nanoseconds,
            spread=times.spread(nanoseconds),
            reference=limit.median * coin_part * nanoseconds,
            unit="ns/param",
            ratio=limit.median * coin_part / times.median,
            bar="ours <= 1.0",
            holds=times.median * nanoseconds <= 1,
        )


def memory() -> Iterator[Figure]:
    """What encoding and masking take beyond the update and the vector, by the allocator's account.

    Ciphers are outside of it: 64 at a time, 1.3 KiB each, are added.
    """
    vector, chosen = update(), seeds(202)
    for bits in (16, 32):
        encoding = FixedPoint.for_exact_sum(clients=203, value_range=1.0, modulus_bits=bits)
        tracemalloc.start()
        add_masks(encoding.encode(vector), plus=chosen)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        beyond = (peak - DIMENSION * bits // 8) / MIB + 64 * 1.3 / 1024
        yield Figure(
            name=f"memory of a client beyond its vector, uint{bits}, 202 neighbours",
            ours=beyond,
            unit="MiB",
            bar="ours <= 2",
            holds=beyond <= 2,
        )
