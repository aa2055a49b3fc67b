"""R4 on the server: secrets are rebuilt from shares, and the masks of the sum taken away.

Each share is compared with the hash that its dealer signed when it arrives, so that whoever is at
fault is known exactly: the holder if the share is another one, the dealer if true shares do not
rebuild what it promised. No subset of shares is ever guessed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from fedlearn._types import RingVector
from fedlearn.crypto.agreement import AgreementKey
from fedlearn.crypto.shamir import combine, element_from_bytes
from fedlearn.errors import FaultyDealer, FaultyHolder, MalformedMessage
from fedlearn.secagg.cohort import Cohort
from fedlearn.secagg.masking import MaskSeeds, add_masks, pairwise_seeds, self_mask_seed
from fedlearn.secagg.messages import Dealing
from fedlearn.secagg.transcript import View, seed_hash, share_hash

_SECRET_BYTES = 32


@dataclass(frozen=True, kw_only=True)
class Recovery:
    """The shares that survivors reveal, until there are enough of each secret.

    Attributes:
      cohort: the session.
      view: what the masked inputs have in common.
      members: U1, the clients that dealt.
      survivors: U2, the clients in the sum.
      dealings: by dealer, as they arrived in R1.
    """

    cohort: Cohort
    view: View
    members: tuple[str, ...]
    survivors: tuple[str, ...]
    dealings: Mapping[str, Dealing] = field(repr=False)
    _shares: dict[str, dict[int, int]] = field(default_factory=dict, repr=False)
    _promises: dict[str, dict[str, bytes]] = field(default_factory=dict, repr=False)

    @cached_property
    def _survived(self) -> frozenset[str]:
        return frozenset(self.survivors)

    def add(self, holder: str, shares: Sequence[bytes]) -> None:
        """Takes all shares of a holder, or none.

        Raises:
          MalformedMessage: not one share per secret that it holds.
          FaultyHolder: a share is not the one that was dealt to it.
        """
        owners = self.cohort.owners(holder, self.members)
        if len(shares) != len(owners):
            raise MalformedMessage(f"{len(shares)} shares of holder {holder!r}; {len(owners)} are due")
        checked = {o: self._checked(o, holder, s) for o, s in zip(owners, shares, strict=True)}
        for owner, element in checked.items():
            self._shares.setdefault(owner, {})[self.cohort.points[holder]] = element

    def fewest(self) -> tuple[str, int]:
        """Returns the client with the fewest shares of its secret, and how many they are."""
        counts = {owner: len(self._shares.get(owner, {})) for owner in self.members}
        owner = min(counts, key=lambda name: (counts[name], name))
        return owner, counts[owner]

    def unmask(self, total: RingVector) -> None:
        """Takes all masks out of the sum of the survivors' vectors, in place.

        Raises:
          FaultyDealer: true shares do not rebuild the secret that the dealer promised; the sum is
            as it was.
        """
        seeds = self.mask_seeds()
        add_masks(total, plus=seeds.plus, minus=seeds.minus)

    def mask_seeds(self) -> MaskSeeds:
        """Rebuilds every secret and returns the seeds of the masks that are left in the sum.

        Raises:
          FaultyDealer: true shares do not rebuild the secret that the dealer promised.
        """
        seeds = MaskSeeds()
        for client in self.members:
            secret = self._rebuilt(client)
            if client in self._survived:
                self._check_seed(client, secret)
                seeds.minus.append(self_mask_seed(self.cohort.session, client, secret))
            else:
                # The lost client would have added its side of each pair: adding it now cancels the other.
                pairs = self._pairs_of_dropout(client, secret)
                seeds.plus += pairs.plus
                seeds.minus += pairs.minus
        return seeds

    def _checked(self, owner: str, holder: str, share: bytes) -> int:
        kind = "seed" if owner in self._survived else "key"
        hashed = share_hash(self.cohort.session, dealer=owner, holder=holder, kind=kind, share=share)
        if hashed != self._promised(owner)[holder]:
            raise FaultyHolder(holder, f"its share of {owner!r} is not the one dealt to it")
        return element_from_bytes(share)

    def _promised(self, owner: str) -> dict[str, bytes]:
        """Returns the hashes of the owner's shares that are to be revealed, by holder."""
        if owner not in self._promises:
            dealing, survived = self.dealings[owner], owner in self._survived
            hashes = [s.seed_share_hash if survived else s.key_share_hash for s in dealing.sealed]
            promised = dict(zip(self.cohort.neighbours[owner], hashes, strict=True))
            self._promises[owner] = {**promised, owner: dealing.own_share_hash}
        return self._promises[owner]

    def _rebuilt(self, owner: str) -> bytes:
        threshold = self.cohort.parameters.threshold
        chosen = dict(sorted(self._shares[owner].items())[:threshold])
        secret = combine(chosen)
        if secret >= 2 ** (8 * _SECRET_BYTES):
            raise FaultyDealer(owner, "its shares rebuild a number beyond 2^256, which is no secret")
        return secret.to_bytes(_SECRET_BYTES, "big")

    def _check_seed(self, owner: str, seed: bytes) -> None:
        if seed_hash(self.cohort.session, dealer=owner, seed=seed) != self.dealings[owner].seed_hash:
            raise FaultyDealer(owner, "its shares do not rebuild the seed whose hash it signed")

    def _pairs_of_dropout(self, owner: str, private: bytes) -> MaskSeeds:
        key = AgreementKey(private)
        if key.public != self.cohort.adverts[owner].mask_public:
            raise FaultyDealer(owner, "its shares do not rebuild the key that it advertised")
        peers = self.cohort.neighbours_in(owner, self.survivors)
        return pairwise_seeds(self.cohort, self.view, owner, key, peers)
