"""Every decoder of bytes from outside, with true messages to start from and what it may raise."""

from __future__ import annotations

import io
import json
import socket
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from fedlearn.config import ExperimentConfig
from fedlearn.crypto import aead, identity, merkle, shamir
from fedlearn.crypto.framing import frame
from fedlearn.crypto.identity import SigningKey
from fedlearn.errors import FedLearnError
from fedlearn.federation import assignment, envelope, frames, terms
from fedlearn.federation.provisioning import keys
from fedlearn.federation.roster import FederationRoster, Member
from fedlearn.privacy import receipt
from fedlearn.privacy.chain import Head
from fedlearn.privacy.events import SampledGaussianEvent
from fedlearn.privacy.receipt import Lifetime, Receipt, SignedReceipt
from fedlearn.rounds import messages as rounds_messages
from fedlearn.rounds import receipts
from fedlearn.rounds.checkpoint import Checkpoint
from fedlearn.rounds.transport import Message
from fedlearn.secagg import messages as secagg_messages
from fedlearn.secagg import roster, step
from tests.secagg.secagg_session import Federation, key_of, names_of

CONSORTIUM = SigningKey.from_bytes(bytes(range(32)))
STEPS = ["advertise", "share", "inputs", "agree", "unmask"]
KEY = bytes(32)


SPENT = SampledGaussianEvent(noise_multiplier=1.0, sample_rate=0.1, steps=10)
RECEIPT = Receipt(
    client="oslo",
    run="r",
    dataset="heart",
    unit="record",
    clip_norm=1.0,
    delta=1e-5,
    events=(SPENT,),
    noise="os",
    lifetime=Lifetime(epsilon=1.0, budget=2.0, delta=1e-5, head=Head.parse("12:" + "ab" * 32)),
)


@dataclass(frozen=True, kw_only=True)
class Decoder:
    """One decoder.

    Attributes:
      decode: takes any bytes.
      samples: returns bytes that it accepts, or nearly.
      raises: all that it may raise.
    """

    decode: Callable[[bytes], object]
    samples: Callable[[], Sequence[bytes]]
    raises: tuple[type[Exception], ...] = (FedLearnError,)


@cache
def session() -> Federation:
    """A whole session of four clients."""
    federation = Federation(4)
    federation.run_all()
    return federation


def secagg_requests() -> list[bytes]:
    return [body for step in STEPS for body in session().requested[step].values()]


def secagg_replies() -> list[bytes]:
    return [body for step in STEPS for body, _ in session().sent[step].values()]


def signed_rosters() -> list[bytes]:
    members = {name: key_of(name).public for name in names_of(3)}
    return [roster.Roster(version=3, members=members).sign(CONSORTIUM)]


def federation_rosters() -> list[bytes]:
    members = {name: Member(key=key_of(name).public, node="node") for name in names_of(3)}
    server = key_of("server").public
    return [FederationRoster(name="hearts", version=3, server=server, members=members).sign(CONSORTIUM)]


def open_any_roster(body: bytes) -> object:
    return roster.open_roster(body, consortium=CONSORTIUM.public)


def round_requests() -> list[bytes]:
    return [
        rounds_messages.encode(rounds_messages.TrainRequest(run="r", round=0)),
        rounds_messages.encode(rounds_messages.SecureRequest(run="r", round=7, payload=b"\x00\xff")),
        rounds_messages.encode(rounds_messages.SecureTrainRequest(run="é" * 128, round=2**31, payload=b"")),
    ]


def round_replies() -> list[bytes]:
    return [
        rounds_messages.encode(rounds_messages.TrainReply(run="r", round=0)),
        rounds_messages.encode(rounds_messages.SecureReply(run="r", round=1, payload=b"sealed")),
        rounds_messages.encode(rounds_messages.Failure(run="r", round=1, code="DataError")),
    ]


def sealed_message() -> Message:
    message = Message(client="oslo", body=b"train", vectors=())
    return envelope.seal(message, kind="round", key=CONSORTIUM, clock=lambda: 1000.0)[0]


def open_any_envelope(body: bytes) -> object:
    message = Message(client="oslo", body=body, vectors=())
    return envelope.open_envelope(message, author=CONSORTIUM.public)


def framed_messages() -> list[bytes]:
    message = Message(client="a", body=b"body", vectors=(np.arange(3, dtype="<f4"),))
    return [b"".join(bytes(piece) for piece in frames._pieces(message))]


def receive_any(body: bytes) -> object:
    """What a peer sends before it hangs up; small enough for a socket's buffer."""
    here, there = socket.socketpair()
    with here, there:
        there.sendall(body[:4096])
        there.shutdown(socket.SHUT_WR)
        return frames.receive(here, max_bytes=2**20)


