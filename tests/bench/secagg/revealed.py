"""A session at the point where the server has all shares: real adverts, dealings and shares, no vectors.

What clients did before is not what is measured, so that boxes are left empty and of a client's two secrets
only that is shared which will be revealed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from fedlearn.crypto.entropy import random_bytes
from fedlearn.crypto.shamir import element_to_bytes, split
from fedlearn.secagg.cohort import Cohort, Round
from fedlearn.secagg.dealing import Secrets
from fedlearn.secagg.messages import Advert, Dealing, SealedShares
from fedlearn.secagg.parameters import SessionParameters
from fedlearn.secagg.recovery import Recovery
from fedlearn.secagg.roster import Roster
from fedlearn.secagg.transcript import View, seed_hash, share_hash
from tests.secagg.secagg_session import key_of, names_of

EMPTY_BOX, UNSIGNED = bytes(94), bytes(64)


@dataclass(kw_only=True)
class Revealed:
    """Everything that the server needs to unmask, when ``lost`` clients vanished before their vector.

    Attributes:
      agreed: the session's parameters.
      lost: how many of its clients are lost.
    """

    agreed: SessionParameters
    lost: int
    shares: dict[str, dict[str, bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = names_of(self.agreed.clients)
        self.survivors = tuple(names[self.lost :])
        roster = Roster(version=1, members={name: key_of(name).public for name in names})
        where = Round(roster=roster, run="bench", number=0)
        self.secrets = {name: Secrets.generate() for name in names}
        adverts = [self._advert(name, where) for name in names]
        self.cohort = Cohort.of(adverts, where=where, agreed=self.agreed)
        self.dealings = {name: self._dealing(name) for name in names}

    def recovery(self) -> Recovery:
        """The server's collector of shares, still empty."""
        return Recovery(
            cohort=self.cohort,
            view=View(
                session=self.cohort.session,
                members_digest=bytes(32),
                model_digest=bytes(32),
                configuration_digest=bytes(32),
            ),
            members=self.cohort.members,
            survivors=self.survivors,
            dealings=self.dealings,
        )

    def reveal(self, recovery: Recovery) -> None:
        """All survivors reveal their shares, which the server checks one by one."""
        for holder in self.survivors:
            owners = self.cohort.owners(holder, self.cohort.members)
            recovery.add(holder, [self.shares[owner][holder] for owner in owners])

    def _advert(self, name: str, where: Round) -> Advert:
        secrets = self.secrets[name]
        advert = Advert(name, secrets.mask_key.public, secrets.share_key.public, random_bytes(32), UNSIGNED)
        return msgspec.structs.replace(advert, signature=key_of(name).sign(where.advert_bytes(advert)))

    def _dealing(self, owner: str) -> Dealing:
        secrets, cohort = self.secrets[owner], self.cohort
        kind, secret = (
            ("seed", secrets.seed) if owner in self.survivors else ("key", secrets.mask_key.to_bytes())
        )
        holders = (*cohort.neighbours[owner], owner)
        points = {cohort.points[holder]: holder for holder in holders}
        dealt = split(int.from_bytes(secret, "big"), threshold=self.agreed.threshold, points=list(points))
        self.shares[owner] = {points[point]: element_to_bytes(share) for point, share in dealt.items()}
        hashes = [
            share_hash(cohort.session, dealer=owner, holder=h, kind=kind, share=self.shares[owner][h])
            for h in holders
        ]
        return Dealing(
            seed_hash(cohort.session, dealer=owner, seed=secrets.seed),
            hashes[-1],
            tuple(SealedShares(EMPTY_BOX, hashed, hashed) for hashed in hashes[:-1]),
            UNSIGNED,
        )
