"""The privacy of a run in plain words: what is promised, and what is not."""

from __future__ import annotations

import math
from collections.abc import Iterator

from fedlearn.privacy.guarantee import format_epsilon
from fedlearn.runs.report import view
from fedlearn.runs.result import PrivacyEntry, Result

_EXPECTED_FACTOR = 10.0
"""e^ε up to which odds are said as a factor; above, the promise is weak and is called so."""


def promises(result: Result) -> list[str]:
    """Returns what the run promises, as full sentences; at least one."""
    return [
        "No record leaves the client that holds it: clients send model updates.",
        *(sentence for entry in view.overall(result) for sentence in _guaranteed(entry)),
        *_masked(result),
    ]


def _guaranteed(entry: PrivacyEntry) -> Iterator[str]:
    unit = "a single record" if entry.unit == "record" else "a client with all its records"
    shown = f"ε = {format_epsilon(entry.epsilon)} at δ = {view.significant(entry.delta)}"
    if not math.isfinite(entry.epsilon):
        yield f"Nothing about {unit}: {shown} is no bound."
        return
    yield (
        f"Whether {unit} was used changes the chance of anything that can be seen by {entry.adversary} by a"
        f" factor of at most e^ε = {view.significant(math.exp(min(entry.epsilon, 700.0)))}, except with"
        f" probability δ: {shown}, counted by {entry.accountant}."
    )
    if entry.epsilon > math.log(_EXPECTED_FACTOR):
        yield (
            f"A factor above {_EXPECTED_FACTOR:g} is a weak promise by itself: read what attacks got beside it."
        )


def _masked(result: Result) -> Iterator[str]:
    secure = result.secure_aggregation
    if secure.mode == "masked":
        yield (
            "The server learnt one sum per round and who is in it, and no client’s own update"
            + (
                f", as long as at most {secure.colluders} of the clients worked with it."
                if secure.colluders
                else "."
            )
        )


def gaps(result: Result, *, counted: bool = False) -> list[str]:
    """Returns what no number of the report protects, as full sentences.

    Args:
      result: the run.
      counted: whether the page counts the clients' records and labels.
    """
    return [*_privacy_gaps(result), *_aggregation_gaps(result), *_general_gaps(result, counted)]


def _privacy_gaps(result: Result) -> list[str]:
    if not result.privacy:
        return [
            "The records behind the model: without differential privacy, whoever receives the model, "
            "or the sums on the way to it, may learn about single records."
        ]
    gaps = []
    if result.manifest.reproducible_noise:
        gaps.append(
            "Anything, strictly speaking: the noise was reproducible, so whoever knows the seed can "
            "subtract it. The ε above is what the same run would cost with secret noise."
        )
    if any(entry.unit == "record" for entry in result.privacy):
        gaps.append(
            "What is true of many records of one client at once: the guarantee is for one record at a time."
        )
    gaps.append("A person with records at two clients: what each client spends adds up for that person.")
    return gaps


def _aggregation_gaps(result: Result) -> list[str]:
    secure = result.secure_aggregation
    if secure.mode == "masked":
        return [
            f"Collusion beyond what was agreed: if more than {_agreed(secure.colluders)} together with the "
            "server, the masks may no longer hide another client’s update.",
            "A client that sends a wrong update on purpose: the server sees the sum and cannot look at it.",
            "Who took part in which round, and when: the server knows.",
        ]
    if secure.mode == "ideal":
        return ["Single updates in this run: it computed the sum of a secure aggregation without its masks."]
    return ["Single updates: secure aggregation was off, so the server saw each one as its client sent it."]


def _agreed(colluders: int | None) -> str:
    if colluders is None:
        return "the agreed number of clients work"
    return "one client works" if colluders == 1 else f"{colluders} clients work"


def _general_gaps(result: Result, counted: bool) -> list[str]:
    gaps = []
    if counted:
        gaps.append("The numbers of records and labels on this page: the simulation counted them exactly.")
    if result.final or result.per_client:
        gaps.append(
            "The metrics on this page: they were computed on held-out records and are shown without noise."
        )
    gaps.append(
        "The choice of this configuration, and other runs on the same records: each spends its own ε."
    )
    return gaps
