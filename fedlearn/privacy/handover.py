"""A ledger goes on under its owner's next key: keys change, what was spent does not."""

from __future__ import annotations

from pathlib import Path

from fedlearn.crypto.identity import SigningKey
from fedlearn.privacy.chain import Head, change_of_key, check_chain, check_signatures, check_signer, follow
from fedlearn.privacy.store import Store


def hand_over(path: Path, *, before: SigningKey, to: SigningKey) -> None:
    """Writes into a ledger that its owner's key changes; harmless when repeated. Nobody may have it open.

    Args:
      path: the SQLite file.
      before: the key that signed the newest row.
      to: the key that signs from now on.

    Raises:
      TamperedLedger: the ledger is not whole, or ``before`` does not sign its next row.
      LedgerUnavailable: it cannot be read or written.
    """
    store = Store(path)
    try:
        with store.transaction():
            rows = list(store.rows())
            check_chain(rows)
            if check_signatures(rows, before.public) == to.public:
                return
            check_signer(rows, before.public)
            row = change_of_key(after=rows[-1].digest, before=before, to=to)
            store.append(follow(Head(length=len(rows), digest=rows[-1].digest), row), row)
    finally:
        store.close()
