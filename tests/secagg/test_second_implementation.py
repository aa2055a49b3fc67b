"""Two implementations agree in every byte, and a transcript of theirs is frozen."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedlearn._types import RingVector
from fedlearn.crypto import entropy
from fedlearn.crypto.shamir import element_to_bytes, split
from fedlearn.secagg import transcript
from tests.secagg import naive_secagg
from tests.secagg.secagg_session import AGREED, MODEL, DeterministicEntropy, Federation, key_of, names_of

VECTORS = Path(__file__).parents[1] / "vectors" / "secagg.json"
STEPS = ["advertise", "share", "inputs", "agree", "unmask"]


def recorded(
    count: int, bits: int, gone: list[str], monkeypatch: pytest.MonkeyPatch, **options: Any
) -> tuple[Federation, DeterministicEntropy]:
    """A whole session on repeatable entropy, in which some vanish before the masked input."""
    source = DeterministicEntropy()
    monkeypatch.setattr(entropy, "urandom", source)
    federation = Federation(count, modulus_bits=bits, **options)
    answer = federation.answer

    def owned(name: str, request: bytes) -> tuple[bytes, RingVector | None]:
        source.owner = name
        return answer(name, request)

    monkeypatch.setattr(federation, "answer", owned)
    federation.run_all(drops={"inputs": gone})
    return federation, source


def wire(federation: Federation) -> dict[str, dict[str, bytes]]:
    """What the clients sent, a vector behind its header."""
    return {
        step: {
            name: body + (b"" if vector is None else vector.tobytes())
            for name, (body, vector) in federation.sent[step].items()
        }
        for step in STEPS
    }


def naive(
    federation: Federation, source: DeterministicEntropy
) -> tuple[dict[str, dict[str, bytes]], list[int]]:
    assert federation.agreed is not None
    assert federation.roster is not None
    agreed = federation.agreed
    context = {
        "roster_digest": federation.roster.digest,
        "run": federation.run,
        "round": federation.round,
        "modulus_bits": federation.modulus_bits,
        "dimension": federation.dimension,
        "model_digest": MODEL,
        "configuration_digest": AGREED,
        **{name: getattr(agreed, name) for name in agreed.__dataclass_fields__},
    }
    parties = [
        naive_secagg.Party(name, key_of(name).to_bytes(), source.draws[name])
        for name in names_of(federation.count)
    ]
    inputs = {name: vector.tolist() for name, vector in federation.inputs.items()}
    return naive_secagg.session(parties, inputs, list(federation.server.survivors), context)


@pytest.mark.parametrize(
    ("count", "bits", "dimension", "gone"), [(4, 32, 1, 0), (5, 16, 9, 1), (7, 32, 5, 2), (6, 64, 3, 2)]
)
def test_both_implementations_send_the_same_bytes(
    count: int, bits: int, dimension: int, gone: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    federation, source = recorded(
        count, bits, names_of(count)[1 : 1 + gone], monkeypatch, dimension=dimension
    )
    messages, total = naive(federation, source)
    assert wire(federation) == messages
    assert federation.server.total.tolist() == total


def test_the_naive_implementation_rebuilds_what_ours_shares() -> None:
    secret = int.from_bytes(hashlib.sha256(b"secret").digest(), "big")
    shares = split(secret, threshold=3, points=[1, 2, 3, 4, 5])
    held = {point: element_to_bytes(shares[point]) for point in (1, 3, 5)}
    assert naive_secagg.rebuilt(held) == secret.to_bytes(32, "big")


def frozen(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What is written down in tests/vectors/secagg.json."""
    federation, _ = recorded(5, 16, ["client-0003"], monkeypatch, dimension=4)
    session = federation.clients["client-0000"]._cohort
    assert session is not None
    assert federation.roster is not None
    requests = {s: {n: b.hex() for n, b in federation.requested[s].items()} for s in STEPS}
    return {
        "about": "five clients, one lost before its masked input; see test_second_implementation.py",
        "protocol": transcript.PROTOCOL,
        "labels": labels(),
        "roster_digest": federation.roster.digest.hex(),
        "session_id": session.session.hex(),
        "inputs": {name: vector.tolist() for name, vector in federation.inputs.items()},
        "requests_sha256": {
            s: {n: hashlib.sha256(bytes.fromhex(b)).hexdigest() for n, b in requests[s].items()}
            for s in STEPS
        },
        "replies": {s: {n: b.hex() for n, b in bodies.items()} for s, bodies in wire(federation).items()},
        "total": federation.server.total.tolist(),
    }


def labels() -> dict[str, str]:
    """Each label, as it stands at the beginning of what is framed under it."""
    view = transcript.View(
        session=bytes(32), members_digest=bytes(32), model_digest=bytes(32), configuration_digest=bytes(32)
    )
    framed = {
        "agreement": view.agreement_bytes(client="a", survivors_digest=bytes(32)),
        "input": view.input_bytes(client="a", vector_digest=bytes(32)),
        "revelation": view.revelation_bytes(client="a", survivors_digest=bytes(32), shares=[]),
        "self-mask": transcript.self_mask_info(bytes(32), client="a"),
        "complaint": transcript.complaint_bytes(bytes(32), holder="a", dealer="b"),
        "dealing": transcript.dealing_bytes(
            bytes(32), dealer="a", seed_hash=bytes(32), own_share_hash=bytes(32), root=bytes(32)
        ),
    }
    return {name: value.hex() for name, value in framed.items()}


def test_the_transcript_is_the_frozen_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert frozen(monkeypatch) == json.loads(VECTORS.read_text())


def test_the_frozen_inputs_give_the_frozen_total() -> None:
    vectors = json.loads(VECTORS.read_text())
    kept = np.array([v for name, v in vectors["inputs"].items() if name != "client-0003"])
    assert (kept.sum(axis=0) % 2**16).tolist() == vectors["total"]
