"""A masked round of a simulation, step by step, beside the primitives that it cannot do without."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping

import numpy as np

from fedlearn._types import RingVector
from fedlearn.crypto.shared_answers import ROW_BYTES, SharedAnswers, sharing
from fedlearn.secagg.step import Step
from tests.bench.figure import Figure
from tests.bench.scale.rates import box_rates, key_rates, vector_rates
from tests.secagg.secagg_session import AGREED, Federation

CLIENTS = 50
DIMENSION = 225_034
"""Parameters of the CNN of the other benchmarks."""

_VECTOR = 4 * DIMENSION
_TURNS = 5


def session() -> Iterator[Figure]:
    """CPU time a client, of each step at clients and server, and of all of them against the primitives'."""
    answers = SharedAnswers(np.zeros((4 * CLIENTS * (CLIENTS - 1), ROW_BYTES), np.uint8))
    _steps(Federation(CLIENTS, dimension=DIMENSION), answers)
    seen = [_steps(Federation(CLIENTS, dimension=DIMENSION, round=r), answers) for r in range(_TURNS)]
    for step in seen[0]:
        times = [turn[step] for turn in seen]
        yield _figure(f"simulated session of {CLIENTS}, {step}", times)
    totals, least = [sum(turn.values()) for turn in seen], primitives()
    floor = sum(least.values())
    yield Figure(
        name=f"simulated session of {CLIENTS}, all steps, beside their primitives",
        ours=statistics.median(totals) * 1e3,
        spread=(min(totals) * 1e3, max(totals) * 1e3),
        reference=floor * 1e3,
        unit="ms of CPU a client",
        ratio=statistics.median(totals) / floor,
        beside={name: round(seconds * 1e3, 2) for name, seconds in least.items()},
    )


def primitives() -> Mapping[str, float]:
    """CPU seconds a client of what the protocol asks of AES, X25519, Ed25519, SHA-256 and the field.

    Of two clients one computes their agreement and one checks a signature; the other has the answer.
    """
    keys, vectors, peers = {**key_rates(), **box_rates()}, vector_rates(), CLIENTS - 1
    threshold = Federation(CLIENTS).server._agreed.threshold
    return {
        "masks": (peers + 1) * (vectors["mask"] + _VECTOR * vectors["mask_byte"]),
        "hashes of the vector": 2 * _VECTOR * vectors["digest_byte"],
        "agreements": (peers + 2) * keys["agree"] + 2 * keys["keygen"],
        "derived keys": (2 * peers + 1) * keys["derive"],
        "signatures": 5 * (keys["sign"] + keys["verify"]),
        "boxes": peers * (keys["seal"] + keys["unseal"]),
        "shares": 2 * (peers + 1) * threshold * keys["term"],
    }


def _steps(federation: Federation, answers: SharedAnswers) -> Mapping[str, float]:
    """Runs a session whose parties share answers; returns CPU seconds a client, by party and step."""
    seconds: dict[str, float] = defaultdict(float)
    server = federation.server
    server.bind(model_digest=federation.model, configuration_digest=AGREED)
    with sharing(answers):
        while not server.finished:
            step, started = server.step, time.thread_time()
            requests = server.requests()
            asked = time.thread_time()
            # The input that is masked is a copy, which is made before the clock is read.
            vectors = {name: federation.inputs[name].copy() for name in requests if step is Step.INPUTS}
            copied = time.thread_time()
            replies = {name: _answered(federation, name, requests[name], vectors) for name in requests}
            answered = time.thread_time()
            for name, body in replies.items():
                server.receive(name, body, vectors.get(name))
            server.advance()
            seconds[f"client: {step.value}"] = (answered - copied) / CLIENTS
            seconds[f"server: {step.value}"] = (time.thread_time() - answered + asked - started) / CLIENTS
    return seconds


def _answered(federation: Federation, name: str, request: bytes, vectors: Mapping[str, RingVector]) -> bytes:
    client = federation.clients[name]
    if name not in vectors:
        return client.receive(request)
    client.accept_inputs_request(request, model_digest=federation.model, configuration_digest=AGREED)
    return client.mask(vectors[name])


def _figure(name: str, seconds: list[float]) -> Figure:
    return Figure(
        name=name,
        ours=statistics.median(seconds) * 1e3,
        spread=(min(seconds) * 1e3, max(seconds) * 1e3),
        unit="ms of CPU a client",
    )
