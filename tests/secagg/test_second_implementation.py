"""Two implementations agree in every byte, and a transcript of theirs is frozen."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedlearn._types import RingVector
from fedlearn.crypto import entropy
from fedlearn.crypto.shamir import element_to_bytes, split
from fedlearn.secagg import graph, roster, transcript
from fedlearn.secagg.messages import Advert, Configuration, SealedShares
from fedlearn.secagg.roster import Roster
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


ZERO = bytes(32)
NAMED = Advert("a", ZERO, ZERO, ZERO, bytes(64))
SEALED = SealedShares(bytes(94), ZERO, ZERO)
CONFIGURED = Configuration(5, 1, 4, 4, 3, 4, 32, 7, ZERO)


def labels() -> dict[str, str]:
    """Everything that is signed, hashed or derived from, for values of zeros, under each label."""
    view = transcript.View(session=ZERO, members_digest=ZERO, model_digest=ZERO, configuration_digest=ZERO)
    values = {
        "advert": transcript.advert_bytes(roster_digest=ZERO, run="r", round=1, advert=NAMED),
        "session": transcript.session_id(roster_digest=ZERO, run="r", round=1, adverts=[NAMED]),
        "shares": transcript.seal_context(ZERO, sender=NAMED, receiver=NAMED),
        "share": transcript.share_hash(ZERO, dealer="a", holder="b", kind="seed", share=bytes(33)),
        "seed": transcript.seed_hash(ZERO, dealer="a", seed=ZERO),
        "leaf": transcript.sealed_leaf("b", SEALED),
        "dealing": transcript.dealing_bytes(ZERO, dealer="a", seed_hash=ZERO, own_share_hash=ZERO, root=ZERO),
        "complaint": transcript.complaint_bytes(ZERO, holder="a", dealer="b"),
        "configuration": transcript.hash_configuration(CONFIGURED),
        "members": transcript.members_digest(ZERO, name="U1", members=["a", "b"]),
        "pairwise-mask": view.pairwise_info(NAMED, NAMED),
        "self-mask": transcript.self_mask_info(ZERO, client="a"),
        "input": view.input_bytes(client="a", vector_digest=ZERO),
        "agreement": view.agreement_bytes(client="a", survivors_digest=ZERO),
        "revelation": view.revelation_bytes(client="a", survivors_digest=ZERO, shares=[]),
        "graph": graph._seat(ZERO, "a"),
        "roster": Roster(version=1, members={"a": ZERO}).digest,
    }
    return {name: value.hex() for name, value in values.items()}


def test_every_label_of_the_source_is_frozen() -> None:
    """A label that is added, or changed, is seen here; labels are distinct and name the protocol."""
    sources = [Path(module.__file__ or "").read_text() for module in (transcript, graph, roster)]
    used = {name for text in sources for name in re.findall(r'_label\("([^"]+)"\)', text)}
    used |= {name for text in sources for name in re.findall(r'"fedlearn-secagg/1\|([^"]+)"', text)}
    assert used == set(labels())
    framed = [value for value in labels().values() if len(value) > 64]
    assert all(b"fedlearn-secagg/1|" in bytes.fromhex(value) for value in framed)


@pytest.mark.parametrize("name", sorted(labels()))
def test_each_label_binds_what_the_naive_implementation_binds(name: str) -> None:
    """The same bytes from the description of the framing alone."""
    view = [ZERO] * 4
    parts: dict[str, list[Any]] = {
        "advert": [ZERO, "r", 1, "a", ZERO, ZERO, ZERO],
        "session": [ZERO, "r", 1, 1, "a", ZERO, ZERO, ZERO, bytes(64)],
        "shares": [ZERO, "a", "a", ZERO, ZERO],
        "share": [ZERO, "a", "b", "seed", bytes(33)],
        "seed": [ZERO, "a", ZERO],
        "leaf": ["b", bytes(94), ZERO, ZERO],
        "dealing": [ZERO, "a", ZERO, ZERO, ZERO],
        "complaint": [ZERO, "a", "b"],
        "configuration": [5, 1, 4, 4, 3, 4, 32, 7, ZERO],
        "members": [ZERO, "U1", 2, "a", "b"],
        "pairwise-mask": [*view, "a", "a", ZERO, ZERO],
        "self-mask": [ZERO, "a"],
        "input": [*view, "a", ZERO],
        "agreement": [*view, ZERO, "a"],
        "revelation": [*view, ZERO, "a", 0],
        "graph": [ZERO, "a"],
        "roster": [1, 1, "a", ZERO],
    }
    expected = naive_secagg.framed(name, *parts[name])
    assert labels()[name] in (expected.hex(), naive_secagg.sha(expected).hex())


def test_the_transcript_is_the_frozen_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert frozen(monkeypatch) == json.loads(VECTORS.read_text())


def test_the_frozen_inputs_give_the_frozen_total() -> None:
    vectors = json.loads(VECTORS.read_text())
    kept = np.array([v for name, v in vectors["inputs"].items() if name != "client-0003"])
    assert (kept.sum(axis=0) % 2**16).tolist() == vectors["total"]
