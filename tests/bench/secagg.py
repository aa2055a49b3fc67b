"""What secure aggregation costs, against this machine's own AES and against Flower's SecAgg+.

``python -m tests.bench.secagg --json`` prints one JSON line per figure. Both sides of a ratio are measured in
turn and by medians, in one run, because machines differ and are shared. Bars in seconds are those of a core
that expands 11 GB/s of AES-128-CTR. Flower's side is the script ``flower_secagg_bench.py`` in the folder
FEDLEARN_PEERS, or ``../shared/peers``; without it those lines are skipped.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fedlearn.crypto.agreement import AgreementKey
from fedlearn.crypto.prg import CHUNK_BYTES, Keystream
from fedlearn.crypto.shamir import combine, split
from fedlearn.secagg.fixed_point import FixedPoint
from fedlearn.secagg.masking import add_masks
from fedlearn.secagg.parameters import parameters
from fedlearn.secagg.ring import ring_dtype
from tests.secagg.secagg_session import Federation, names_of

DIMENSION = 1_000_000
REPEATS = 5
ROOT = Path(__file__).parents[2]
PEERS = Path(os.environ.get("FEDLEARN_PEERS", ROOT.parent / "shared" / "peers"))


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One measured figure.

    Attributes:
      name: what is measured.
      ours: our value.
      reference: the value it is held against, measured in the same run; None if there is none.
      unit: of both.
      ratio: reference ÷ ours, or ours ÷ reference where more is better; None without reference.
      bar: what is asked of ours or of the ratio.
      holds: whether it is met; None if it was not measured, with the reason in ``bar``.
    """

    name: str
    ours: float | None
    reference: float | None = None
    unit: str
    ratio: float | None = None
    bar: str
    holds: bool | None


def seconds(*tasks: Callable[[], object], repeats: int = REPEATS) -> list[float]:
    """Median seconds of each task; the tasks take turns."""
    taken: list[list[float]] = [[] for _ in tasks]
    for _ in range(repeats):
        for times, task in zip(taken, tasks, strict=True):
            started = time.perf_counter()
            task()
            times.append(time.perf_counter() - started)
    return [statistics.median(times) for times in taken]


