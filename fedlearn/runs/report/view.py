"""A result and its rounds, arranged for a reader."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, TypeGuard

from fedlearn.runs.progress import RoundReport
from fedlearn.runs.result import Baseline, Metrics, PrivacyEntry, Result

Rounds = Sequence[RoundReport]
"""Every round of the run, in order."""

_FIELDS = frozenset(part.name for part in fields(RoundReport))

_ERRORS = re.compile(r"(^|[^a-z])(loss|error|mse|mae|rmse|brier)([^a-z]|$)", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Standing:
    """One row of the comparison.

    Attributes:
      label: what was trained.
      note: how, in a few words.
      metrics: on the common test set; None if there are none.
      spread: least and greatest over clients, by metric.
      reason: why there are no metrics.
      own: whether it is the run that the report is about.
    """

    label: str
    note: str
    metrics: Metrics | None
    spread: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    reason: str | None = None
    own: bool = False


@dataclass(frozen=True, kw_only=True)
class ClientRow:
    """One client of the per-client table.

    Attributes:
      name: client id.
      metrics: the final model's, on the client's own held-out records.
      guarantee: what its records were given; None without DP.
      dropped: number of rounds in which it was lost.
    """

    name: str
    metrics: Metrics
    guarantee: PrivacyEntry | None
    dropped: int


@dataclass(frozen=True, kw_only=True)
class Dropouts:
    """The rounds in which one client was lost, by reason."""

    client: str
    rounds_by_reason: dict[str, list[int]]

    @property
    def count(self) -> int:
        """Number of rounds in which the client was lost."""
        return sum(len(rounds) for rounds in self.rounds_by_reason.values())


def rounds_of(lines: Iterable[Mapping[str, Any]]) -> list[RoundReport]:
    """Returns the rounds that the lines of ``rounds.jsonl`` tell of; unknown keys are passed over."""
    return [RoundReport(**{key: line[key] for key in line if key in _FIELDS}) for line in lines]


def defined(value: float | None) -> TypeGuard[float]:
    """Returns whether there is a finite value."""
    return value is not None and math.isfinite(value)


def significant(value: float) -> str:
    """Returns three significant digits, and an exponent, without padding, where zeros would not be counted.

    >>> significant(0.001), significant(1.25e-5), significant(2981.0), significant(2.5e7)
    ('0.001', '1.25e-5', '2,980', '2.5e7')
    """
    if 1e3 <= abs(value) < 1e6:
        return f"{float(f'{value:.3g}'):,.0f}"
    return re.sub(r"e([+-])0*(\d)", r"e\1\2", f"{value:.3g}").replace("e+", "e")


def lower_is_better(metric: str) -> bool:
    """Returns whether a metric counts errors, judged by its name.

    >>> lower_is_better("loss"), lower_is_better("closeness"), lower_is_better("package.module:mean_mse")
    (True, False, True)
    """
    return _ERRORS.search(metric.replace("_", " ")) is not None


def metric_names(result: Result) -> list[str]:
    """Returns every metric of the result, the experiment's first one first."""
    baselines = result.baselines
    tables: list[Mapping[str, object]] = [result.final, result.spread, *result.per_client.values()]
    for baseline in (baselines.local, baselines.unprotected, baselines.pooled):
        tables += [baseline.metrics or {}, baseline.spread]
    return list(dict.fromkeys(name for table in tables for name in table))


def is_protected(result: Result) -> bool:
    """Returns whether the run had differential privacy or secure aggregation."""
    return bool(result.privacy) or result.secure_aggregation.mode == "masked"


def standings(result: Result) -> list[Standing]:
    """Returns the comparison: alone, together without and with protection, and pooled."""
    baselines = result.baselines
    alone = _standing("Local only", "each client trains alone on its own records", baselines.local)
    pooled = _standing("Pooled", "all records in one place, no protection", baselines.pooled)
    open_ = "Federated without protection"
    own = Standing(
        label="Federated with protection" if is_protected(result) else open_,
        note=f"this run: {_protections(result)}",
        metrics=result.final or None,
        spread=result.spread,
        reason=None if result.final else "the model was not evaluated",
        own=True,
    )
    if is_protected(result):
        unprotected = _standing(open_, "the same federation, everything in the clear", baselines.unprotected)
        return [alone, unprotected, own, pooled]
    reason = "this run had no differential privacy and no secure aggregation"
    shielded = Standing(label="Federated with protection", note="", metrics=None, reason=reason)
    return [alone, own, shielded, pooled]