def from_file(load: Callable[[Path], object]) -> Callable[[bytes], object]:
    """A decoder of files as one of bytes."""

    def decode(body: bytes) -> object:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "file"
            path.write_bytes(body)
            return load(path)

    return decode


def checkpoints() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "checkpoint"
        Checkpoint(rounds=2, experiment="e", arrays={"params": np.zeros(3, np.float32)}, record={}).save(path)
        return [path.read_bytes()]


def key_requests() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        request = keys.make_keys("oslo", key=Path(folder) / "key", node_key=Path(folder) / "node")
        return [keys.encode(request)]


def open_any_receipt(body: bytes) -> object:
    """What a member signs: its signature is true, whatever it says."""
    signed = SignedReceipt(body, CONSORTIUM.sign(frame(receipt._LABEL, body)))
    return receipt.open_receipt(signed, public=CONSORTIUM.public)


def statements() -> list[bytes]:
    entry = {
        "client": RECEIPT.client,
        "events": [event.to_dict() for event in RECEIPT.events],
        "epsilon": RECEIPT.account.epsilon(delta=RECEIPT.delta),
        "unit": RECEIPT.unit,
        "delta": RECEIPT.delta,
    }
    return [json.dumps({"clients": [entry]}).encode()]


DECODERS: dict[str, Decoder] = {
    "secagg-request": Decoder(decode=secagg_messages.decode_request, samples=secagg_requests),
    "secagg-reply": Decoder(decode=secagg_messages.decode_reply, samples=secagg_replies),
    "secagg-step": Decoder(decode=step.step_of, samples=secagg_requests),
    "roster": Decoder(decode=open_any_roster, samples=signed_rosters),
    "federation-roster": Decoder(
        decode=lambda body: FederationRoster.open(body, consortium=CONSORTIUM.public),
        samples=federation_rosters,
    ),
    "assignment": Decoder(
        decode=lambda body: assignment.read(io.BytesIO(body)), samples=lambda: [b"\1\0\0\0\x80"]
    ),
    "round-request": Decoder(decode=rounds_messages.decode_request, samples=round_requests),
    "round-reply": Decoder(decode=rounds_messages.decode_reply, samples=round_replies),
    "checkpoint": Decoder(decode=from_file(Checkpoint.load), samples=checkpoints),
    "frame": Decoder(decode=receive_any, samples=framed_messages, raises=(FedLearnError, EOFError)),
    "envelope": Decoder(decode=open_any_envelope, samples=lambda: [sealed_message().body]),
    "site-request": Decoder(
        decode=terms.decode_request, samples=lambda: [terms.encode(terms.Finish(run="r"))]
    ),
    "site-reply": Decoder(
        decode=terms.decode_reply, samples=lambda: [terms.encode(terms.Acceptance(run="r"))]
    ),
    "key-request": Decoder(decode=from_file(keys.read_request), samples=key_requests),
    "experiment": Decoder(
        decode=lambda body: ExperimentConfig.from_toml_text(body.decode(errors="replace")),
        samples=lambda: [b'seed = 3\n[model]\nname = "mlp"\n'],
    ),
    "ledger-head": Decoder(
        decode=lambda body: Head.parse(body.decode(errors="replace")),
        samples=lambda: [b"12:" + b"ab" * 32],
    ),
    "receipt": Decoder(decode=open_any_receipt, samples=lambda: [RECEIPT.sign(CONSORTIUM).body]),
    "statement": Decoder(decode=lambda body: receipts._check_entry(body, RECEIPT), samples=statements),
    "box": Decoder(
        decode=lambda body: aead.open_sealed(KEY, body, context=b"c"),
        samples=lambda: [aead.seal(KEY, b"share", context=b"c")],
    ),
    "signature": Decoder(
        decode=lambda body: identity.verify(CONSORTIUM.public, body, b"m"),
        samples=lambda: [CONSORTIUM.sign(b"m")],
    ),
    "public-key": Decoder(
        decode=lambda body: identity.verify(body, CONSORTIUM.sign(b"m"), b"m"),
        samples=lambda: [CONSORTIUM.public],
    ),
    "field-element": Decoder(
        decode=shamir.element_from_bytes, samples=lambda: [shamir.element_to_bytes(shamir.PRIME - 1)]
    ),
    "merkle-path": Decoder(
        decode=lambda body: merkle.root_of_path(
            b"item", 2, 7, [body[i : i + 32] for i in range(0, len(body), 32)]
        ),
        samples=lambda: [bytes(64)],
    ),
}
