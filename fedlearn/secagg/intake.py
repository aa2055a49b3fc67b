"""What the server checks of an answer before it counts; whoever fails costs itself the round, nobody else."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from fedlearn._types import RingVector
from fedlearn.crypto.agreement import AgreementKey
from fedlearn.errors import (
    FaultyDealer,
    InconsistentMembers,
    MalformedMessage,
    TamperedMessage,
    UnknownClient,
)
from fedlearn.secagg.cohort import Cohort, Round, check_fresh
from fedlearn.secagg.messages import Advert, Agreement, Complaint, MaskedInput, Revelation
from fedlearn.secagg.ring import check_ring_vector
from fedlearn.secagg.transcript import View, complaint_bytes


def check_advert(
    client: str, advert: Advert, *, where: Round, others: Iterable[Advert], probe: AgreementKey
) -> None:
    """Raises unless the advert is the client's own, signed, and fresh among the others.

    One client must not make all others refuse the session, so its keys are tried out here.

    Args:
      client: who sent it.
      advert: what it sent.
      where: roster, run and round.
      others: the adverts before it.
      probe: any key, to find those of low order.
    """
    _check_author(client, advert.client)
    where.check_advert(advert)
    check_fresh([*others, advert])
    for public in (advert.mask_public, advert.share_public):
        probe.check_peer(public)


def check_input(
    client: str,
    header: MaskedInput,
    vector: RingVector | None,
    *,
    cohort: Cohort,
    view: View,
    like: RingVector,
) -> RingVector:
    """Returns the masked vector of the shape and type of ``like``; raises unless its header is true.

    Raises:
      InconsistentMembers: masked for another view.
      MalformedMessage: no vector.
      UnencodableVector: another length or type.
      TamperedMessage: not signed, or not the vector that was.
    """
    _check_author(client, header.client)
    if not view.matches(header):
        raise InconsistentMembers(f"client {client!r} masked for another model, configuration or U1")
    signed = view.input_bytes(client=client, vector_digest=header.vector_digest)
    cohort.verify(client, header.signature, signed)
    if vector is None:
        raise MalformedMessage("a header came without its masked vector")
    check_ring_vector(vector, dimension=like.size, modulus_bits=8 * like.itemsize)
    if hashlib.sha256(vector.data).digest() != header.vector_digest:
        raise TamperedMessage(f"the masked vector of client {client!r} is not the one it signed")
    return vector


def accusation(client: str, complaint: Complaint, *, cohort: Cohort, members: Sequence[str]) -> FaultyDealer:
    """Returns what the complaint says; raises unless it is signed and against a dealer of the client."""
    signed = complaint_bytes(cohort.session, holder=client, dealer=complaint.dealer)
    cohort.verify(client, complaint.signature, signed)
    if complaint.dealer not in cohort.neighbours_in(client, members):
        raise UnknownClient(f"client {client!r} accuses {complaint.dealer!r}, which dealt it nothing")
    return FaultyDealer(complaint.dealer, f"its shares for {client!r} are wrong, says {client!r}")


def check_agreement(
    client: str, agreement: Agreement, *, cohort: Cohort, view: View, survivors_digest: bytes
) -> None:
    """Raises TamperedMessage unless the client signed this view and these survivors."""
    _check_author(client, agreement.client)
    signed = view.agreement_bytes(client=client, survivors_digest=survivors_digest)
    cohort.verify(client, agreement.signature, signed)


def check_revelation(
    client: str, revelation: Revelation, *, cohort: Cohort, view: View, survivors_digest: bytes
) -> None:
    """Raises TamperedMessage unless the client signed these shares; :class:`Recovery` checks each."""
    signed = view.revelation_bytes(client=client, survivors_digest=survivors_digest, shares=revelation.shares)
    cohort.verify(client, revelation.signature, signed)


def _check_author(client: str, author: str) -> None:
    if client != author:
        raise TamperedMessage(f"client {client!r} sent a message of {author!r}")
