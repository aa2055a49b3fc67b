"""Every error that fedlearn raises on purpose, in one tree.

::

    FedLearnError
    ├── ConfigError                 the experiment cannot mean what it says
    │   ├── UnknownName             no part is registered under that name
    │   ├── MissingExtra            an optional library is not installed; names the extra
    │   ├── UnsafeFile              a key that others can read, a link where records should be
    │   ├── NonLinearAggregator     clients' updates would be compared where only a sum may be seen
    │   ├── SecureAggregationNeeded noise that clients share protects nobody in the clear
    │   └── RingTooSmall            the noisy sum leaves too few steps of the ring for the signal
    ├── DataError                   records are missing, malformed or too few
    ├── ModelError                  the model cannot be trained as asked
    ├── PrivacyError                a guarantee cannot be given
    │   ├── BudgetExhausted         the release would exceed the agreed ε
    │   ├── UndeclaredDataSet       the policy has no budget for these records
    │   ├── LedgerUnavailable       locked, full, not readable: nothing is trained until it is mended
    │   ├── TamperedLedger          rows changed, or an old copy put back: nothing is trained
    │   ├── TamperedStatement       a statement, receipt or figure of a run that does not verify
    │   ├── TargetUnreachable       no noise meets the target; says what could be met
    │   ├── DeltaTooLarge           δ allows a record or a client to be published
    │   ├── UnboundedWeights        a client's weight in the sum has no public bound
    │   └── SamplerMismatch         cohorts are not drawn as the accountant would have to assume
    ├── ProtocolError               a message or a round breaks the protocol
    │   ├── TamperedMessage         does not verify, or is not what its sender signed
    │   ├── MalformedMessage        does not decode under the schema and size limits
    │   ├── OutOfOrder              belongs to another step
    │   ├── AlreadyAnswered         asked twice for what is given once
    │   ├── RosterMismatch          another, an older or a forged roster
    │   ├── UnknownClient           not on the roster, or not of the session
    │   ├── KeyMisuse               a public key that is repeated, reflected or of low order
    │   ├── ModelMismatch           clients were sent different models
    │   ├── ConfigurationMismatch   the server asks for other parameters than agreed
    │   ├── InconsistentMembers     a set of clients that cannot be the session's
    │   ├── WithheldShares          ciphertexts of neighbours are missing
    │   ├── FaultyDealer            a client dealt a wrong share; names it
    │   ├── FaultyHolder            a client revealed a wrong share; names it
    │   ├── UnencodableVector       a value does not fit the ring
    │   ├── ClockSkew               a message from another hour: one of two clocks is wrong
    │   └── TooFewClients           below quorum, threshold or floor
    └── RunError                    a run could not be carried out or written
        ├── PolicyRefusal           a site's policy does not allow the run; names the rule
        ├── SitesMissing            fewer sites than needed were there in time; names the missing
        ├── PreflightFailure        a check before the start failed; says how to mend it
        ├── RunInterrupted          stopped on request; the checkpoint is kept
        ├── OutOfMemory             a client's training did not fit; names it and what to lower
        ├── WorkerLost              a process of a simulation ended; names the client that it served
        └── RunDirectoryError       not writable, full, incomplete or foreign

Names are nouns. A message has the value, the bound and the way out, in one line.
``exit_code`` is what the command line ends with.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar


class FedLearnError(Exception):
    """Base of every error raised on purpose."""

    exit_code: ClassVar[int] = 1


class ConfigError(FedLearnError):
    """The experiment has an unknown key, a value out of range, or parts that do not go together."""

    exit_code = 2


class UnknownName(ConfigError):
    """No part is registered under the name, and it is no import path either."""


class MissingExtra(ConfigError):
    """An optional library is not installed; names the extra that brings it."""


class UnsafeFile(ConfigError):
    """A private file is readable by others, or a path leads out of where it should lie."""


class NonLinearAggregator(ConfigError):
    """An aggregator that compares updates, where only their sum may be seen or is bounded."""


class SecureAggregationNeeded(ConfigError):
    """Noise that clients share, without the secure aggregation that alone makes it protect them."""


class RingTooSmall(ConfigError):
    """The ring of secure aggregation leaves too few steps for the signal beside the noise."""


class DataError(FedLearnError):
    """Records are missing, malformed or too few to train on."""

    exit_code = 3


class ModelError(FedLearnError):
    """The model cannot be trained as asked."""

    exit_code = 4


class PrivacyError(FedLearnError):
    """A guarantee cannot be given as asked; nothing was trained or charged."""

    exit_code = 5


class BudgetExhausted(PrivacyError):
    """The release would spend more than the agreed ε."""


class UndeclaredDataSet(PrivacyError):
    """The records have no budget in the policy that decides about them."""


class LedgerUnavailable(PrivacyError):
    """The ledger is locked, full, missing or not readable; nothing is released until it can be written."""


class TamperedLedger(PrivacyError):
    """Rows of a ledger were changed, removed or reordered, or an old or foreign copy was put in its place."""


class TamperedStatement(PrivacyError):
    """Something that a run states about its privacy is not what was signed, or does not follow from it."""


class DeltaTooLarge(PrivacyError):
    """δ is not below one over the number of records, or of clients: it allows one to be published."""


class UnboundedWeights(PrivacyError):
    """A client's weight follows from its private number of records, so that nothing bounds its influence."""


