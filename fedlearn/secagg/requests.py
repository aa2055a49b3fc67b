"""What the server asks at each step, as bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fedlearn.secagg.cohort import Cohort, Round
from fedlearn.secagg.messages import (
    AdvertiseRequest,
    Agreement,
    AgreeRequest,
    Configuration,
    InputsRequest,
    MaskedInput,
    Package,
    ShareRequest,
    UnmaskRequest,
    encode,
)


def advertise_request(where: Round) -> bytes:
    """Returns R0, the same for all."""
    return encode(AdvertiseRequest(where.roster.digest, where.run, where.number))


def share_request(cohort: Cohort) -> bytes:
    """Returns R1, the same for all."""
    return encode(ShareRequest(tuple(cohort.adverts.values())))


def inputs_request(
    client: str,
    *,
    cohort: Cohort,
    members: Sequence[str],
    packages: Mapping[str, Mapping[str, Package]],
    model_digest: bytes,
    configuration: Configuration,
) -> bytes:
    """Returns R2 for one client: U1, and what each of its neighbours in U1 dealt to it.

    Args:
      client: whom it is for.
      cohort: the session.
      members: U1.
      packages: dealer → holder → package.
      model_digest: SHA-256 of the model.
      configuration: of the session.
    """
    dealt = tuple(packages[dealer][client] for dealer in cohort.neighbours_in(client, members))
    return encode(InputsRequest(model_digest, configuration, tuple(members), dealt))


def agree_request(
    client: str, *, cohort: Cohort, survivors: Sequence[str], headers: Mapping[str, MaskedInput]
) -> bytes:
    """Returns R3 for one client: U2, and the signed headers of its neighbours in it."""
    neighbours = cohort.neighbours_in(client, survivors)
    return encode(AgreeRequest(tuple(survivors), tuple(headers[other] for other in neighbours)))


def unmask_request(agreements: Sequence[Agreement]) -> bytes:
    """Returns R4, the same for all."""
    return encode(UnmaskRequest(tuple(agreements)))
