"""Every error that fedlearn raises on purpose, in one tree.

::

    FedLearnError
    ├── ConfigError                 the experiment cannot mean what it says
    │   └── UnknownName             no part is registered under that name
    ├── DataError                   records are missing, malformed or too few
    ├── ModelError                  the model cannot be trained as asked
    ├── PrivacyError                a guarantee cannot be given
    │   ├── BudgetExhausted         the release would exceed the agreed ε
    │   └── TargetUnreachable       no noise meets the target; says what could be met
    ├── ProtocolError               a message or a round breaks the protocol
    │   ├── TamperedMessage         does not verify, or is not what its sender signed
    │   ├── MalformedMessage        does not decode under the schema and size limits
    │   └── TooFewClients           below quorum, threshold or floor
    └── RunError                    a run could not be carried out or written
        ├── RunInterrupted          stopped on request; the checkpoint is kept
        └── RunDirectoryError       not writable, full, incomplete or foreign

Names are nouns. A message has the value, the bound and the way out, in one line.
``exit_code`` is what the command line ends with.
"""

from __future__ import annotations

from typing import ClassVar


class FedLearnError(Exception):
    """Base of every error raised on purpose."""

    exit_code: ClassVar[int] = 1


class ConfigError(FedLearnError):
    """The experiment has an unknown key, a value out of range, or parts that do not go together."""

    exit_code = 2


class UnknownName(ConfigError):
    """No part is registered under the name, and it is no import path either."""


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


class TargetUnreachable(PrivacyError):
    """No noise multiplier within bounds meets the target ε; the message says what could be met."""


class ProtocolError(FedLearnError):
    """A message or a round breaks the protocol; nothing beyond the one sum was revealed."""

    exit_code = 6


class MalformedMessage(ProtocolError):
    """Bytes do not decode under the schema, the version or the size limits."""


class TamperedMessage(ProtocolError):
    """A signature, an authentication tag or a digest does not verify."""


class TooFewClients(ProtocolError):
    """Fewer clients answered than quorum, threshold or floor ask for; the round is void."""


class RunError(FedLearnError):
    """A run could not be carried out or written."""

    exit_code = 7


class RunInterrupted(RunError):
    """The run was stopped on request; its checkpoint is kept."""

    exit_code = 130


class RunDirectoryError(RunError):
    """The run directory is not writable, full, incomplete or belongs to another experiment."""
