"""What a client compares with its own knowledge before it masks, signs the survivors, or unmasks."""

from __future__ import annotations

from fedlearn._types import RingVector
from fedlearn.errors import (
    ConfigurationMismatch,
    InconsistentMembers,
    ModelMismatch,
    TooFewClients,
    UnknownClient,
    WithheldShares,
)
from fedlearn.secagg.cohort import Cohort, check_order, configuration_of
from fedlearn.secagg.messages import AgreeRequest, Configuration, InputsRequest, MaskedInput, UnmaskRequest
from fedlearn.secagg.ring import check_ring_vector
from fedlearn.secagg.step import Step
from fedlearn.secagg.transcript import View


def check_configuration(offered: Configuration, cohort: Cohort, agreed: bytes) -> None:
    """Raises ConfigurationMismatch unless the server asks for what the client computed itself.

    Dimension and modulus are compared later, with the vector: see :func:`check_vector`.
    """
    own = configuration_of(
        cohort.parameters, modulus_bits=offered.modulus_bits, dimension=offered.dimension, agreed=agreed
    )
    for name in Configuration.__struct_fields__:
        ours, theirs = getattr(own, name), getattr(offered, name)
        if ours != theirs:
            raise ConfigurationMismatch(f"{name}={_shown(theirs)} is asked for; {_shown(ours)} is agreed")


def check_vector(vector: RingVector, configuration: Configuration) -> None:
    """Raises ConfigurationMismatch unless the vector has the dimension and modulus asked for."""
    bits = 8 * vector.itemsize
    if (bits, vector.shape) != (configuration.modulus_bits, (configuration.dimension,)):
        raise ConfigurationMismatch(
            f"modulus_bits={configuration.modulus_bits}, dimension={configuration.dimension} are asked"
            f" for; the encoded update has {bits}, {vector.shape}"
        )
    check_ring_vector(vector, dimension=configuration.dimension, modulus_bits=bits)


def check_members(
    members: tuple[str, ...], cohort: Cohort, receiver: str, *, among: tuple[str, ...] | None
) -> None:
    """Raises unless U1 can be the session's.

    Args:
      members: U1.
      cohort: the session.
      receiver: the client that is asked; one of them.
      among: U1 of an earlier request for the same input, which may only shrink; None if there was none.

    Raises:
      InconsistentMembers: unordered, without the receiver, or larger than before.
      UnknownClient: a member has no advert in the session.
      TooFewClients: fewer than the floor.
    """
    check_order(members, name="members")
    strangers = sorted(set(members) - set(cohort.members))
    if strangers:
        raise UnknownClient(f"members {strangers} have no advert in the session")
    if among is not None and not set(members) <= set(among):
        raise InconsistentMembers("a repeated request adds members; it may only leave some out")
    _check_floor(members, cohort, receiver, step=Step.INPUTS)


def check_survivors(
    request: AgreeRequest, cohort: Cohort, receiver: str, *, members: tuple[str, ...], view: View
) -> None:
    """Raises unless U2 is a subset of U1 above the floor whose headers carry the receiver's own view.

    Raises:
      InconsistentMembers: unordered, without the receiver, no subset, or a header with another U1.
      TooFewClients: fewer than the floor.
      WithheldShares: the headers are not those of all the receiver's neighbours in U2.
      ModelMismatch, ConfigurationMismatch: a neighbour was sent another model or configuration.
      TamperedMessage: a header is not signed in this session.
    """
    survivors = request.survivors
    check_order(survivors, name="survivors")
    if not set(survivors) <= set(members):
        raise InconsistentMembers("survivors who never dealt; U2 is a subset of U1")
    _check_floor(survivors, cohort, receiver, step=Step.AGREE)
    neighbours = cohort.neighbours_in(receiver, survivors)
    if tuple(header.client for header in request.headers) != neighbours:
        raise WithheldShares("the headers are not those of all neighbours among the survivors")
    for header in request.headers:
        check_header(header, cohort, view)


def check_quorum(request: UnmaskRequest, cohort: Cohort, *, view: View, survivors_digest: bytes) -> None:
    """Raises unless a quorum of distinct members signed this view and these survivors.

    Raises:
      InconsistentMembers: signers are unordered or repeated.
      TooFewClients: fewer than the quorum.
      UnknownClient: a signer is not of the session.
      TamperedMessage: a signature is of another view, set or session.
    """
    signers = tuple(agreement.client for agreement in request.agreements)
    check_order(signers, name="signers")
    quorum = cohort.parameters.quorum
    if len(signers) < quorum:
        raise TooFewClients(
            f"unmask: {len(signers)} clients signed the survivors, quorum={quorum} are needed",
            step=Step.UNMASK.value,
            answered=len(signers),
            needed=quorum,
        )
    for agreement in request.agreements:
        signed = view.agreement_bytes(client=agreement.client, survivors_digest=survivors_digest)
        cohort.verify(agreement.client, agreement.signature, signed)


def _check_floor(clients: tuple[str, ...], cohort: Cohort, receiver: str, *, step: Step) -> None:
    if receiver not in clients:
        raise InconsistentMembers(f"the members of step {step.value!r} leave out the receiver {receiver!r}")
    floor = cohort.parameters.min_survivors
    if len(clients) < floor:
        raise TooFewClients(
            f"{step.value}: {len(clients)} clients are left, min_survivors={floor} are needed",
            step=step.value,
            answered=len(clients),
            needed=floor,
            missing=sorted(set(cohort.members) - set(clients)),
        )


def check_dealers(request: InputsRequest, cohort: Cohort, receiver: str) -> None:
    """Raises WithheldShares unless the packages are those of all the receiver's neighbours in U1."""
    neighbours = cohort.neighbours_in(receiver, request.members)
    dealers = tuple(package.dealer for package in request.packages)
    if dealers != neighbours:
        missing = sorted(set(neighbours) - set(dealers))
        raise WithheldShares(
            f"packages of {len(dealers)} dealers for {len(neighbours)} neighbours (missing: {missing})"
        )
    threshold = cohort.parameters.threshold
    if len(dealers) + 1 < threshold:
        raise WithheldShares(
            f"{len(dealers)} neighbours dealt; threshold={threshold}, one's own included, are needed"
        )


def check_header(header: MaskedInput, cohort: Cohort, view: View) -> None:
    """Raises unless a neighbour's header is signed by it and carries the receiver's own view."""
    signed = View(
        session=cohort.session,
        members_digest=header.members_digest,
        model_digest=header.model_digest,
        configuration_digest=header.configuration_digest,
    )
    message = signed.input_bytes(client=header.client, vector_digest=header.vector_digest)
    cohort.verify(header.client, header.signature, message)
    if header.model_digest != view.model_digest:
        raise ModelMismatch(f"client {header.client!r} was sent another model")
    if header.configuration_digest != view.configuration_digest:
        raise ConfigurationMismatch(f"client {header.client!r} was sent another configuration")
    if not view.matches(header):
        raise InconsistentMembers(f"client {header.client!r} was sent another set U1")


def _shown(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