def _standing(label: str, note: str, baseline: Baseline) -> Standing:
    reason = None if baseline.metrics else baseline.reason or "not computed"
    return Standing(
        label=label, note=note, metrics=baseline.metrics or None, spread=baseline.spread, reason=reason
    )


def _protections(result: Result) -> str:
    parts = ["differential privacy"] if result.privacy else []
    if result.secure_aggregation.mode == "masked":
        parts.append("secure aggregation")
    return " and ".join(parts) or "everything in the clear"


def overall(result: Result) -> list[PrivacyEntry]:
    """Returns the run's guarantees as a whole; the weakest client's if none is called overall."""
    entries = [entry for entry in result.privacy if entry.client == "overall"]
    if entries or not result.privacy:
        return entries
    return [max(result.privacy, key=lambda entry: entry.epsilon)]


def found_of_100(entry: PrivacyEntry, *, false_alarms: float) -> float:
    """Returns how many of 100 members any membership test finds at most.

    The bound min(1, e^ε · FPR + δ) of Kairouz et al. (2015, Theorem 2.1), times 100.

    Args:
      entry: the guarantee.
      false_alarms: share of non-members that the test takes for members, in (0, 1].
    """
    if entry.epsilon >= -math.log(false_alarms):
        return 100.0
    return 100.0 * min(1.0, math.exp(entry.epsilon) * false_alarms + entry.delta)


def client_rows(result: Result, rounds: Rounds) -> list[ClientRow]:
    """Returns the clients, the one that the headline metric serves worst first, undefined ones last."""
    guarantees = {entry.client: entry for entry in result.privacy if entry.client != "overall"}
    lost = {entry.client: entry.count for entry in dropouts(rounds)}
    names = dict.fromkeys([*result.per_client, *guarantees, *lost])
    rows = [
        ClientRow(
            name=name,
            metrics=result.per_client.get(name, {}),
            guarantee=guarantees.get(name),
            dropped=lost.get(name, 0),
        )
        for name in names
    ]
    metric = next(iter(metric_names(result)), "")
    return sorted(rows, key=lambda row: _service(row.metrics.get(metric), metric))


def _service(value: float | None, metric: str) -> tuple[bool, float]:
    if not defined(value):
        return True, 0.0
    return False, -value if lower_is_better(metric) else value


def ranked_rows(result: Result, rounds: Rounds) -> list[ClientRow]:
    """Returns the clients with a value of the headline metric, the one that is served worst first."""
    metric = next(iter(metric_names(result)), "")
    return [row for row in client_rows(result, rounds) if defined(row.metrics.get(metric))]


def failed_rounds(rounds: Rounds) -> list[tuple[int, str]]:
    """Returns the rounds that gave no aggregate, each with its reason."""
    return [(entry.round, entry.failure) for entry in rounds if entry.failure is not None]


def dropouts(rounds: Rounds) -> list[Dropouts]:
    """Returns the clients that were lost, the one lost most often first."""
    found: dict[str, dict[str, list[int]]] = {}
    for entry in rounds:
        for client, reason in entry.dropped.items():
            found.setdefault(client, {}).setdefault(reason, []).append(entry.round)
    rows = [Dropouts(client=client, rounds_by_reason=reasons) for client, reasons in found.items()]
    return sorted(rows, key=lambda row: -row.count)


def client_count(result: Result, rounds: Rounds) -> int | None:
    """Returns the number of clients, as far as the result tells."""
    cohorts = [entry.survivors + len(entry.dropped) for entry in rounds]
    return max(result.secure_aggregation.clients or 0, len(result.per_client), *cohorts) or None


def unit_scale(values: Iterable[float | None]) -> bool:
    """Returns whether values can be shown on a scale from 0 to 1."""
    finite = [value for value in values if defined(value)]
    return bool(finite) and all(0.0 <= value <= 1.0 for value in finite)


def fits_unit_scale(metric: str, result: Result) -> bool:
    """Returns whether all values of a metric can be shown on a scale from 0, bad, to 1, good."""
    values: list[float | None] = []
    for row in standings(result):
        values += [(row.metrics or {}).get(metric), *row.spread.get(metric, ())]
    values += [entry.get(metric) for entry in result.per_client.values()]
    return unit_scale(values) and not lower_is_better(metric)
