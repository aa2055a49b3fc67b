"""A client of one secure-aggregation session: bytes in, bytes out; no socket, clock or thread.

The client trusts nothing that the server sends. It recomputes the session id, the graph and every
parameter, compares model and configuration with its own, and gives each answer once. Errors name
what was refused and are safe to show: they hold no secret.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import msgspec

from fedlearn._types import RingVector
from fedlearn.crypto.entropy import random_bytes
from fedlearn.crypto.identity import SigningKey
from fedlearn.crypto.shared_answers import shared_value
from fedlearn.errors import (
    AlreadyAnswered,
    FaultyDealer,
    InconsistentMembers,
    ModelMismatch,
    OutOfOrder,
    RosterMismatch,
)
from fedlearn.secagg.admission import (
    check_configuration,
    check_dealers,
    check_members,
    check_quorum,
    check_survivors,
    check_vector,
)
from fedlearn.secagg.cohort import Cohort, Round
from fedlearn.secagg.dealing import HeldShares, Secrets, deal, open_package
from fedlearn.secagg.latches import Latches, MemoryLatches, SqliteLatches
from fedlearn.secagg.masking import add_masks, pairwise_seeds, self_mask_seed
from fedlearn.secagg.messages import (
    Advert,
    AdvertiseRequest,
    Agreement,
    AgreeRequest,
    Complaint,
    Configuration,
    InputsRequest,
    MaskedInput,
    Package,
    Revelation,
    ShareRequest,
    UnmaskRequest,
    decode_request,
    encode,
    expect,
)
from fedlearn.secagg.once import Once
from fedlearn.secagg.parameters import SessionParameters
from fedlearn.secagg.roster import Roster
from fedlearn.secagg.step import Step
from fedlearn.secagg.transcript import View, complaint_bytes, hash_configuration, members_digest

__all__ = ["ClientSession", "Latches", "MemoryLatches", "SqliteLatches", "Step"]


@dataclass(frozen=True, kw_only=True)
class _Inputs:
    """An accepted request for the masked input."""

    view: View
    members: tuple[str, ...]
    configuration: Configuration
    held: dict[str, HeldShares] = field(repr=False)


class ClientSession:
    """One client in one round of one run.

    Sessions are independent: the next one may begin before this one ends.

    Guarantee: whatever the server sends, and while at most ``parameters.colluders`` members of the
    roster help it, it learns from this session at most one sum over at least
    ``parameters.min_survivors`` clients and the set of these clients.

    Args:
      client: its id.
      key: its signing key.
      roster: the pinned identities.
      parameters: of a full cohort, from the client's own configuration. A smaller cohort (some did
        not advertise) keeps colluders and floor, and its quorum, threshold and graph are recomputed.
      run: the run's id.
      round: the round, counted from 0.
      latches: memory of what was answered; outlives the session.
      repeat_model: whether to give a second masked input for a model that it gave one for. Two sums
        over sets that differ by one client are that client's input: only where noise covers it and
        every release is charged.
    """

    def __init__(
        self,
        *,
        client: str,
        key: SigningKey,
        roster: Roster,
        parameters: SessionParameters,
        run: str,
        round: int,
        latches: Latches,
        repeat_model: bool = False,
    ) -> None:
        if roster.members.get(client) != key.public:
            raise RosterMismatch(
                f"the key of client {client!r} is not the one on roster version {roster.version};"
                " ask the consortium to enrol it"
            )
        self.client = client
        self.step = Step.ADVERTISE
        self._key = key
        self._where = Round(roster=roster, run=run, number=round)
        self._agreed = parameters
        self._once = Once(latches=latches, run=run, repeat_model=repeat_model)
        self._secrets: Secrets | None = None
        self._advert: Advert | None = None
        self._cohort: Cohort | None = None
        self._own_share = b""
        self._inputs: _Inputs | None = None
        self._survivors: tuple[str, ...] = ()

    def receive(self, body: bytes) -> bytes:
        """Returns the answer to a request of any step but the masked input.

        Raises:
          MalformedMessage: the body does not decode.
          OutOfOrder: the request belongs to another step.
          ProtocolError: any rule is broken; the subclass names it. The step stays open.
        """
        request = decode_request(body)
        if isinstance(request, AdvertiseRequest):
            return self._advertise(request)
        if isinstance(request, ShareRequest):
            return self._share(request)
        if isinstance(request, AgreeRequest):
            return self._agree(request)
        if isinstance(request, UnmaskRequest):
            return self._unmask(request)
        raise OutOfOrder("a request for the masked input arrived; it goes to accept_inputs_request")

    def accept_inputs_request(self, body: bytes, *, model_digest: bytes, configuration_digest: bytes) -> None:
        """Checks the request for the masked input; training and :meth:`mask` follow.

        May be repeated, with fewer members, until :meth:`mask` is called.

        Args:
          body: the request.
          model_digest: SHA-256 of the model that the client received, 32 bytes.
          configuration_digest: SHA-256 of the client's own application configuration, 32 bytes.

        Raises:
          ModelMismatch: the server gave others another model.
          ConfigurationMismatch: the server asks for other parameters than the client computed.
          InconsistentMembers, TooFewClients: U1 is impossible or below the floor.
          WithheldShares: a neighbour's package is missing.
          TamperedMessage: a package is not what its dealer signed.
          FaultyDealer: a dealer signed wrong shares; send its ``complaint`` instead of a vector.
          AlreadyAnswered: a masked input for this model was given before.
        """
        request = expect(decode_request(body), InputsRequest)
        self._check_step(Step.INPUTS)
        cohort, secrets = self._session()
        if request.model_digest != model_digest:
            raise ModelMismatch("the model is not the one whose digest the session binds")
        check_configuration(request.configuration, cohort, configuration_digest)
        among = None if self._inputs is None else self._inputs.members
        check_members(request.members, cohort, self.client, among=among)
        check_dealers(request, cohort, self.client)
        self._once.check_model(model_digest)
        view = View(
            session=cohort.session,
            members_digest=members_digest(cohort.session, name="U1", members=request.members),
            model_digest=model_digest,
            configuration_digest=hash_configuration(request.configuration),
        )
        self._inputs = _Inputs(
            view=view,
            members=request.members,
            configuration=request.configuration,
            held={package.dealer: self._open(package, cohort, secrets) for package in request.packages},
        )

    def mask(self, vector: RingVector) -> bytes:
        """Masks the encoded update in place and returns the signed header that travels beside it.

        Raises:
          OutOfOrder: no request for the masked input was accepted.
          ConfigurationMismatch: the server's dimension or modulus is not the vector's.
          AlreadyAnswered: a masked input of this session or for this model was given before.
        """
        self._check_step(Step.INPUTS)
        cohort, secrets = self._session()
        if self._inputs is None:
            raise OutOfOrder("mask follows accept_inputs_request")
        check_vector(vector, self._inputs.configuration)
        view, members = self._inputs.view, self._inputs.members
        seeds = pairwise_seeds(
            cohort, view, self.client, secrets.mask_key, cohort.neighbours_in(self.client, members)
        )
        own = self_mask_seed(cohort.session, self.client, secrets.seed)
        self._once.close_inputs(view)
        add_masks(vector, plus=[own, *seeds.plus], minus=seeds.minus)
        self.step = Step.AGREE
        digest = hashlib.sha256(vector.data).digest()
        signature = self._key.sign(view.input_bytes(client=self.client, vector_digest=digest))
        return encode(MaskedInput(self.client, *view.parts[1:], digest, signature))

    def erase(self) -> None:
        """Forgets all secrets; the session answers nothing more. Called by itself after the last answer."""
        self._secrets = None
        self._inputs = None
        self._own_share = b""
        self.step = Step.FINISHED

    def expire(self) -> None:
        """Erases the session for good and lets go of its latches, where memory is all that they were in."""
        self.erase()
        if self._cohort is not None:
            self._once.forget(self._cohort.session)

    def _advertise(self, request: AdvertiseRequest) -> bytes:
        self._check_step(Step.ADVERTISE)
        if request.roster_digest != self._where.roster.digest:
            raise RosterMismatch(
                f"the server's roster is not version {self._where.roster.version}, which is pinned here;"
                " both ends need the consortium's current one"
            )
        if (request.run, request.round) != (self._where.run, self._where.number):
            raise OutOfOrder(
                f"request of run {request.run!r}, round {request.round}; this session serves"
                f" run {self._where.run!r}, round {self._where.number}"
            )
        self._secrets = Secrets.generate()
        unsigned = Advert(
            self.client,
            self._secrets.mask_key.public,
            self._secrets.share_key.public,
            random_bytes(32),
            bytes(64),
        )
        signature = self._key.sign(self._where.advert_bytes(unsigned))
        self._advert = msgspec.structs.replace(unsigned, signature=signature)
        self.step = Step.SHARE
        return encode(self._advert)

    def _share(self, request: ShareRequest) -> bytes:
        self._check_step(Step.SHARE)
        if self._advert not in request.adverts:
            raise InconsistentMembers(f"the adverts lack the one that client {self.client!r} sent")
        cohort = shared_value(
            (Cohort, request.adverts, self._where, self._agreed),
            lambda: Cohort.of(request.adverts, where=self._where, agreed=self._agreed),
        )
        if self._secrets is None:
            raise OutOfOrder("the session has no secrets")
        dealing, self._own_share = deal(cohort, self.client, self._secrets, self._key)
        self._cohort = cohort
        self.step = Step.INPUTS
        return encode(dealing)

    def _agree(self, request: AgreeRequest) -> bytes:
        self._check_step(Step.AGREE)
        cohort, inputs = self._masked()
        check_survivors(request, cohort, self.client, members=inputs.members, view=inputs.view)
        self._once.close_agree(cohort.session)
        self._survivors = request.survivors
        self.step = Step.UNMASK
        signed = inputs.view.agreement_bytes(client=self.client, survivors_digest=self._survivors_digest())
        return encode(Agreement(self.client, self._key.sign(signed)))

    def _unmask(self, request: UnmaskRequest) -> bytes:
        self._check_step(Step.UNMASK)
        cohort, inputs = self._masked()
        digest = self._survivors_digest()
        shared_value(
            (check_quorum, request, cohort.session, cohort.parameters, inputs.view, digest),
            lambda: check_quorum(request, cohort, view=inputs.view, survivors_digest=digest),
        )
        self._once.close_unmask(cohort.session)
        shares = [self._share_of(owner, inputs) for owner in cohort.owners(self.client, inputs.members)]
        signed = inputs.view.revelation_bytes(client=self.client, survivors_digest=digest, shares=shares)
        self.erase()
        return encode(Revelation(tuple(shares), self._key.sign(signed)))

    def _share_of(self, owner: str, inputs: _Inputs) -> bytes:
        """Returns the one share of an owner to reveal: of its seed if it survived, else of its key."""
        if owner == self.client:
            return self._own_share
        held = inputs.held[owner]
        return held.seed_share if owner in self._survivors else held.key_share

    def _open(self, package: Package, cohort: Cohort, secrets: Secrets) -> HeldShares:
        try:
            return open_package(cohort, self.client, secrets.share_key, package)
        except FaultyDealer as fault:
            message = complaint_bytes(cohort.session, holder=self.client, dealer=fault.dealer)
            complaint = encode(Complaint(fault.dealer, self._key.sign(message)))
            raise FaultyDealer(fault.dealer, fault.reason, complaint) from None

    def _check_step(self, step: Step) -> None:
        order = list(Step)
        if self.step is Step.FINISHED or order.index(self.step) > order.index(step):
            raise AlreadyAnswered(f"step {step.value!r} is over; it is answered once")
        if self.step is not step:
            raise OutOfOrder(f"step {step.value!r} was asked for; {self.step.value!r} is due")

    def _session(self) -> tuple[Cohort, Secrets]:
        if self._cohort is None or self._secrets is None:
            raise OutOfOrder("the session has no cohort yet, or its secrets are erased")
        return self._cohort, self._secrets

    def _masked(self) -> tuple[Cohort, _Inputs]:
        if self._cohort is None or self._inputs is None:
            raise OutOfOrder("no masked input was given, or its secrets are erased")
        return self._cohort, self._inputs

    def _survivors_digest(self) -> bytes:
        _, inputs = self._masked()
        return members_digest(inputs.view.session, name="U2", members=self._survivors)
