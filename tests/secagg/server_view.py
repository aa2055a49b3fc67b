"""What a cheating server can compute: every message it was given, all that its colluder knows, and algebra.

``Eavesdropper`` keeps each message that a client gives away, whatever made it do so. A coalition's
:class:`Knowledge` rebuilds every secret of which it holds enough shares, and derives every seed that
follows. A masked vector is then one linear equation: a client's input, plus and minus the masks whose
seeds stay unknown. These are uniform and independent, so that exactly those combinations of inputs are
learned in which all unknown masks cancel: the left null space of the equations' mask part. (Each unknown
mask has coefficients ±1 of opposite sign in at most two equations of a view, as in the incidence matrix
of a graph, which is totally unimodular: what cancels modulo 2^b cancels over the integers.)
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TypeVar

import pytest

from fedlearn._types import RingVector
from fedlearn.crypto.agreement import AgreementKey
from fedlearn.crypto.shamir import combine, element_from_bytes
from fedlearn.errors import ProtocolError
from fedlearn.secagg import client as client_module
from fedlearn.secagg.client import ClientSession
from fedlearn.secagg.cohort import Cohort
from fedlearn.secagg.dealing import Secrets, open_package, packages
from fedlearn.secagg.masking import add_masks, pairwise_seeds, self_mask_seed
from fedlearn.secagg.messages import Dealing, MaskedInput, Reply, Revelation, decode_reply
from fedlearn.secagg.transcript import View, share_hash

K = TypeVar("K")
Row = dict[str, Fraction]
"""A combination of inputs: client → coefficient."""

Terms = dict[bytes | int, Fraction]
"""A combination of masks, by their seeds, and of equations, by their places."""


@dataclass
class Equation:
    """One masked vector: of whom, in which session, and under which seeds."""

    client: str
    session: bytes
    plus: Collection[bytes]
    minus: Collection[bytes]
    vector: RingVector


@dataclass
class Overheard:
    """One session as the server saw it, and its members' secrets for those who collude."""

    cohort: Cohort
    dealings: dict[str, Dealing] = field(default_factory=dict)
    headers: list[MaskedInput] = field(default_factory=list)
    revelations: list[tuple[str, Revelation]] = field(default_factory=list)
    secrets: dict[str, Secrets] = field(default_factory=dict)


