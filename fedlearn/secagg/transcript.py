"""What is hashed, signed and derived in a session: every label and every binding, on one page.

Each value is framed (:mod:`fedlearn.crypto.framing`) under a label of its own that starts with the
protocol's name and version, and from R1 on binds the session id, which binds everything of R0. A
change here is another protocol: bump ``PROTOCOL``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fedlearn.crypto.framing import Part, digest, frame
from fedlearn.secagg.messages import Advert, Configuration, MaskedInput, SealedShares

PROTOCOL = "fedlearn-secagg/1"


def _label(name: str) -> str:
    return f"{PROTOCOL}|{name}"


def advert_bytes(*, roster_digest: bytes, run: str, round: int, advert: Advert) -> bytes:
    """Returns what a client signs with its long-term key in R0."""
    return frame(
        _label("advert"),
        roster_digest,
        run,
        round,
        advert.client,
        advert.mask_public,
        advert.share_public,
        advert.nonce,
    )


def session_id(*, roster_digest: bytes, run: str, round: int, adverts: Sequence[Advert]) -> bytes:
    """Returns the id of the session that these adverts, in the order of their ids, make."""
    parts: list[Part] = [roster_digest, run, round, len(adverts)]
    for advert in adverts:
        parts += [advert.client, advert.mask_public, advert.share_public, advert.nonce, advert.signature]
    return digest(_label("session"), *parts)


def seal_context(session: bytes, *, sender: Advert, receiver: Advert) -> bytes:
    """Returns key information and associated data of the box from sender to receiver."""
    return frame(
        _label("shares"), session, sender.client, receiver.client, sender.share_public, receiver.share_public
    )


def share_hash(session: bytes, *, dealer: str, holder: str, kind: str, share: bytes) -> bytes:
    """Returns the hash that a dealer signs of a share; kind is "seed" or "key"."""
    return digest(_label("share"), session, dealer, holder, kind, share)


def seed_hash(session: bytes, *, dealer: str, seed: bytes) -> bytes:
    """Returns the hash that a dealer signs of its self-mask seed."""
    return digest(_label("seed"), session, dealer, seed)


def sealed_leaf(holder: str, sealed: SealedShares) -> bytes:
    """Returns the entry of one holder in the list that the dealer signs."""
    return digest(_label("leaf"), holder, sealed.box, sealed.seed_share_hash, sealed.key_share_hash)


def dealing_bytes(
    session: bytes, *, dealer: str, seed_hash: bytes, own_share_hash: bytes, root: bytes
) -> bytes:
    """Returns what a dealer signs in R1."""
    return frame(_label("dealing"), session, dealer, seed_hash, own_share_hash, root)


def complaint_bytes(session: bytes, *, holder: str, dealer: str) -> bytes:
    """Returns what a holder signs to say that a dealer's shares for it are wrong."""
    return frame(_label("complaint"), session, holder, dealer)


def hash_configuration(configuration: Configuration) -> bytes:
    """Returns the hash of the session's configuration."""
    c = configuration
    return digest(
        _label("configuration"),
        c.clients,
        c.colluders,
        c.min_survivors,
        c.neighbours,
        c.threshold,
        c.quorum,
        c.modulus_bits,
        c.dimension,
        c.agreed,
    )


def members_digest(session: bytes, *, name: str, members: Sequence[str]) -> bytes:
    """Returns the hash of a set of clients, in the order of their ids; name is "U1" or "U2"."""
    return digest(_label("members"), session, name, len(members), *members)


@dataclass(frozen=True, kw_only=True)
class View:
    """What all masked inputs of a session must have in common.

    Attributes:
      session: the session id.
      members_digest: hash of U1, the clients that dealt.
      model_digest: hash of the model that was trained from.
      configuration_digest: hash of the session's configuration.
    """

    session: bytes
    members_digest: bytes
    model_digest: bytes
    configuration_digest: bytes

    @property
    def parts(self) -> tuple[bytes, bytes, bytes, bytes]:
        """The four hashes in the order in which they are bound."""
        return self.session, self.members_digest, self.model_digest, self.configuration_digest

    def input_bytes(self, *, client: str, vector_digest: bytes) -> bytes:
        """Returns what a client signs of its masked vector in R2."""
        return frame(_label("input"), *self.parts, client, vector_digest)

    def agreement_bytes(self, *, client: str, survivors_digest: bytes) -> bytes:
        """Returns what a client signs in R3, once per session."""
        return frame(_label("agreement"), *self.parts, survivors_digest, client)

    def revelation_bytes(self, *, client: str, survivors_digest: bytes, shares: Sequence[bytes]) -> bytes:
        """Returns what a client signs of the shares that it reveals in R4."""
        return frame(_label("revelation"), *self.parts, survivors_digest, client, len(shares), *shares)

    def pairwise_info(self, first: Advert, second: Advert) -> bytes:
        """Returns the key information of the mask between two clients, ``first`` of the lesser id.

        Clients that were sent another model, configuration or U1 derive other masks: theirs do not cancel.
        """
        return frame(
            _label("pairwise-mask"),
            *self.parts,
            first.client,
            second.client,
            first.mask_public,
            second.mask_public,
        )

    def matches(self, header: MaskedInput) -> bool:
        """Returns whether a header names this very view (its session is in its signature)."""
        return (header.members_digest, header.model_digest, header.configuration_digest) == self.parts[1:]


def self_mask_info(session: bytes, *, client: str) -> bytes:
    """Returns the key information of a client's self-mask."""
    return frame(_label("self-mask"), session, client)
