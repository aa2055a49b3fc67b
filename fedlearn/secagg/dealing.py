"""R1: what a client shares with its neighbours, and what each makes of its part on receipt.

A client shares two secrets of the session: the seed of its self-mask and its mask key. Its own
share of the seed it keeps, so that a secret has k + 1 holders. A holder checks its shares against
the dealer's signature when they arrive, not when they are needed: a wrong one names the dealer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from fedlearn.crypto import merkle
from fedlearn.crypto.aead import open_sealed, seal
from fedlearn.crypto.agreement import AgreementKey
from fedlearn.crypto.entropy import random_bytes
from fedlearn.crypto.identity import SigningKey
from fedlearn.crypto.shamir import ELEMENT_BYTES, element_from_bytes, element_to_bytes, split
from fedlearn.errors import FaultyDealer, MalformedMessage, TamperedMessage
from fedlearn.secagg.cohort import Cohort
from fedlearn.secagg.messages import Advert, Dealing, Package, SealedShares
from fedlearn.secagg.transcript import (
    dealing_bytes,
    seal_context,
    sealed_leaf,
    seed_hash,
    share_hash,
)

SEED_BYTES = 32


@dataclass(frozen=True, kw_only=True)
class Secrets:
    """A client's secrets of one session.

    Attributes:
      mask_key: agrees on pairwise masks; rebuilt by the others if the client drops out.
      share_key: agrees on the keys of the boxes; never leaves.
      seed: of the self-mask, 32 bytes; rebuilt by the others if the client survives.
    """

    mask_key: AgreementKey = field(repr=False)
    share_key: AgreementKey = field(repr=False)
    seed: bytes = field(repr=False)

    @classmethod
    def generate(cls) -> Secrets:
        """Returns fresh secrets, all from the operating system."""
        return cls(
            mask_key=AgreementKey.generate(),
            share_key=AgreementKey.generate(),
            seed=random_bytes(SEED_BYTES),
        )


@dataclass(frozen=True, kw_only=True)
class HeldShares:
    """One dealer's two shares, as its holder keeps them until R4: 33 bytes each."""

    seed_share: bytes = field(repr=False)
    key_share: bytes = field(repr=False)


def deal(cohort: Cohort, dealer: str, secrets: Secrets, signer: SigningKey) -> tuple[Dealing, bytes]:
    """Returns the message of R1 and the dealer's own share of its seed, 33 bytes."""
    holders = cohort.neighbours[dealer]
    points = [cohort.points[holder] for holder in (*holders, dealer)]
    threshold = cohort.parameters.threshold
    seed_shares = split(int.from_bytes(secrets.seed, "big"), threshold=threshold, points=points)
    key = int.from_bytes(secrets.mask_key.to_bytes(), "big")
    key_shares = split(key, threshold=threshold, points=points)
    sealed = []
    for holder in holders:
        point = cohort.points[holder]
        held = HeldShares(
            seed_share=element_to_bytes(seed_shares[point]), key_share=element_to_bytes(key_shares[point])
        )
        sealed.append(_sealed(cohort, dealer, holder, secrets.share_key, held))
    own_share = element_to_bytes(seed_shares[cohort.points[dealer]])
    unsigned = Dealing(
        seed_hash(cohort.session, dealer=dealer, seed=secrets.seed),
        share_hash(cohort.session, dealer=dealer, holder=dealer, kind="seed", share=own_share),
        tuple(sealed),
        bytes(64),
    )
    root = merkle.root(leaves(cohort, dealer, sealed))
    signature = signer.sign(_signed_bytes(cohort, dealer, unsigned, root))
    return msgspec.structs.replace(unsigned, signature=signature), own_share


def _sealed(
    cohort: Cohort, dealer: str, holder: str, share_key: AgreementKey, held: HeldShares
) -> SealedShares:
    context, key = _channel(cohort, share_key, sender=dealer, receiver=holder, own=dealer)
    return SealedShares(
        seal(key, held.seed_share + held.key_share, context=context),
        *_hashes(cohort, dealer, holder, held),
    )


