"""What a client compares with its own knowledge before it masks, and before it signs the survivors."""

from __future__ import annotations

from fedlearn._types import RingVector
from fedlearn.errors import ConfigurationMismatch, InconsistentMembers, ModelMismatch, WithheldShares
from fedlearn.secagg.cohort import Cohort, configuration_of
from fedlearn.secagg.messages import Configuration, InputsRequest, MaskedInput
from fedlearn.secagg.ring import check_ring_vector
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
