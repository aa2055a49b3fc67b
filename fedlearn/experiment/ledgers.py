"""A folder of ledgers, one per client of a simulation, that outlives its runs.

``policy.toml`` (see :mod:`fedlearn.privacy.policy`) · ``CLIENT.key`` · ``CLIENT.sqlite``
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import msgspec

from fedlearn.crypto.identity import SigningKey
from fedlearn.errors import FedLearnError, LedgerUnavailable, TamperedLedger, TamperedStatement
from fedlearn.experiment.enrolment import Enrolment
from fedlearn.privacy.chain import Head
from fedlearn.privacy.ledger import Ledger
from fedlearn.privacy.policy import read_policy
from fedlearn.privacy.receipt import SignedReceipt, open_receipt
from fedlearn.privacy.store import read_witnessed
from fedlearn.secagg.roster import Roster


@dataclass(frozen=True)
class LedgerFolder:
    """Where the clients of a simulation keep what their records have spent.

    Attributes:
      path: the folder; it must hold a policy.
    """

    path: Path

    def enrolment(self, clients: Iterable[str]) -> Enrolment:
        """Returns the clients' keys, made on first use: a ledger is signed with one key for life.

        Raises:
          ConfigError: there is no policy.
          LedgerUnavailable: a key cannot be read or written.
        """
        read_policy(self.path / "policy.toml")
        keys = {name: self._key(name) for name in sorted(clients)}
        roster = Roster(version=1, members={name: key.public for name, key in keys.items()})
        return Enrolment(keys=keys, roster=roster)

    def open(self, client: str, key: SigningKey) -> Ledger:
        """Returns a client's ledger, checked against what the other clients have witnessed of it.

        Raises:
          TamperedLedger: rows were changed, or the file is older than a head that another client keeps.
          LedgerUnavailable: it cannot be read or written.
          ConfigError: there is no policy.
        """
        return Ledger(
            self._file(client, "sqlite"),
            owner=client,
            sign=key.sign,
            public=key.public,
            budgets=read_policy(self.path / "policy.toml"),
            known=self._witnessed_head(client, key.public),
        )

    @contextmanager
    def opened(self, keys: Mapping[str, SigningKey]) -> Iterator[dict[str, Ledger]]:
        """Opens the ledger of each client for the time of the context."""
        with ExitStack() as stack:
            yield {name: stack.enter_context(self.open(name, key)) for name, key in keys.items()}

    def _witnessed_head(self, client: str, public: bytes) -> Head | None:
        """Returns the newest head of a client's ledger that another client's ledger keeps."""
        own = self._file(client, "sqlite")
        others = (path for path in self.path.glob("*.sqlite") if path != own)
        kept = (receipt for path in others if (receipt := read_witnessed(path).get(client)) is not None)
        heads = (_head_in(receipt, public) for receipt in kept)
        return max((head for head in heads if head is not None), key=lambda head: head.length, default=None)

    def _key(self, client: str) -> SigningKey:
        path = self._file(client, "key")
        try:
            if not path.exists():
                with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
                    file.write(SigningKey.generate().to_bytes())
            return SigningKey.from_bytes(path.read_bytes())
        except (OSError, FedLearnError) as error:
            raise LedgerUnavailable(f"key {path} cannot be used ({error}); restore it") from None

    def _file(self, client: str, kind: str) -> Path:
        return self.path / f"{quote(client, safe='')}.{kind}"


def burn_cut_off(ledgers: Mapping[str, Ledger], run: str) -> None:
    """Burns what an interrupted run left reserved, before it is taken up again."""
    for ledger in ledgers.values():
        ledger.burn_cut_off(run)


def _head_in(kept: bytes, public: bytes) -> Head | None:
    try:
        receipt = open_receipt(msgspec.msgpack.decode(kept, type=SignedReceipt), public=public)
    except (msgspec.MsgspecError, TamperedStatement) as error:
        raise TamperedLedger(
            f"a receipt that another client keeps cannot be read with this client's key ({error}): was the"
            " key replaced? Restore it"
        ) from None
    return None if receipt.lifetime is None else receipt.lifetime.head