class Eavesdropper:
    """Keeps what clients give away, by standing between them and whoever asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._replies: list[tuple[ClientSession, Reply]] = []
        self._secrets: dict[int, Secrets] = {}
        self._masked: dict[bytes, Equation] = {}
        receive, mask = ClientSession.receive, ClientSession.mask

        def overheard_receive(client: ClientSession, body: bytes) -> bytes:
            return self.keep(client, receive(client, body))

        def overheard_mask(client: ClientSession, vector: RingVector) -> bytes:
            return self.keep(client, mask(client, vector))

        def recorded(vector: RingVector, *, plus: Iterable[bytes] = (), minus: Iterable[bytes] = ()) -> None:
            seeds = list(plus), list(minus)
            add_masks(vector, plus=seeds[0], minus=seeds[1])
            self._masked[hashlib.sha256(vector.data).digest()] = Equation("", b"", *seeds, vector.copy())

        monkeypatch.setattr(ClientSession, "receive", overheard_receive)
        monkeypatch.setattr(ClientSession, "mask", overheard_mask)
        monkeypatch.setattr(client_module, "add_masks", recorded)

    def keep(self, client: ClientSession, body: bytes) -> bytes:
        """Takes note of what a client gives away, and hands it on."""
        reply = decode_reply(body)
        self._replies.append((client, reply))
        if isinstance(reply, Dealing):
            assert client._secrets is not None
            self._secrets[id(client)] = client._secrets
        return body

    def sessions(self) -> list[Overheard]:
        """The sessions of which a server has more than adverts."""
        found: dict[bytes, Overheard] = {}
        for client, reply in self._replies:
            if client._cohort is None:
                continue
            seen = found.setdefault(client._cohort.session, Overheard(client._cohort))
            if isinstance(reply, Dealing):
                seen.dealings[client.client] = reply
                seen.secrets[client.client] = self._secrets[id(client)]
            elif isinstance(reply, MaskedInput):
                seen.headers.append(reply)
            elif isinstance(reply, Revelation):
                seen.revelations.append((client.client, reply))
        return list(found.values())

    def equations(self) -> list[Equation]:
        """All masked vectors, with what they were masked with."""
        found = []
        for seen in self.sessions():
            for header in seen.headers:
                kept = self._masked[header.vector_digest]
                found.append(Equation(header.client, seen.cohort.session, kept.plus, kept.minus, kept.vector))
        return found


@dataclass
class Knowledge:
    """What a server and its colluders know of all sessions."""

    seeds: set[bytes]
    learned: list[tuple[Row, list[tuple[Fraction, Equation]]]]

    @classmethod
    def of(cls, heard: Eavesdropper, colluders: Collection[str]) -> Knowledge:
        """Computes it; raises nothing, whatever the sessions look like."""
        seeds: set[bytes] = set()
        for seen in heard.sessions():
            seeds |= _seeds_known(seen, colluders)
        equations = heard.equations()
        learned = []
        for weights in _left_null_space([_unknowns(equation, seeds) for equation in equations]):
            terms = [(w, e) for w, e in zip(weights, equations, strict=True) if w]
            row: Row = {}
            for weight, equation in terms:
                if equation.client not in colluders:
                    row[equation.client] = row.get(equation.client, Fraction(0)) + weight
            learned.append(({client: w for client, w in row.items() if w}, terms))
        return cls(seeds=seeds, learned=learned)

    def evaluate(self, terms: list[tuple[Fraction, Equation]], own: Mapping[str, RingVector]) -> RingVector:
        """The value of a learned combination: known masks and the colluders' own inputs taken away."""
        total: RingVector | None = None
        for weight, equation in terms:
            assert weight.denominator == 1
            plus = [seed for seed in equation.plus if seed in self.seeds]
            minus = [seed for seed in equation.minus if seed in self.seeds]
            vector = equation.vector.copy()
            add_masks(vector, plus=minus, minus=plus)
            if equation.client in own:
                vector -= own[equation.client]
            scaled = vector * vector.dtype.type(int(weight) % 2 ** (8 * vector.itemsize))
            total = scaled if total is None else total + scaled
        assert total is not None
        return total


def assert_opens_no_input(heard: Eavesdropper, colluders: Collection[str]) -> list[Row]:
    """Asserts that all learned of honest inputs is one sum over enough of them; returns it, or nothing."""
    floor = min((seen.cohort.parameters.min_survivors for seen in heard.sessions()), default=0)
    rows = _reduced([row for row, _ in Knowledge.of(heard, colluders).learned if row])
    assert len(rows) <= 1, f"two combinations of honest inputs are learned with {colluders}: {rows}"
    for row in rows:
        assert set(row.values()) == {Fraction(1)}, f"weighted by {row}"
        assert len(row) >= floor - len(colluders), f"a sum over {sorted(row)} alone"
    return rows


def _seeds_known(seen: Overheard, colluders: Collection[str]) -> set[bytes]:
    """Every mask seed that the coalition can derive in one session."""
    shares = _shares_known(seen, colluders)
    secrets: dict[tuple[str, str], bytes] = {
        (owner, kind): combine(held).to_bytes(33, "big")[1:]
        for (owner, kind), held in shares.items()
        if len(held) >= seen.cohort.parameters.threshold
    }
    for client in set(colluders) & set(seen.secrets):
        secrets[client, "seed"] = seen.secrets[client].seed
        secrets[client, "key"] = seen.secrets[client].mask_key.to_bytes()
    known: set[bytes] = set()
    for (owner, kind), secret in secrets.items():
        if kind == "seed":
            known.add(self_mask_seed(seen.cohort.session, owner, secret))
        else:
            known |= _pairs_of(seen, owner, AgreementKey(secret))
    return known


