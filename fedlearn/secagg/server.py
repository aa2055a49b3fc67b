"""The server of one secure-aggregation session: requests out, answers in, one sum at the end.

Answers are taken as they arrive: a masked vector is added to the sum and forgotten, so that memory is
one vector whatever the cohort. A client that does not answer, or whose answer does not verify, is
left out with its reason; a step is closed only if all that follows can still succeed without it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from fedlearn._types import RingVector
from fedlearn.crypto.agreement import AgreementKey
from fedlearn.errors import (
    AlreadyAnswered,
    ConfigError,
    MalformedMessage,
    OutOfOrder,
    ProtocolError,
    UnknownClient,
)
from fedlearn.secagg.cohort import Cohort, Round, configuration_of
from fedlearn.secagg.dealing import packages
from fedlearn.secagg.intake import accusation, check_advert, check_agreement, check_input, check_revelation
from fedlearn.secagg.messages import (
    Advert,
    Agreement,
    Complaint,
    Configuration,
    Dealing,
    MaskedInput,
    Package,
    Reply,
    Revelation,
    decode_reply,
    expect,
)
from fedlearn.secagg.parameters import SessionParameters
from fedlearn.secagg.recovery import Recovery
from fedlearn.secagg.requests import (
    advertise_request,
    agree_request,
    inputs_request,
    share_request,
    unmask_request,
)
from fedlearn.secagg.ring import add_in_ring, ring_dtype
from fedlearn.secagg.roster import Roster
from fedlearn.secagg.step import Step
from fedlearn.secagg.survival import Survival
from fedlearn.secagg.transcript import View, hash_configuration, members_digest

__all__ = ["ServerSession", "Step"]


class ServerSession:
    """The server in one round of one run.

    ::

        while not session.finished:
            for client, body in session.requests().items():
                ...                                   # send; for each answer that arrives:
                session.receive(client, answer, vector)
            session.advance()

    Args:
      clients: ids of the cohort, at most ``parameters.clients``.
      roster: the identities of all clients.
      parameters: of a full cohort; recomputed when fewer advertise.
      run: the run's id.
      round: the round, counted from 0.
      model_digest: SHA-256 of the model that is trained from; needed from R2 on.
      configuration_digest: SHA-256 of the application's configuration; needed from R2 on.
      dimension: coordinates of a vector.
      modulus_bits: 16, 32 or 64.

    Attributes:
      step: the step that is open.
      total: the sum of the survivors' vectors, shape (dimension,); masked until the session is finished.
    """

    def __init__(
        self,
        *,
        clients: Sequence[str],
        roster: Roster,
        parameters: SessionParameters,
        run: str,
        round: int,
        dimension: int,
        modulus_bits: int,
        model_digest: bytes = b"",
        configuration_digest: bytes = b"",
    ) -> None:
        if len(set(clients)) != len(clients) or len(clients) > parameters.clients:
            raise ConfigError(
                f"cohort of {len(clients)} clients must be distinct and at most {parameters.clients}, for"
                " which the parameters were made"
            )
        self.step = Step.ADVERTISE
        self.total: RingVector = np.zeros(dimension, ring_dtype(modulus_bits))
        self._where = Round(roster=roster, run=run, number=round)
        self._agreed = parameters
        self._digests = (model_digest, configuration_digest)
        self._probe = AgreementKey.generate()
        self._invited = tuple(sorted(clients))
        self._asked = self._invited
        self._answers: dict[str, Reply] = {}
        self._excluded: dict[str, str] = {}
        self._complaints: dict[str, set[str]] = {}
        self._cohort: Cohort | None = None
        self._dealings: dict[str, Dealing] = {}
        self._packages: dict[str, dict[str, Package]] = {}
        self._members: tuple[str, ...] = ()
        self._headers: dict[str, MaskedInput] = {}
        self._view: View | None = None  # until model, configuration or members change
        self._survivors: tuple[str, ...] = ()
        self._survivors_digest = b""
        self._agreements: tuple[Agreement, ...] = ()
        self._recovery: Recovery | None = None

    @property
    def finished(self) -> bool:
        """Whether ``total`` is the sum."""
        return self.step is Step.FINISHED

    @property
    def survivors(self) -> tuple[str, ...]:
        """The clients in the sum, sorted; empty before R2 is closed."""
        return self._survivors

    @property
    def excluded(self) -> Mapping[str, str]:
        """The clients that fell out, each with the step and the reason."""
        return MappingProxyType(self._excluded)

    @property
    def complaints(self) -> Mapping[str, frozenset[str]]:
        """Dealers whose shares were wrong → the holders that say so. Start the next session without them."""
        return MappingProxyType({dealer: frozenset(held) for dealer, held in self._complaints.items()})

    @property
    def members(self) -> tuple[str, ...]:
        """U1: the clients whose shares arrived, sorted; empty before R1 is closed."""
        return self._members

    def bind(self, *, model_digest: bytes, configuration_digest: bytes) -> None:
        """Sets what R2 binds, for a session that began before the model was there.

        Raises:
          OutOfOrder: R2 has been answered.
        """
        answered = self.step is Step.INPUTS and self._answers
        if answered or self.step not in (Step.ADVERTISE, Step.SHARE, Step.INPUTS):
            raise OutOfOrder(f"step {self.step.value!r} is open; model and configuration are bound before R2")
        self._digests, self._view = (model_digest, configuration_digest), None

    def requests(self) -> dict[str, bytes]:
        """Returns the body for each client that is yet to answer the open step; empty when finished."""
        waiting = [client for client in self._asked if client not in self._answers]
        if self.step is Step.ADVERTISE:
            return dict.fromkeys(waiting, advertise_request(self._where))
        if self.step is Step.SHARE:
            return dict.fromkeys(waiting, share_request(self._session()))
        if self.step is Step.INPUTS:
            return {client: self._inputs_request(client) for client in waiting}
        if self.step is Step.AGREE:
            return {client: self._agree_request(client) for client in waiting}
        return dict.fromkeys(waiting, unmask_request(self._agreements))

    def receive(self, client: str, body: bytes, vector: RingVector | None = None) -> None:
        """Takes one client's answer to the open step; an answer that raises leaves no trace but its reason.

        Args:
          client: who sent it, by the transport's account; the signature decides.
          body: the answer.
          vector: the masked vector beside it, in R2 only; it is added to ``total`` at once.

        Raises:
          UnknownClient: the client was not asked.
          KeyMisuse: it advertises a key that is not fresh, or of low order.
          AlreadyAnswered: it answered this step before.
          MalformedMessage: the body does not decode, or the vector is missing, or one too many.
          OutOfOrder: the body belongs to another step.
          TamperedMessage: a signature or digest does not verify.
          UnencodableVector: the vector has another length or type.
          FaultyHolder: a share is not the one that was dealt.
          ProtocolError: another rule is broken; the subclass names it.
        """
        if client not in self._asked:
            raise UnknownClient(f"client {client!r} is not asked at step {self.step.value!r}")
        if client in self._answers:
            raise AlreadyAnswered(f"client {client!r} answered step {self.step.value!r} before")
        try:
            self._take(client, decode_reply(body), vector)
        except ProtocolError as error:
            self._excluded[client] = f"{self.step.value}: {type(error).__name__}: {error}"
            raise
        self._excluded.pop(client, None)

    def advance(self) -> Step:
        """Closes the open step — who has not answered is a dropout — and returns the next one.

        Raises:
          TooFewClients: the session cannot be completed; before R4 nothing was revealed.
          FaultyDealer: at the end, a client's true shares rebuild no secret: the sum stays masked.
        """
        closers = {
            Step.ADVERTISE: self._close_advertise,
            Step.SHARE: self._close_share,
            Step.INPUTS: self._close_inputs,
            Step.AGREE: self._close_agree,
            Step.UNMASK: self._close_unmask,
        }
        if self.step is Step.FINISHED:
            raise OutOfOrder("the session is finished; its sum is in total")
        answered = tuple(client for client in self._asked if client in self._answers)
        for client in self._asked:
            if client not in self._answers:
                self._excluded.setdefault(client, f"{self.step.value}: no answer")
        closers[self.step](answered)
        self._answers = {}
        self.step = list(Step)[list(Step).index(self.step) + 1]
        return self.step

    def exclude(self, client: str, reason: str) -> None:
        """Leaves a client out from the open step on, whatever it answered.

        Raises:
          OutOfOrder: R2 was reached: others may have masked for it.
        """
        if self.step not in (Step.ADVERTISE, Step.SHARE):
            raise OutOfOrder(f"step {self.step.value!r} is open; clients are left out before R2")
        if client in self._asked:
            self._asked = tuple(other for other in self._asked if other != client)
            self._answers.pop(client, None)
            self._excluded[client] = f"{self.step.value}: {reason}"

    def exclude_accused(self) -> None:
        """Takes dealers with wrong shares out of U1, and opens R2 anew for all others.

        For a transport that gathers complaints before anyone has sent a vector: ask again with
        :meth:`requests`. Otherwise the accusers are dropouts, and :meth:`advance` goes on without them.

        Raises:
          OutOfOrder: R2 is not open, or a vector was added already.
          TooFewClients: too few clients are left.
        """
        if self.step is not Step.INPUTS or self._answers:
            raise OutOfOrder("dealers are excluded in step 'inputs', before the first vector arrives")
        for dealer, holders in self._complaints.items():
            self._excluded[dealer] = f"inputs: accused of wrong shares by {', '.join(sorted(holders))}"
            for holder in holders:
                self._excluded.pop(holder, None)
        self._set_members(tuple(member for member in self._members if member not in self._complaints))
        self._complaints = {}

    def _take(self, client: str, reply: Reply, vector: RingVector | None) -> None:
        if vector is not None and not isinstance(reply, MaskedInput):
            raise MalformedMessage(f"a vector came beside {type(reply).__name__}; a masked input has one")
        if self.step is Step.ADVERTISE:
            self._take_advert(client, expect(reply, Advert))
        elif self.step is Step.SHARE:
            self._packages[client] = packages(self._session(), client, expect(reply, Dealing))
        elif self.step is Step.INPUTS:
            self._take_input(client, reply, vector)
        elif self.step is Step.AGREE:
            self._take_agreement(client, expect(reply, Agreement))
        else:
            self._take_revelation(client, expect(reply, Revelation))
        self._answers[client] = reply

    def _take_advert(self, client: str, advert: Advert) -> None:
        others = (expect(answer, Advert) for answer in self._answers.values())
        check_advert(client, advert, where=self._where, others=others, probe=self._probe)

    def _take_input(self, client: str, reply: Reply, vector: RingVector | None) -> None:
        cohort = self._session()
        if isinstance(reply, Complaint):
            fault = accusation(client, reply, cohort=cohort, members=self._members)
            self._complaints.setdefault(fault.dealer, set()).add(client)
            raise fault
        header = expect(reply, MaskedInput)
        masked = check_input(client, header, vector, cohort=cohort, view=self._bound(), like=self.total)
        add_in_ring(self.total, masked)

    def _take_agreement(self, client: str, agreement: Agreement) -> None:
        cohort, digest = self._session(), self._survivors_digest
        check_agreement(client, agreement, cohort=cohort, view=self._bound(), survivors_digest=digest)

    def _take_revelation(self, client: str, revelation: Revelation) -> None:
        cohort, digest = self._session(), self._survivors_digest
        check_revelation(client, revelation, cohort=cohort, view=self._bound(), survivors_digest=digest)
        self._recovering().add(client, revelation.shares)

    def _close_advertise(self, answered: tuple[str, ...]) -> None:
        adverts = [expect(self._answers[client], Advert) for client in answered]
        floor = self._agreed.min_survivors
        self._survival().check("min_survivors", answered=len(adverts), needed=floor)
        self._cohort = Cohort.of(adverts, where=self._where, agreed=self._agreed)
        self._asked = answered

    def _close_share(self, answered: tuple[str, ...]) -> None:
        for client in answered:
            self._dealings[client] = expect(self._answers[client], Dealing)
        self._set_members(answered)

    def _set_members(self, members: tuple[str, ...]) -> None:
        survival = self._survival()
        survival.check_floor(self._session(), members)
        survival.check_dealers(self._session(), members)
        self._members = self._asked = members
        self._view = None

    def _close_inputs(self, answered: tuple[str, ...]) -> None:
        self._survival().check_floor(self._session(), answered)
        self._check_holders(answered, survivors=answered)
        self._headers = {client: expect(self._answers[client], MaskedInput) for client in answered}
        self._packages = {}  # they have reached their holders; the next session's are on their way
        self._survivors = self._asked = answered
        self._survivors_digest = members_digest(self._session().session, name="U2", members=answered)

    def _close_agree(self, answered: tuple[str, ...]) -> None:
        quorum = self._session().parameters.quorum
        self._survival().check("quorum", answered=len(answered), needed=quorum)
        self._check_holders(answered, survivors=self._survivors)
        self._agreements = tuple(expect(self._answers[client], Agreement) for client in answered)
        self._recovery = Recovery(
            cohort=self._session(),
            view=self._bound(),
            members=self._members,
            survivors=self._survivors,
            dealings=self._dealings,
        )
        self._asked = answered

    def _close_unmask(self, answered: tuple[str, ...]) -> None:
        recovery = self._recovering()
        owner, shares = recovery.fewest()
        threshold = self._session().parameters.threshold
        self._survival().check(f"threshold (shares of {owner!r})", answered=shares, needed=threshold)
        recovery.unmask(self.total)
        self._asked = ()

    def _check_holders(self, answering: Sequence[str], *, survivors: Sequence[str]) -> None:
        self._survival().check_holders(
            self._session(), members=self._members, answering=answering, survivors=survivors
        )

    def _survival(self) -> Survival:
        missing = tuple(client for client in self._invited if client in self._excluded)
        return Survival(step=self.step, missing=missing)

    def _inputs_request(self, client: str) -> bytes:
        return inputs_request(
            client,
            cohort=self._session(),
            members=self._members,
            packages=self._packages,
            model_digest=self._digests[0],
            configuration=self._configuration(),
        )

    def _agree_request(self, client: str) -> bytes:
        return agree_request(client, cohort=self._session(), survivors=self._survivors, headers=self._headers)

    def _bound(self) -> View:
        """Returns what masked inputs must have in common, worked out once for all of them."""
        if self._view is None:
            session = self._session().session
            self._view = View(
                session=session,
                members_digest=members_digest(session, name="U1", members=self._members),
                model_digest=self._digests[0],
                configuration_digest=hash_configuration(self._configuration()),
            )
        return self._view

    def _configuration(self) -> Configuration:
        return configuration_of(
            self._session().parameters,
            modulus_bits=8 * self.total.itemsize,
            dimension=self.total.size,
            agreed=self._digests[1],
        )

    def _session(self) -> Cohort:
        if self._cohort is None:
            raise OutOfOrder("the session is made when step 'advertise' is closed")
        return self._cohort

    def _recovering(self) -> Recovery:
        if self._recovery is None:
            raise OutOfOrder("shares are taken after step 'agree' is closed")
        return self._recovery