def _hashes(cohort: Cohort, dealer: str, holder: str, held: HeldShares) -> tuple[bytes, bytes]:
    return (
        share_hash(cohort.session, dealer=dealer, holder=holder, kind="seed", share=held.seed_share),
        share_hash(cohort.session, dealer=dealer, holder=holder, kind="key", share=held.key_share),
    )


def _channel(
    cohort: Cohort, share_key: AgreementKey, *, sender: str, receiver: str, own: str
) -> tuple[bytes, bytes]:
    """Returns context and key of the boxes from sender to receiver, as either of them derives it."""
    ends: dict[str, Advert] = {sender: cohort.adverts[sender], receiver: cohort.adverts[receiver]}
    context = seal_context(cohort.session, sender=ends[sender], receiver=ends[receiver])
    peer = receiver if own == sender else sender
    return context, share_key.derive(ends[peer].share_public, info=context)


def leaves(cohort: Cohort, dealer: str, sealed: Sequence[SealedShares]) -> list[bytes]:
    """Returns the list that the dealer signs: one entry per neighbour, in the order of their ids."""
    return [sealed_leaf(h, s) for h, s in zip(cohort.neighbours[dealer], sealed, strict=True)]


def packages(cohort: Cohort, dealer: str, dealing: Dealing) -> dict[str, Package]:
    """Returns what the server forwards of a dealing, by holder.

    Raises:
      MalformedMessage: boxes are missing.
      TamperedMessage: the dealer did not sign them.
    """
    holders = cohort.neighbours[dealer]
    if len(dealing.sealed) != len(holders):
        raise MalformedMessage(f"{len(dealing.sealed)} boxes of client {dealer!r}; {len(holders)} are due")
    root, proofs = merkle.root_and_paths(leaves(cohort, dealer, dealing.sealed))
    _check_signature(cohort, dealer, dealing, root)
    return {
        holder: Package(dealer, dealing.seed_hash, dealing.own_share_hash, sealed, proof, dealing.signature)
        for holder, sealed, proof in zip(holders, dealing.sealed, proofs, strict=True)
    }


def open_package(cohort: Cohort, holder: str, share_key: AgreementKey, package: Package) -> HeldShares:
    """Returns the shares that a neighbour dealt.

    Raises:
      TamperedMessage: the dealer did not sign this package for this holder: it was altered on the way.
      FaultyDealer: the dealer signed it, and it does not open or holds other shares than it signed.
    """
    dealer = package.dealer
    holders = cohort.neighbours[dealer]
    root = merkle.root_of_path(
        sealed_leaf(holder, package.sealed), holders.index(holder), len(holders), package.path
    )
    _check_signature(cohort, dealer, package, root)
    context, key = _channel(cohort, share_key, sender=dealer, receiver=holder, own=holder)
    try:
        shares = open_sealed(key, package.sealed.box, context=context)
        held = HeldShares(seed_share=shares[:ELEMENT_BYTES], key_share=shares[ELEMENT_BYTES:])
        element_from_bytes(held.seed_share)
        element_from_bytes(held.key_share)
    except (TamperedMessage, MalformedMessage) as error:
        raise FaultyDealer(dealer, f"its box for {holder!r}: {error}") from None
    if _hashes(cohort, dealer, holder, held) != (
        package.sealed.seed_share_hash,
        package.sealed.key_share_hash,
    ):
        raise FaultyDealer(dealer, f"its shares for {holder!r} are not those whose hashes it signed")
    return held


def _check_signature(cohort: Cohort, dealer: str, signed: Dealing | Package, root: bytes) -> None:
    cohort.verify(dealer, signed.signature, _signed_bytes(cohort, dealer, signed, root))


def _signed_bytes(cohort: Cohort, dealer: str, signed: Dealing | Package, root: bytes) -> bytes:
    return dealing_bytes(
        cohort.session,
        dealer=dealer,
        seed_hash=signed.seed_hash,
        own_share_hash=signed.own_share_hash,
        root=root,
    )
