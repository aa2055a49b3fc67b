"""The client's secure step, the upload and a whole session beside Flower's SecAgg+, same n, d and graph."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator

from fedlearn.secagg.fixed_point import FixedPoint
from fedlearn.secagg.masking import add_masks
from tests.bench.figure import Figure, Times, in_turns
from tests.bench.secagg.client import DIMENSION, seeds, update
from tests.bench.secagg.peer import FlowerRun, flower, overhead
from tests.secagg.secagg_session import Federation, names_of

RUNS = 3
CLIENTS = 20


def client_step(bits: int) -> Callable[[], None]:
    """Quantise and mask for 20 neighbours and oneself: what a client adds to training."""
    encoding = FixedPoint.for_exact_sum(clients=21, value_range=1.0, modulus_bits=bits)
    vector, chosen = update(), seeds(21)
    return lambda: add_masks(encoding.encode(vector), plus=chosen[:11], minus=chosen[11:])


def step_and_upload() -> Iterator[Figure]:
    """With 21 clients and 20 neighbours on both sides; wall clock, as Flower's script takes it."""
    bars = {16: 12.0, 32: 5.5}
    steps = [client_step(bits) for bits in bars]
    taken: list[list[float]] = [[] for _ in bars]
    theirs: list[FlowerRun] = []
    for _ in range(RUNS):
        for past, new in zip(taken, in_turns(*steps, clock=time.perf_counter), strict=True):
            past.extend(new.seconds)
        if (run := flower(21, DIMENSION)) is not None:
            theirs.append(run)
    nanoseconds = 1e9 / DIMENSION
    other = statistics.median(run.mask_seconds for run in theirs) * nanoseconds if theirs else None
    for (bits, bar), seconds in zip(bars.items(), taken, strict=True):
        times = Times(tuple(seconds))
        ours = times.median * nanoseconds
        ratio = other / ours if other else None
        yield Figure(
            name=f"quantise and mask uint{bits}, 20 neighbours, against Flower",
            ours=ours,
            spread=times.spread(nanoseconds),
            reference=other,
            unit="ns/param",
            ratio=ratio,
            bar=f"ratio >= {bar}",
            holds=None if ratio is None else ratio >= bar,
        )
    yield from _upload(statistics.median(run.up for run in theirs) if theirs else None)


def _upload(other: float | None) -> Iterator[Figure]:
    """Bytes that one of 21 clients sends in a session, per parameter."""
    for bits in (16, 32):
        federation = Federation(21, dimension=DIMENSION, modulus_bits=bits)
        federation.run_all()
        sent = [step[names_of(21)[0]] for step in federation.sent.values()]
        mine = sum(len(body) + (0 if v is None else v.nbytes) for body, v in sent) / DIMENSION
        yield Figure(
            name=f"upload uint{bits}, 21 clients",
            ours=mine,
            reference=other,
            unit="B/param",
            ratio=other / mine if other else None,
            bar=f"ours <= {bits / 8 + 0.02}",
            holds=mine <= bits / 8 + 0.02,
        )


def whole_session(bits: int) -> Callable[[], None]:
    """Every step of all clients and the server, from updates to the decoded sum."""
    encoding = FixedPoint.for_exact_sum(clients=CLIENTS, value_range=1.0, modulus_bits=bits)
    vector = update()

    def session() -> None:
        inputs = {name: encoding.encode(vector) for name in names_of(CLIENTS)}
        federation = Federation(CLIENTS, dimension=DIMENSION, modulus_bits=bits, inputs=inputs)
        encoding.decode(federation.run_all())

    return session


def protocol() -> Iterator[Figure]:
    """A whole session of 20 clients, one process, CPU time."""
    sessions = {bits: whole_session(bits) for bits in (16, 32)}
    taken: dict[int, list[float]] = {bits: [] for bits in sessions}
    theirs: list[float] = []
    for _ in range(RUNS):
        measured = in_turns(*sessions.values(), repeats=2, clock=time.process_time)
        for past, new in zip(taken.values(), measured, strict=True):
            past.extend(new.seconds)
        if (run := flower(CLIENTS, DIMENSION)) is not None:
            theirs.append(run.cpu_seconds - overhead(CLIENTS, DIMENSION))
    other = statistics.median(theirs) if theirs else None
    for bits, seconds in taken.items():
        ours = Times(tuple(seconds))
        ratio = other / ours.median if other else None
        yield Figure(
            name=f"whole session uint{bits}, {CLIENTS} clients, all parties, against Flower",
            ours=ours.median,
            spread=ours.spread(),
            reference=other,
            unit="CPU s",
            ratio=ratio,
            bar="ratio >= 5",
            holds=None if ratio is None else ratio >= 5,
        )
