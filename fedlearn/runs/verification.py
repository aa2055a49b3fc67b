"""A finished run checked offline: signatures, arithmetic, and what follows from what.

Nothing of the run is trusted but the roster of public keys, which whoever verifies may bring along.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from fedlearn.crypto.identity import verify
from fedlearn.errors import (
    FedLearnError,
    PrivacyError,
    RunDirectoryError,
    TamperedMessage,
    TamperedStatement,
)
from fedlearn.privacy.accounting import epsilon, epsilon_rdp
from fedlearn.privacy.chain import check_chain, check_signatures
from fedlearn.privacy.events import event_from_dict
from fedlearn.privacy.guarantee import PrivacyGuarantee
from fedlearn.privacy.receipt import Receipt, SignedReceipt, open_receipt, witness_frame
from fedlearn.privacy.release import latest, read, spent
from fedlearn.runs.result import Result
from fedlearn.runs.statement import (
    FALSE_POSITIVE_RATES,
    ClientStatement,
    Statement,
    finite,
    lifetime_of,
    roster_digest,
)

_TOLERANCE = 1e-9
P = TypeVar("P", bound=BaseModel)


@dataclass(frozen=True, kw_only=True)
class Verified:
    """What was checked and found true.

    Attributes:
      run: the run's id.
      roster: SHA-256 of the clients' public keys, hex; compare it with the one you know.
      checks: one line for each thing that was checked.
    """

    run: str
    roster: str
    checks: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Evidence:
    statement: Statement
    result: Result
    roster: Mapping[str, bytes]
    signed: Mapping[str, SignedReceipt]
    witnesses: Mapping[str, Any]


def verify_run(
    path: Path, *, roster: Mapping[str, bytes] | None = None, ledgers: Mapping[str, Path] | None = None
) -> Verified:
    """Returns what was checked in a run directory.

    Args:
      path: the run directory.
      roster: client → public key as the verifier knows it; None takes the run's own word for it.
      ledgers: client → its ledger, to check that the run's releases are in it.

    Raises:
      RunDirectoryError: no finished run, or a file is missing.
      TamperedStatement: something was changed; names the file or the client.
      PrivacyError: an audit in the statement contradicts it.
      TamperedLedger: a ledger's chain or signatures are broken, or it is older than the run.
    """
    evidence = _read(path)
    _check_roster(evidence, roster)
    receipts = _check_receipts(evidence)
    for client in evidence.statement.clients:
        _check_client(client, receipts.get(client.client))
    _check_overall(evidence.statement)
    _check_result(evidence)
    _check_witnesses(evidence)
    _check_audit(evidence.statement)
    checked = [_check_ledger(name, file, evidence, receipts) for name, file in (ledgers or {}).items()]
    return Verified(
        run=evidence.statement.run,
        roster=evidence.statement.trust.roster,
        checks=tuple([*_checks(evidence, known=roster is not None), *checked]),
    )


def read_statement(path: Path) -> Statement:
    """Returns the statement in a run directory; raises as :func:`verify_run`."""
    return _parsed(path / "privacy_statement.json", Statement)


def _read(path: Path) -> _Evidence:
    kept = _json(path / "receipts.json")
    statement = read_statement(path)
    try:
        if (kept["schema"], kept["run"]) != (1, statement.run):
            raise ValueError(f"not of schema 1 and run {statement.run}")
        return _Evidence(
            statement=statement,
            result=Result.load(path),
            roster={name: bytes.fromhex(key) for name, key in kept["roster"].items()},
            signed={
                name: SignedReceipt(
                    body=receipt["body"].encode(), signature=bytes.fromhex(receipt["signature"])
                )
                for name, receipt in kept["receipts"].items()
            },
            witnesses=kept["witnesses"],
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise TamperedStatement(f"receipts.json cannot be read: {type(error).__name__}: {error}") from None


def _check_roster(evidence: _Evidence, known: Mapping[str, bytes] | None) -> None:
    found = roster_digest({name: key.hex() for name, key in evidence.roster.items()})
    if found != evidence.statement.trust.roster:
        raise TamperedStatement("receipts.json: the roster is not the one that the statement names")
    for name, key in (known or {}).items():
        if evidence.roster.get(name) != key:
            raise TamperedStatement(f"receipts.json: the key of client {name!r} is not the one you know")


def _check_receipts(evidence: _Evidence) -> dict[str, Receipt]:
    receipts = {}
    for name, signed in evidence.signed.items():
        if name not in evidence.roster:
            raise TamperedStatement(f"receipts.json: client {name!r} is not on the roster")
        try:
            receipt = open_receipt(signed, public=evidence.roster[name])
        except TamperedStatement as error:
            raise TamperedStatement(f"receipt of client {name!r}: {error}") from None
        if (receipt.client, receipt.run) != (name, evidence.statement.run):
            raise TamperedStatement(
                f"receipt of client {name!r} is that of {receipt.client!r} for run {receipt.run!r}"
            )
        receipts[name] = receipt
    return receipts


def _check_witnesses(evidence: _Evidence) -> None:
    """Checks the signatures over the statement: one suffices to show a change, none shows nothing."""
    run, statement = evidence.statement.run, evidence.statement.countersigned()
    for name, witness in evidence.witnesses.items():
        try:
            handed = [evidence.signed[other] for other in witness["of"]]
            message = witness_frame(run, name, statement if witness["statement"] else b"", handed)
            verify(evidence.roster[name], bytes.fromhex(witness["signature"]), message)
        except (KeyError, TypeError, ValueError, TamperedMessage):
            raise TamperedStatement(
                f"client {name!r} has signed another statement than this one, or keeps other receipts"
            ) from None
    if evidence.signed and not any(witness["statement"] for witness in evidence.witnesses.values()):
        raise TamperedStatement("receipts.json: no client has signed the statement as a whole")


def _check_audit(statement: Statement) -> None:
    """Checks that an audit is about this run's accounting, and does not refute it."""
    audit = statement.audit
    if audit is None:
        return
    try:
        computed = epsilon([event_from_dict(audit["event"])], delta=audit["delta"])
        bounds = [audit["lower_bound"], audit["lower_bound_without_assumption"]]
        stated, faults = audit["accounted"], audit["faults"]
        refuted = bool(faults) or max(bounds) > computed
    except (KeyError, TypeError, FedLearnError) as error:
        raise TamperedStatement(f"audit cannot be read: {type(error).__name__}: {error}") from None
    _require_equal("audit: accounted ε", stated, finite(computed))
    if refuted:
        raise PrivacyError(
            f"the audit of client {audit.get('client')!r} contradicts the accounted ε: {faults}"
        )