def aes(count: int) -> Callable[[], None]:
    """Expands ``count`` bytes of keystream into one chunk, over and over: the machine's limit."""
    stream, chunk = Keystream.from_os(), np.empty(CHUNK_BYTES, np.uint8)

    def expand() -> None:
        for _ in range(count // CHUNK_BYTES):
            stream.fill(chunk)

    return expand


def seeds(count: int) -> list[bytes]:
    return [os.urandom(32) for _ in range(count)]


def masking(bits: int) -> Figure:
    """Masking with 20 neighbours, against the keystream alone."""
    vector, chosen = np.zeros(DIMENSION, ring_dtype(bits)), seeds(20)
    expanded = 20 * vector.nbytes // CHUNK_BYTES * CHUNK_BYTES
    ours, limit = seconds(lambda: add_masks(vector, plus=chosen[:10], minus=chosen[10:]), aes(expanded))
    rate, best = 20 * vector.nbytes / ours / 1e9, expanded / limit / 1e9
    return Figure(
        name=f"mask uint{bits}, 20 neighbours, of the AES-CTR rate",
        ours=rate,
        reference=best,
        unit="GB/s",
        ratio=rate / best,
        bar="ratio >= 0.70",
        holds=rate / best >= 0.70,
    )


def quantise(bits: int) -> Figure:
    """Fixed point with stochastic rounding."""
    encoding = FixedPoint.for_exact_sum(clients=20, value_range=1.0, modulus_bits=bits)
    update = np.random.default_rng(0).normal(0, 0.05, DIMENSION).astype(np.float32)
    (ours,) = seconds(lambda: encoding.encode(update), repeats=3 * REPEATS)
    nanoseconds = ours / DIMENSION * 1e9
    return Figure(
        name=f"quantise to uint{bits}",
        ours=nanoseconds,
        unit="ns/param",
        bar="ours <= 1.0",
        holds=nanoseconds <= 1,
    )


def client_step(bits: int) -> Callable[[], None]:
    """Quantise and mask for 20 neighbours and oneself: what a client adds to training."""
    encoding = FixedPoint.for_exact_sum(clients=21, value_range=1.0, modulus_bits=bits)
    update = np.random.default_rng(0).normal(0, 0.05, DIMENSION).astype(np.float32)
    chosen = seeds(21)
    return lambda: add_masks(encoding.encode(update), plus=chosen[:11], minus=chosen[11:])


def flower(clients: int, *options: str) -> dict[str, Any] | None:
    """One run of Flower's SecAgg+ by its script; None if the script is absent or fails."""
    script = PEERS / "flower_secagg_bench.py"
    if not script.exists():
        return None
    command = [sys.executable, str(script), str(clients), str(DIMENSION), "--json", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        return None
    result: dict[str, Any] = json.loads(lines[-1])
    return result


def against_flower() -> Iterator[Figure]:
    """The client's secure step and the upload, with 21 clients and 20 neighbours on both sides."""
    bars = {16: 12.0, 32: 5.5}
    steps = {bits: client_step(bits) for bits in bars}
    ours: dict[int, list[float]] = {bits: [] for bits in bars}
    theirs: list[dict[str, Any]] = []
    for _ in range(3):
        for bits, step in steps.items():
            ours[bits] += seconds(step)
        if (result := flower(21, "--shares", "21", "--threshold", "14")) is not None:
            theirs.append(result)
    for bits, bar in bars.items():
        name = f"quantise and mask uint{bits}, 20 neighbours, against Flower's SecAgg+"
        mine = statistics.median(ours[bits]) / DIMENSION * 1e9
        if not theirs:
            yield Figure(
                name=name, ours=mine, unit="ns/param", bar=f"skipped: {PEERS} has no run", holds=None
            )
            continue
        other = statistics.median(r["client_s"]["collect_masked_vectors"] for r in theirs) / DIMENSION * 1e9
        yield Figure(
            name=name,
            ours=mine,
            reference=other,
            unit="ns/param",
            ratio=other / mine,
            bar=f"ratio >= {bar}",
            holds=other / mine >= bar,
        )
    yield from upload(theirs)


def upload(theirs: list[dict[str, Any]]) -> Iterator[Figure]:
    """Bytes that one of 21 clients sends in a session, per parameter."""
    other = statistics.median(r["up_B_per_param"] for r in theirs) if theirs else None
    for bits in (16, 32):
        federation = Federation(21, dimension=DIMENSION, modulus_bits=bits)
        federation.run_all()
        first = names_of(21)[0]
        sent = [step[first] for step in federation.sent.values()]
        total = sum(len(body) + (0 if vector is None else vector.nbytes) for body, vector in sent)
        mine = total / DIMENSION
        bar = bits / 8 + 0.02
        yield Figure(
            name=f"upload uint{bits}, 21 clients",
            ours=mine,
            reference=other,
            unit="B/param",
            ratio=other / mine if other else None,
            bar=f"ours <= {bar}",
            holds=mine <= bar,
        )


def unmask(clients: int, bits: int, most: float) -> Figure:
    """Mask expansion on the server when 5 % have dropped out, against the keystream alone."""
    agreed = parameters(clients, colluders=clients // 10, dropout=0.1)
    lost = clients // 20
    # Every survivor's own mask, and of every lost client those with its surviving neighbours.
    masks = clients - lost + lost * agreed.neighbours * (clients - lost) // clients
    total, chosen = np.zeros(DIMENSION, ring_dtype(bits)), seeds(masks)
    expanded = masks * total.nbytes // CHUNK_BYTES * CHUNK_BYTES
    repeats = 3 if clients > 500 else REPEATS
    ours, limit = seconds(lambda: add_masks(total, minus=chosen), aes(expanded), repeats=repeats)
    return Figure(
        name=f"unmask uint{bits}, {clients} clients, {agreed.neighbours} neighbours, 5 % lost: {masks} masks",
        ours=ours,
        reference=limit,
        unit="s",
        ratio=limit / ours,
        bar=f"ours <= {most}",
        holds=ours <= most,
    )


def rebuild(clients: int) -> Figure:
    """Rebuilding every secret of a session on the server, each from other holders, and their check."""
    agreed = parameters(clients, colluders=clients // 10, dropout=0.1)
    points = list(range(1, agreed.neighbours + 1))
    shares = split(int.from_bytes(os.urandom(32), "big"), threshold=agreed.threshold, points=points)
    held = [shares[p] for p in points[: agreed.threshold]]
    key, peer = AgreementKey.generate(), AgreementKey.generate().public
    lost = clients // 20

    def all_secrets() -> None:
        for first in range(1, clients + 1):
            combine({first + i: share for i, share in enumerate(held)})
        for _ in range(lost * agreed.neighbours):
            key.derive(peer, info=b"")

    (ours,) = seconds(all_secrets, repeats=1)
    return Figure(
        name=f"rebuild keys, {clients} clients, threshold {agreed.threshold}, 5 % lost",
        ours=ours,
        unit="s",
        bar="none: on its own line",
        holds=None,
    )


def figures() -> Iterator[Figure]:
    """All figures, the quick ones first."""
    yield from (masking(bits) for bits in (16, 32))
    yield from (quantise(bits) for bits in (16, 32))
    yield unmask(100, 32, 0.15)
    yield unmask(1000, 16, 3.0)
    yield from (rebuild(clients) for clients in (100, 1000))
    yield from against_flower()


def main() -> None:
    """Prints the figures as they are measured."""
    parser = argparse.ArgumentParser(description="What secure aggregation costs.")
    parser.add_argument("--json", action="store_true", help="one JSON line per figure")
    as_json = parser.parse_args().json
    for figure in figures():
        rounded = {k: round(v, 4) if isinstance(v, float) else v for k, v in asdict(figure).items()}
        if as_json:
            print(json.dumps(rounded), flush=True)
        else:
            met = {True: "ok", False: "NO", None: "–"}[figure.holds]
            print(
                f"{met:>2}  {figure.name}: {rounded['ours']} {figure.unit}"
                f" (reference {rounded['reference']}, ratio {rounded['ratio']}; {figure.bar})",
                flush=True,
            )


if __name__ == "__main__":
    main()
