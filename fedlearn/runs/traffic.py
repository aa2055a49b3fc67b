"""Bytes on the network: by client and round, and over the run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from fedlearn.rounds.exchange import Traffic
from fedlearn.runs.result import CommunicationEntry

MOST_NAMED: Final = 100
"""Clients of a round that are named; a larger cohort is counted, so that a run's files stay small."""


def grouped(traffic: Mapping[str, Traffic]) -> list[dict[str, Any]]:
    """Returns the clients of a round by their bytes: those with the same figures together.

    >>> grouped({"a": Traffic(10, 4), "b": Traffic(10, 4)})
    [{'down': 10, 'up': 4, 'count': 2, 'clients': ['a', 'b']}]
    """
    groups: dict[Traffic, list[str]] = {}
    for client, figures in traffic.items():
        groups.setdefault(figures, []).append(client)
    named = len(traffic) <= MOST_NAMED
    return [
        {
            "down": figures.down,
            "up": figures.up,
            "count": len(clients),
            "clients": sorted(clients) if named else [],
        }
        for figures, clients in sorted(groups.items())
    ]


def communication(rounds: Iterable[Mapping[str, Any]]) -> CommunicationEntry:
    """Returns what a run's rounds carried."""
    groups = [group for entry in rounds for group in entry.get("traffic", ())]
    served = sum(group["count"] for group in groups)
    up, down = (sum(group[way] * group["count"] for group in groups) for way in ("up", "down"))
    sent = [group["up"] for group in groups]
    return CommunicationEntry(
        bytes_up=up,
        bytes_down=down,
        bytes_up_per_client_round=up / served if served else 0.0,
        bytes_down_per_client_round=down / served if served else 0.0,
        least_up=min(sent, default=0),
        most_up=max(sent, default=0),
    )