def _check_client(client: ClientStatement, receipt: Receipt | None) -> None:
    where = f"statement of client {client.client!r}"
    try:
        events = [event_from_dict(event) for event in client.events]
        computed = epsilon(events, delta=client.delta)
        cross = epsilon_rdp(events, delta=client.delta)
    except FedLearnError as error:
        raise TamperedStatement(f"{where}: {error}") from None
    _require_equal(f"{where}: ε", client.epsilon, finite(computed))
    _require_equal(f"{where}: ε by Rényi DP", client.epsilon_rdp, finite(cross))
    if client.signed != (receipt is not None):
        raise TamperedStatement(f"{where}: signed is {client.signed}, and its receipt is not so")
    if receipt is None:
        return
    stated = (events, client.unit, client.delta, client.dataset, client.randomness, client.lifetime)
    signed = (
        list(receipt.account.events),
        receipt.unit,
        receipt.delta,
        receipt.dataset,
        receipt.noise,
        lifetime_of(receipt),
    )
    names = ("events", "unit", "delta", "dataset", "randomness", "lifetime")
    for name, one, other in zip(names, stated, signed, strict=True):
        if one != other:
            raise TamperedStatement(f"{where}: {name} is not what the client signed")
    _require_equal(f"{where}: clip_norm", client.clip_norm, finite(receipt.clip_norm))


