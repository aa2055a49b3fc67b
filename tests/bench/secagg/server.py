"""The server's side: unmasking, rebuilding secrets, and memory, for cohorts of 100 and 1,000."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterator

import numpy as np

from fedlearn._types import RingVector
from fedlearn.crypto.prg import CHUNK_BYTES
from fedlearn.secagg.masking import MaskSeeds, add_masks
from fedlearn.secagg.parameters import parameters
from fedlearn.secagg.ring import add_in_ring, ring_dtype
from tests.bench.figure import REPEATS, Figure, in_turns, median_ratio
from tests.bench.secagg.client import seeds
from tests.bench.secagg.keystream import chunks_of, keystream
from tests.bench.secagg.revealed import Revealed

MILLION = 1_000_000
BARS = {(100, 32, 5, MILLION): 0.15, (1000, 16, 5, MILLION): 3.0}
AT_MOST_AT_A_TIME = 2 * 10**9
"""Bytes of keystream after which a reference is measured on a part, and one repeat is enough."""


def unmask_100() -> Iterator[Figure]:
    """100 clients, a million parameters."""
    for percent in (0, 5, 10, 30):
        yield from _unmask(100, percent, {32: MILLION, 16: MILLION})


def unmask_1000() -> Iterator[Figure]:
    """1,000 clients, a million parameters; not the rate of loss that takes most of a minute."""
    for percent in (0, 5, 10):
        yield from _unmask(1000, percent, {16: MILLION})


def unmask_1000_of_which_300_lost() -> Iterator[Figure]:
    """1,000 clients of which 300 vanish: 100,000 masks."""
    yield from _unmask(1000, 30, {16: MILLION})


def unmask_ten_million() -> Iterator[Figure]:
    """100 clients, ten million parameters."""
    for percent in (0, 5, 10, 30):
        yield from _unmask(100, percent, {32: 10 * MILLION}, keys=False)


def _unmask(clients: int, percent: int, rings: dict[int, int], *, keys: bool = True) -> Iterator[Figure]:
    """Figures of one cohort and loss: checking and rebuilding, then mask expansion in each ring."""
    agreed = parameters(clients, colluders=clients // 10, dropout=max(0.1, percent / 100))
    session = Revealed(agreed=agreed, lost=clients * percent // 100)
    what = (
        f"{clients} clients, {agreed.neighbours} neighbours, threshold {agreed.threshold}, {percent} % lost"
    )
    recovery = session.recovery()
    started = time.thread_time()
    session.reveal(recovery)
    checked = time.thread_time()
    masks = recovery.mask_seeds()
    rebuilt = time.thread_time()
    if keys:
        yield Figure(name=f"check shares, {what}", ours=checked - started, unit="s")
        yield Figure(name=f"rebuild keys, {what}", ours=rebuilt - checked, unit="s")
    for bits, dimension in rings.items():
        yield _expansion(masks, bits, dimension, what, BARS.get((clients, bits, percent, dimension)))


def _expansion(masks: MaskSeeds, bits: int, dimension: int, what: str, bar: float | None) -> Figure:
    """Taking all masks out of the sum, against the keystream alone."""
    total: RingVector = np.ones(dimension, ring_dtype(bits))
    count = len(masks.plus) + len(masks.minus)
    size = count * total.nbytes
    part = min(size, AT_MOST_AT_A_TIME)
    times, limit = in_turns(
        lambda: add_masks(total, plus=masks.plus, minus=masks.minus),
        keystream(part),
        repeats=REPEATS if size < AT_MOST_AT_A_TIME else 3 if size < 15 * AT_MOST_AT_A_TIME else 1,
    )
    scale = size / (chunks_of(part) * CHUNK_BYTES)
    return Figure(
        name=f"unmask uint{bits}, d = {dimension // MILLION} M, {what}: {count} masks",
        ours=times.median,
        spread=times.spread(),
        reference=limit.median * scale,
        unit="s",
        ratio=median_ratio(limit, times) * scale,
        bar="none" if bar is None else f"ours <= {bar}",
        holds=None if bar is None else times.median <= bar,
    )


def memory() -> Iterator[Figure]:
    """The sum, what arrives and what unmasking takes, in vectors: 1,000 of them, and the masks of 50 lost."""
    for bits in (16, 32):
        tracemalloc.start()
        total: RingVector = np.zeros(MILLION, ring_dtype(bits))
        for number in range(1000):
            add_in_ring(total, np.full(MILLION, number, ring_dtype(bits)))
        chosen = seeds(10_550)
        add_masks(total, minus=chosen)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        vectors = (peak + 64 * 1300) / total.nbytes
        yield Figure(
            name=f"memory of the server for vectors, uint{bits}, 1000 clients",
            ours=vectors,
            unit="vectors",
            bar="ours <= 3",
            holds=vectors <= 3,
        )