class SamplerMismatch(PrivacyError):
    """Amplification by sampling is asked for, and cohorts are not drawn so that it is earned."""


class TargetUnreachable(PrivacyError):
    """No noise multiplier within bounds meets the target ε; the message says what could be met."""


class ProtocolError(FedLearnError):
    """A message or a round breaks the protocol; nothing beyond the one sum was revealed."""

    exit_code = 6


class MalformedMessage(ProtocolError):
    """Bytes do not decode under the schema, the version or the size limits."""


class TamperedMessage(ProtocolError):
    """A signature, an authentication tag or a digest does not verify."""


class OutOfOrder(ProtocolError):
    """A message belongs to another step than the one that is open."""


class AlreadyAnswered(ProtocolError):
    """A step that is answered once, and latched before the answer leaves, was asked for again."""


class RosterMismatch(ProtocolError):
    """The roster is older than the pinned one, is another one, or is not signed by the consortium."""


class UnknownClient(ProtocolError):
    """A client is not on the pinned roster, or is not one of those whose adverts make the session."""


class KeyMisuse(ProtocolError):
    """A public key is repeated, reflected, of low order, or not the one that was advertised."""


class ModelMismatch(ProtocolError):
    """A model digest differs from the receiver's own: clients were sent different models."""


class ConfigurationMismatch(ProtocolError):
    """The session's configuration is not the one that the receiver computed for itself."""


class InconsistentMembers(ProtocolError):
    """A set of clients is unordered, leaves the receiver out, or is no subset of the one before."""


class WithheldShares(ProtocolError):
    """The ciphertexts are not exactly those of the receiver's neighbours, or are fewer than it needs."""


class UnencodableVector(ProtocolError):
    """A value is not finite or outside the agreed range, or a vector has another shape or dtype."""


class ClockSkew(ProtocolError):
    """A signed message was sent too long ago or in the future, by the receiver's clock."""


class FaultyDealer(ProtocolError):
    """A client dealt a share that is not what it signed.

    Attributes:
      dealer: the id of the client at fault.
      complaint: the signed message to send to the server instead of an answer; empty on the server.
    """

    def __init__(self, dealer: str, reason: str, complaint: bytes = b"") -> None:
        super().__init__(f"dealer {dealer!r}: {reason}; start the next session without it")
        self.dealer = dealer
        self.reason = reason
        self.complaint = complaint

    def __reduce__(self) -> tuple[type[FaultyDealer], tuple[str, str, bytes]]:
        return type(self), (self.dealer, self.reason, self.complaint)


class FaultyHolder(ProtocolError):
    """A client revealed a share that is not the one dealt to it.

    Attributes:
      holder: the id of the client at fault.
    """

    def __init__(self, holder: str, reason: str) -> None:
        super().__init__(f"holder {holder!r}: {reason}; its shares are not used")
        self.holder = holder
        self.reason = reason

    def __reduce__(self) -> tuple[type[FaultyHolder], tuple[str, str]]:
        return type(self), (self.holder, self.reason)


class TooFewClients(ProtocolError):
    """Fewer clients answered than quorum, threshold or floor ask for; the round is void.

    Attributes:
      step: the step that could not be closed.
      answered: how many clients answered.
      needed: how many are needed.
      missing: the ids of the clients that did not answer.
    """

    def __init__(
        self,
        message: str,
        *,
        step: str = "",
        answered: int = 0,
        needed: int = 0,
        missing: Iterable[str] = (),
    ) -> None:
        super().__init__(message)
        self.step = step
        self.answered = answered
        self.needed = needed
        self.missing = tuple(missing)


class RunError(FedLearnError):
    """A run could not be carried out or written."""

    exit_code = 7


class PolicyRefusal(RunError):
    """A site refuses to take part; the message has the rule, the value asked and the value allowed."""

    exit_code = 8


class SitesMissing(RunError):
    """Fewer sites than a run needs were connected before the deadline."""

    exit_code = 9


class PreflightFailure(RunError):
    """A check before the start failed; nothing was started."""

    exit_code = 10


class RunInterrupted(RunError):
    """The run was stopped on request; its checkpoint is kept."""

    exit_code = 130


class WorkerLost(RunError):
    """A worker process of a simulation ended before its time; the checkpoint is kept."""


class OutOfMemory(RunError):
    """A client's training did not fit into the memory of its device; names the client and what to lower."""


class RunDirectoryError(RunError):
    """The run directory is not writable, full, incomplete or belongs to another experiment."""