def _check_overall(statement: Statement) -> None:
    overall = statement.overall
    if (overall is None) != (not statement.clients):
        raise TamperedStatement("statement: overall is missing, or has no client behind it")
    if overall is None:
        return
    if statement.clients[0].unit != statement.unit:
        raise TamperedStatement("statement: unit is not that of its clients")
    worst = max(statement.clients, key=lambda client: math.inf if client.epsilon is None else client.epsilon)
    _require_equal("statement: overall ε", overall.epsilon, worst.epsilon)
    _require_equal("statement: overall δ", overall.delta, worst.delta)
    guarantee = PrivacyGuarantee(
        epsilon=math.inf if worst.epsilon is None else worst.epsilon,
        delta=worst.delta,
        unit=worst.unit,
        noise="local",
        adversary="",
        accountant="",
        scope="",
    )
    for rate in FALSE_POSITIVE_RATES:
        bound = round(guarantee.attacker_tpr(rate), 6)
        _require_equal(
            f"statement: attacker's bound at {rate}", overall.attacker_tpr_at_fpr.get(str(rate)), bound
        )


def _check_result(evidence: _Evidence) -> None:
    stated = {client.client: client.epsilon for client in evidence.statement.clients}
    if evidence.statement.overall is not None:
        stated["overall"] = evidence.statement.overall.epsilon
    printed = {entry.client: finite(entry.epsilon) for entry in evidence.result.privacy}
    if printed.keys() != stated.keys():
        raise TamperedStatement("result.json: its privacy is not about the clients of the statement")
    for name, value in printed.items():
        _require_equal(f"result.json: ε of {name!r}", value, stated[name])


def _check_ledger(name: str, path: Path, evidence: _Evidence, receipts: Mapping[str, Receipt]) -> str:
    """Checks that what a client signed is what its ledger holds."""
    if name not in receipts:
        raise TamperedStatement(f"client {name!r} has a ledger and no receipt")
    receipt, rows = receipts[name], read(path)
    check_chain(rows, known=None if receipt.lifetime is None else receipt.lifetime.head)
    check_signatures(rows, evidence.roster[name])
    releases = latest(rows).values()
    account = spent(releases, receipt.dataset, unit=receipt.unit, run=receipt.run)
    if account.steps < receipt.account.steps:
        raise TamperedStatement(
            f"ledger of client {name!r} counts {account.steps} steps in run {receipt.run!r}; it signed"
            f" {receipt.account.steps}"
        )
    return f"ledger of {name}: {len(rows)} rows, whole and signed, with this run's releases"


def _checks(evidence: _Evidence, *, known: bool) -> list[str]:
    statement = evidence.statement
    signed = sum(client.signed for client in statement.clients)
    whole = sum(bool(witness["statement"]) for witness in evidence.witnesses.values())
    keeping = sum(bool(witness["of"]) for witness in evidence.witnesses.values())
    keys = "the keys that you know" if known else "the run's own roster: compare its digest"
    return [
        f"{signed} of {len(statement.clients)} clients have signed; verified by {keys}",
        f"{whole} clients have signed the statement as a whole; {keeping} keep others' receipts",
        f"{len(statement.clients)} ε recomputed from signed events, and the overall one",
    ]


def _require_equal(what: str, stated: float | None, computed: float | None) -> None:
    same = stated == computed or (
        stated is not None and computed is not None and math.isclose(stated, computed, rel_tol=_TOLERANCE)
    )
    if not same:
        raise TamperedStatement(f"{what} is {_shown(computed)}; {_shown(stated)} is stated")


def _shown(value: float | None) -> str:
    return "infinite or absent" if value is None else f"{value:.9g}"


def _parsed(path: Path, model: type[P]) -> P:
    try:
        return model.model_validate_json(json.dumps(_json(path)))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise TamperedStatement(f"{path.name}: {place}: {first['msg']}") from None


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RunDirectoryError(f"{path} is missing: {error.strerror}; is the run finished?") from None
    except ValueError as error:
        raise TamperedStatement(f"{path.name} is no JSON: {error}") from None
