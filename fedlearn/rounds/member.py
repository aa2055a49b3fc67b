"""A client's part in secure aggregation: its sessions, round by round.

A member holds keys, latches and the secrets of its open sessions; what it trains, and whether it may,
is :mod:`fedlearn.rounds.client`'s business.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from fedlearn._types import RingVector, Vector
from fedlearn.crypto.identity import SigningKey
from fedlearn.errors import FaultyDealer, ProtocolError
from fedlearn.rounds.protection import SecureSum
from fedlearn.secagg.client import ClientSession
from fedlearn.secagg.latches import Latches


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
    """One client's sessions in one run.

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
        self._session: tuple[int, ClientSession] | None = None

    def answer(self, round: int, payload: bytes) -> bytes:
        """Returns the answer to a request of any step but the masked input.

        Raises:
          ProtocolError: the request breaks the protocol; the subclass says how.
        """
        return self._session_of(round).receive(payload)

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

    def mask(self, round: int, vector: RingVector) -> bytes:
        """Masks an encoded update in place; returns the signed header that travels beside it."""
        return self._session_of(round).mask(vector)

    def _session_of(self, round: int) -> ClientSession:
        """Returns the session of the round; an older session's secrets are dropped with it."""
        if self._session is None or self._session[0] != round:
            if self._session is not None and round < self._session[0]:
                raise ProtocolError(f"request of round {round}; round {self._session[0]} has begun")
            self._session = (round, self._open(round))
        return self._session[1]

    def _open(self, round: int) -> ClientSession:
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
    return hashlib.sha256(params.astype("<f4", copy=False).tobytes()).digest()
