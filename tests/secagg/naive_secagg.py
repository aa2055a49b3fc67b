"""The protocol a second time, from its description alone: plain integers, lists, no speed, no checks.

It is given every random draw of every client and shares no code with fedlearn; both must agree in every
byte. Of libraries it uses SHA-256, HMAC, single AES blocks, AES-GCM, Ed25519 and MessagePack.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

P = 2**256 + 297  # of Shamir's field
Q = 2**255 - 19  # of the curve's field
BASE = (9).to_bytes(32, "little")


def framed(label: str, *parts: Any) -> bytes:
    out = b""
    for part in ("fedlearn-secagg/1|" + label, *parts):
        raw = part.to_bytes(8, "big") if isinstance(part, int) else part
        raw = raw.encode() if isinstance(raw, str) else raw
        out += len(raw).to_bytes(8, "big") + raw
    return out


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def hashed(label: str, *parts: Any) -> bytes:
    return sha(framed(label, *parts))


def hkdf(secret: bytes, info: bytes) -> bytes:
    extracted = hmac.digest(bytes(32), secret, "sha256")
    return hmac.digest(extracted, info + b"\1", "sha256")


def x25519(scalar: bytes, point: bytes) -> bytes:
    """RFC 7748, section 5: the ladder."""
    k = int.from_bytes(scalar, "little") & ~7 & ~(1 << 255) | (1 << 254)
    u = int.from_bytes(point, "little") % 2**255 % Q
    x2, z2, x3, z3 = 1, 0, u, 1
    for bit in range(254, -1, -1):
        if k >> bit & 1:
            x2, z2, x3, z3 = x3, z3, x2, z2
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        da, cb = d * a, c * b
        e = a * a - b * b
        x3, z3 = (da + cb) ** 2 % Q, u * (da - cb) ** 2 % Q
        x2, z2 = a * a * b * b % Q, e * (a * a + 121665 * e) % Q
        if k >> bit & 1:
            x2, z2, x3, z3 = x3, z3, x2, z2
    return (x2 * pow(z2, Q - 2, Q) % Q).to_bytes(32, "little")


def sign(name_key: bytes, message: bytes) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(name_key).sign(message)


def mask(seed: bytes, dimension: int, bits: int) -> list[int]:
    block = Cipher(algorithms.AES(seed[:16]), modes.ECB()).encryptor()  # noqa: S305 - single blocks make CTR
    counter, stream = int.from_bytes(seed[16:], "big"), b""
    while len(stream) < dimension * bits // 8:
        stream += block.update((counter % 2**128).to_bytes(16, "big"))
        counter += 1
    size = bits // 8
    return [int.from_bytes(stream[i * size : (i + 1) * size], "little") for i in range(dimension)]


def merkle_root(leaves: list[bytes]) -> bytes:
    level = [sha(b"\0" + leaf) for leaf in leaves]
    while len(level) > 1:
        odd = level[-1:] if len(level) % 2 else []
        level = [sha(b"\1" + level[i] + level[i + 1]) for i in range(0, len(level) - 1, 2)] + odd
    return level[0]


def shares_of(secret: bytes, coefficients: list[bytes], count: int) -> list[bytes]:
    powers = [*coefficients, secret]
    polynomial = [int.from_bytes(c, "big") % P for c in powers]
    top = len(polynomial) - 1
    return [
        (sum(c * x ** (top - i) for i, c in enumerate(polynomial)) % P).to_bytes(33, "big")
        for x in range(1, count + 1)
    ]


def rebuilt(shares: dict[int, bytes]) -> bytes:
    total = 0
    for x, share in shares.items():
        weight = 1
        for other in shares:
            if other != x:
                weight = weight * other * pow(other - x, -1, P) % P
        total += weight * int.from_bytes(share, "big")
    return (total % P).to_bytes(32, "big")


class Party:
    """A client's secrets, in the order in which it draws them."""

    def __init__(self, name: str, key: bytes, draws: list[bytes]) -> None:
        self.name, self.key = name, key
        self.mask_key, self.share_key, self.seed, self.nonce = draws[:4]
        self.rest = draws[4:]