def _pairs_of(seen: Overheard, owner: str, key: AgreementKey) -> set[bytes]:
    """The seeds of all pairs with one whose mask key is known, under every view that anyone masked in."""
    known: set[bytes] = set()
    for header in seen.headers:
        view = View(
            session=seen.cohort.session,
            members_digest=header.members_digest,
            model_digest=header.model_digest,
            configuration_digest=header.configuration_digest,
        )
        pairs = pairwise_seeds(seen.cohort, view, owner, key, seen.cohort.neighbours[owner])
        known |= {*pairs.plus, *pairs.minus}
    return known


def _shares_known(seen: Overheard, colluders: Collection[str]) -> dict[tuple[str, str], dict[int, int]]:
    """(owner, kind) → point → share: those revealed, and all in the boxes that colluders can open."""
    known: dict[tuple[str, str], dict[int, int]] = {}
    cohort = seen.cohort
    for holder, revelation in seen.revelations:
        for share in revelation.shares:
            owner, kind = _whose(seen, holder, share)
            known.setdefault((owner, kind), {})[cohort.points[holder]] = element_from_bytes(share)
    for colluder in set(colluders) & set(seen.secrets):
        for dealer in cohort.neighbours[colluder]:
            if dealer not in seen.dealings:
                continue
            package = packages(cohort, dealer, seen.dealings[dealer])[colluder]
            try:
                held = open_package(cohort, colluder, seen.secrets[colluder].share_key, package)
            except ProtocolError:
                continue
            point = cohort.points[colluder]
            known.setdefault((dealer, "seed"), {})[point] = element_from_bytes(held.seed_share)
            known.setdefault((dealer, "key"), {})[point] = element_from_bytes(held.key_share)
    return known


def _whose(seen: Overheard, holder: str, share: bytes) -> tuple[str, str]:
    """Owner and kind of a revealed share, by the hashes that dealers signed."""
    for owner, dealing in seen.dealings.items():
        hashes = {dealing.own_share_hash: "seed"} if owner == holder else {}
        if holder in seen.cohort.neighbours[owner]:
            sealed = dealing.sealed[seen.cohort.neighbours[owner].index(holder)]
            hashes = {sealed.seed_share_hash: "seed", sealed.key_share_hash: "key"}
        for hashed, kind in hashes.items():
            if hashed == share_hash(seen.cohort.session, dealer=owner, holder=holder, kind=kind, share=share):
                return owner, kind
    raise AssertionError(f"{holder} revealed a share that nobody dealt to it")


def _unknowns(equation: Equation, known: set[bytes]) -> Terms:
    """The equation's mask part: unknown seed → ±1."""
    added = [(seed, Fraction(1)) for seed in equation.plus]
    taken = [(seed, Fraction(-1)) for seed in equation.minus]
    return {seed: sign for seed, sign in added + taken if seed not in known}


def _left_null_space(rows: list[Terms]) -> list[list[Fraction]]:
    """A basis of the weights under which the rows add up to nothing."""
    pivots: list[tuple[bytes, Terms]] = []
    basis = []
    for place, row in enumerate(rows):
        # Beside its unknown masks, each row carries the weights of the rows that it is made of.
        left: Terms = {**row, place: Fraction(1)}
        for column, pivot in pivots:
            if column in left:
                left = _minus(left, left[column] / pivot[column], pivot)
        unknown = next((key for key in left if isinstance(key, bytes)), None)
        if unknown is None:
            basis.append([left.get(i, Fraction(0)) for i in range(len(rows))])
        else:
            pivots.append((unknown, left))
    return basis


def _reduced(rows: list[Row]) -> list[Row]:
    """What is learned without repetition: independent rows, each with a leading 1."""
    found: list[Row] = []
    for row in rows:
        left = row
        for other in found:
            if lead := left.get(min(other)):
                left = _minus(left, lead, other)
        if left:
            first = left[min(left)]
            found.append({client: value / first for client, value in left.items()})
    return found


def _minus(row: Mapping[K, Fraction], factor: Fraction, other: Mapping[K, Fraction]) -> dict[K, Fraction]:
    """row - factor · other, without zeros."""
    zero = Fraction(0)
    return {
        key: value
        for key in {**row, **other}
        if (value := row.get(key, zero) - factor * other.get(key, zero))
    }
