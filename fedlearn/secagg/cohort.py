"""The clients of one session, as their adverts make them: client and server derive the same value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from fedlearn.crypto.identity import verify
from fedlearn.errors import (
    ConfigError,
    ConfigurationMismatch,
    InconsistentMembers,
    KeyMisuse,
    TooFewClients,
    UnknownClient,
)
from fedlearn.secagg.graph import neighbourhoods
from fedlearn.secagg.messages import Advert, Configuration
from fedlearn.secagg.parameters import SessionParameters
from fedlearn.secagg.roster import Roster
from fedlearn.secagg.transcript import advert_bytes, session_id


@dataclass(frozen=True, kw_only=True)
class Round:
    """Where a session takes place.

    Attributes:
      roster: the pinned identities.
      run: the run's id.
      number: the round, counted from 0.
    """

    roster: Roster
    run: str
    number: int

    def check_advert(self, advert: Advert) -> None:
        """Raises UnknownClient if its client is not on the roster, TamperedMessage if it did not sign."""
        public = self.roster.members.get(advert.client)
        if public is None:
            raise UnknownClient(f"client {advert.client!r} is not on roster version {self.roster.version}")
        verify(public, advert.signature, self.advert_bytes(advert))

    def advert_bytes(self, advert: Advert) -> bytes:
        """Returns what the advert's client signs."""
        return advert_bytes(roster_digest=self.roster.digest, run=self.run, round=self.number, advert=advert)


@dataclass(frozen=True, kw_only=True)
class Cohort:
    """The session: its members, keys, parameters and graph.

    Attributes:
      session: the session id, 32 bytes.
      members: ids of the clients, sorted.
      points: id → where its shares are evaluated: its place among the members, from 1.
      adverts: id → advert.
      keys: id → long-term public key.
      parameters: of a session with that many members.
      neighbours: id → ids of its neighbours, sorted.
    """

    session: bytes
    members: tuple[str, ...]
    points: Mapping[str, int]
    adverts: Mapping[str, Advert]
    keys: Mapping[str, bytes]
    parameters: SessionParameters
    neighbours: Mapping[str, tuple[str, ...]]

    @classmethod
    def of(cls, adverts: Sequence[Advert], *, where: Round, agreed: SessionParameters) -> Cohort:
        """Returns the cohort of these adverts.

        Args:
          adverts: in the order of their ids.
          where: roster, run and round.
          agreed: the parameters of a full cohort.

        Raises:
          InconsistentMembers: the adverts are not in order, or one id comes twice.
          UnknownClient: a client is not on the roster.
          TamperedMessage: a signature does not verify.
          KeyMisuse: a public key comes twice.
          ConfigurationMismatch: there are more than agreed.
          TooFewClients: no parameters satisfy the rules for that many.
        """
        members = tuple(advert.client for advert in adverts)
        check_order(members, name="adverts")
        for advert in adverts:
            where.check_advert(advert)
        check_fresh(adverts)
        parameters = _parameters_for(members, agreed)
        session = session_id(
            roster_digest=where.roster.digest, run=where.run, round=where.number, adverts=adverts
        )
        return cls(
            session=session,
            members=members,
            points={member: place for place, member in enumerate(members, start=1)},
            adverts=dict(zip(members, adverts, strict=True)),
            keys={member: where.roster.members[member] for member in members},
            parameters=parameters,
            neighbours=neighbourhoods(members, neighbours=parameters.neighbours, session=session),
        )

    def neighbours_in(self, client: str, members: Sequence[str]) -> tuple[str, ...]:
        """Returns the client's neighbours among ``members``, sorted."""
        wanted = frozenset(members)
        return tuple(other for other in self.neighbours[client] if other in wanted)

    def owners(self, holder: str, members: Sequence[str]) -> tuple[str, ...]:
        """Returns whose shares a holder reveals: its neighbours in U1 and itself, sorted."""
        return tuple(sorted((*self.neighbours_in(holder, members), holder)))

    def fewest_holders(
        self, members: Sequence[str], answering: Sequence[str], survivors: Sequence[str]
    ) -> tuple[str, int]:
        """Returns the client of U1 whose secret has the fewest holders left, and how many.

        Args:
          members: U1.
          answering: the clients that are still there.
          survivors: U2; each holds a share of its own seed as well.
        """
        there, kept = frozenset(answering), frozenset(answering) & frozenset(survivors)
        counts = {o: sum(h in there for h in self.neighbours[o]) + (o in kept) for o in members}
        owner = min(counts, key=lambda name: (counts[name], name))
        return owner, counts[owner]

    def verify(self, client: str, signature: bytes, message: bytes) -> None:
        """Raises UnknownClient if the client is not of the session, TamperedMessage if it did not sign."""
        if client not in self.keys:
            raise UnknownClient(f"client {client!r} has no advert in the session")
        verify(self.keys[client], signature, message)


def configuration_of(
    parameters: SessionParameters, *, modulus_bits: int, dimension: int, agreed: bytes
) -> Configuration:
    """Returns the configuration of a session with these parameters."""
    return Configuration(
        clients=parameters.clients,
        colluders=parameters.colluders,
        min_survivors=parameters.min_survivors,
        neighbours=parameters.neighbours,
        threshold=parameters.threshold,
        quorum=parameters.quorum,
        modulus_bits=modulus_bits,
        dimension=dimension,
        agreed=agreed,
    )


def check_order(members: Sequence[str], *, name: str) -> None:
    """Raises InconsistentMembers unless the ids are sorted and distinct."""
    for before, after in pairwise(members):
        if before >= after:
            raise InconsistentMembers(f"{name}: {after!r} follows {before!r}; ids are sorted and distinct")


def check_fresh(adverts: Iterable[Advert]) -> None:
    """Raises KeyMisuse if a public key or a nonce comes twice, within an advert or across them."""
    seen: dict[bytes, str] = {}
    for advert in adverts:
        for value in (advert.mask_public, advert.share_public, advert.nonce):
            if value in seen:
                raise KeyMisuse(
                    f"client {advert.client!r} advertises a key or nonce of {seen[value]!r}; each is fresh"
                )
            seen[value] = advert.client


def _parameters_for(members: Sequence[str], agreed: SessionParameters) -> SessionParameters:
    if len(members) > agreed.clients:
        raise ConfigurationMismatch(
            f"{len(members)} adverts in a session agreed for at most {agreed.clients} clients"
        )
    try:
        return agreed.for_cohort(len(members))
    except ConfigError as error:
        raise TooFewClients(
            f"advertise: {len(members)} of {agreed.clients} clients take part,"
            f" min_survivors={agreed.min_survivors}: {error}",
            step="advertise",
            answered=len(members),
            needed=agreed.min_survivors,
        ) from None