def session(
    parties: list[Party], inputs: dict[str, list[int]], survivors: list[str], context: dict[str, Any]
) -> tuple[dict[str, dict[str, bytes]], list[int]]:
    """All messages of the clients on a complete graph, by step and name, and the sum.

    All parties deal; those who are not survivors send no vector; all survivors answer R3 and R4.
    """
    pack = msgspec.msgpack.encode
    out: dict[str, dict[str, bytes]] = {s: {} for s in ("advertise", "share", "inputs", "agree", "unmask")}
    t, bits, d = context["threshold"], context["modulus_bits"], context["dimension"]
    where = [context["roster_digest"], context["run"], context["round"]]
    names = [party.name for party in parties]
    adverts: list[list[Any]] = []
    for p in parties:
        fields = [p.name, x25519(p.mask_key, BASE), x25519(p.share_key, BASE), p.nonce]
        adverts.append([*fields, sign(p.key, framed("advert", *where, *fields))])
        out["advertise"][p.name] = pack(["sa1.advert", *adverts[-1]])
    sid = hashed("session", *where, len(names), *(field for advert in adverts for field in advert))

    dealt: dict[str, list[tuple[bytes, bytes]]] = {}
    for i, p in enumerate(parties):
        seed_shares = shares_of(p.seed, p.rest[: t - 1], len(names))
        key_shares = shares_of(p.mask_key, p.rest[t - 1 : 2 * t - 2], len(names))
        nonces = iter(p.rest[2 * t - 2 :])
        dealt[p.name] = list(zip(seed_shares, key_shares, strict=True))
        sealed, leaves = [], []
        for j, holder in enumerate(parties):
            if i != j:
                info = framed("shares", sid, p.name, holder.name, adverts[i][2], adverts[j][2])
                nonce = next(nonces)
                key = hkdf(x25519(p.share_key, adverts[j][2]), info)
                box = nonce + AESGCM(key).encrypt(nonce, seed_shares[j] + key_shares[j], info)
                h = [hashed("share", sid, p.name, holder.name, "seed", seed_shares[j])]
                h += [hashed("share", sid, p.name, holder.name, "key", key_shares[j])]
                sealed.append([box, *h])
                leaves.append(hashed("leaf", holder.name, box, *h))
        hashes = [hashed("seed", sid, p.name, p.seed)]
        hashes += [hashed("share", sid, p.name, p.name, "seed", seed_shares[i])]
        signature = sign(p.key, framed("dealing", sid, p.name, *hashes, merkle_root(leaves)))
        out["share"][p.name] = pack(["sa1.dealing", *hashes, sealed, signature])

    numbers = [context[k] for k in ("clients", "colluders", "min_survivors", "neighbours")]
    configuration = hashed(
        "configuration", *numbers, t, context["quorum"], bits, d, context["configuration_digest"]
    )
    view = [sid, hashed("members", sid, "U1", len(names), *names), context["model_digest"], configuration]
    total = [0] * d
    for i, p in enumerate(parties):
        y = [a + b for a, b in zip(inputs[p.name], own_mask(p.seed, p.name, sid, d, bits), strict=True)]
        for j in range(len(parties)):
            if i != j:
                low, high = sorted((i, j))
                ends = [names[low], names[high], adverts[low][1], adverts[high][1]]
                seed = hkdf(x25519(p.mask_key, adverts[j][1]), framed("pairwise-mask", *view, *ends))
                sign_of = 1 if i < j else -1
                y = [a + sign_of * b for a, b in zip(y, mask(seed, d, bits), strict=True)]
        if p.name in survivors:
            raw = b"".join((value % 2**bits).to_bytes(bits // 8, "little") for value in y)
            signature = sign(p.key, framed("input", *view, p.name, sha(raw)))
            out["inputs"][p.name] = pack(["sa1.masked", p.name, *view[1:], sha(raw), signature]) + raw
            total = [a + b for a, b in zip(total, inputs[p.name], strict=True)]

    chosen = hashed("members", sid, "U2", len(survivors), *survivors)
    for i, p in enumerate(parties):
        if p.name in survivors:
            signature = sign(p.key, framed("agreement", *view, chosen, p.name))
            out["agree"][p.name] = pack(["sa1.agreement", p.name, signature])
            shares = [dealt[owner][i][0 if owner in survivors else 1] for owner in names]
            signature = sign(p.key, framed("revelation", *view, chosen, p.name, len(shares), *shares))
            out["unmask"][p.name] = pack(["sa1.revelation", shares, signature])
    return out, [value % 2**bits for value in total]


def own_mask(seed: bytes, name: str, sid: bytes, dimension: int, bits: int) -> list[int]:
    return mask(hkdf(seed, framed("self-mask", sid, name)), dimension, bits)
