"""A client's part in secure aggregation: its sessions, round by round.

A member holds keys, latches and the secrets of its open sessions; what it trains, and whether it may,
is :mod:`fedlearn.rounds.client`'s business.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from fedlearn._types import RingVector, Vector
from fedlearn.crypto.identity import SigningKey
from fedlearn.crypto.shared_answers import digest_of
from fedlearn.errors import FaultyDealer, OutOfOrder
from fedlearn.rounds.protection import SecureSum
from fedlearn.secagg.client import ClientSession
from fedlearn.secagg.latches import Latches
from fedlearn.secagg.step import Step, step_of
from fedlearn.stopwatch import timed


@dataclass(frozen=True, kw_only=True)
class Membership:
    """What makes a client a member of secure aggregation.

    Attributes:
      key: its signing key, the private half of its entry in the roster.
      latches: its memory of what it has signed and answered, once per session.
      repeat_model: whether it gives a second masked input for a model that it gave one for, as after
        a failed round. Two sums that differ by one client are that client: only under DP, where every
        release is charged, or by the client's own policy.
    """

    key: SigningKey = field(repr=False)
    latches: Latches = field(repr=False)
    repeat_model: bool = False


class Member:
    """One client's sessions in one run: that of the round, and that of the next one while it is prepared.

    A request to advertise opens a session with fresh keys, and erases every other but that of the
    round before: an advert that was not used expires with the next, and secrets of two rounds at
    most are in memory. What is given once is given once whatever is opened anew: latches see to it.

    Args:
      client: its id.
      run: the run's id.
      secure: what the members agreed on.
      membership: key and latches.
    """

    def __init__(self, *, client: str, run: str, secure: SecureSum, membership: Membership) -> None:
        self._client = client
        self._run = run
        self._secure = secure
        self._membership = membership
        self._sessions: dict[int, ClientSession] = {}

    @timed("masking")
    def answer(self, round: int, payload: bytes) -> bytes:
        """Returns the answer to a request of any step but the masked input.

        Raises:
          ProtocolError: the request breaks the protocol; the subclass says how.
        """
        if step_of(payload) is Step.ADVERTISE:
            return self._open(round, payload)
        return self._session_of(round).receive(payload)

    @timed("masking")
    def accept(self, round: int, payload: bytes, params: Vector) -> bytes | None:
        """Checks the request for the masked input; training and :meth:`mask` follow.

        Returns:
          None, or the complaint to send instead of an input: a dealer's shares are wrong.

        Raises:
          ProtocolError: the request breaks the protocol; the subclass says how.
        """
        try:
            self._session_of(round).accept_inputs_request(
                payload,
                model_digest=model_digest(params),
                configuration_digest=self._secure.configuration_digest,
            )
        except FaultyDealer as fault:
            return fault.complaint
        return None

    @timed("masking")
    def mask(self, round: int, vector: RingVector) -> bytes:
        """Masks an encoded update in place; returns the signed header that travels beside it."""
        return self._session_of(round).mask(vector)

    def _session_of(self, round: int) -> ClientSession:
        if round not in self._sessions:
            raise OutOfOrder(
                f"round {round} has no session here: it never began, has expired, or was lost in a restart"
            )
        return self._sessions[round]

    def _open(self, round: int, payload: bytes) -> bytes:
        """Opens the round's session, anew if there is one; a request that is refused leaves all as it was."""
        newest = max(self._sessions, default=round)
        if round < newest - 1:
            raise OutOfOrder(f"request of round {round}; round {newest} has begun")
        session = self._fresh(round)
        advert = session.receive(payload)
        for other in [number for number in self._sessions if number != round - 1]:
            self._sessions.pop(other).expire()
        self._sessions[round] = session
        return advert

    def _fresh(self, round: int) -> ClientSession:
        return ClientSession(
            client=self._client,
            key=self._membership.key,
            roster=self._secure.roster,
            parameters=self._secure.parameters,
            run=self._run,
            round=round,
            latches=self._membership.latches,
            repeat_model=self._membership.repeat_model,
        )


def model_digest(params: Vector) -> bytes:
    """Returns SHA-256 of the vector's little-endian bytes: what clients bind their masks to."""
    return digest_of(np.ascontiguousarray(params, "<f4"))
