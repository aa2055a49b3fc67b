"""Who masks with whom, and how many neighbours are enough.

Up to 64 clients everybody masks with everybody. Above, clients stand on a ring in an order that is
derived from the session id — nobody chooses it — and each masks with the k/2 next on either side: the
Harary graph of Bell et al. 2020, section 3. The server chooses which adverts enter and can try again
and again, so the odds are set for an attacker with 2⁶⁰ tries. All probabilities are exact integers.

>>> neighbourhoods(["a", "b", "c", "d"], neighbours=3, session=bytes(32))["b"]
('a', 'c', 'd')
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from math import comb

from fedlearn.crypto.framing import frame
from fedlearn.errors import ConfigError

SECURITY_BITS = 100
"""2⁻⁴⁰ that any try succeeds, after 2⁶⁰ tries."""

CORRECTNESS_BITS = 20


def neighbourhoods(members: Sequence[str], *, neighbours: int, session: bytes) -> dict[str, tuple[str, ...]]:
    """Returns each member's neighbours in the order of their ids.

    Args:
      members: ids of the session's clients, sorted.
      neighbours: k; the number of members − 1, or even and less.
      session: the session id; the same for everyone, hence the same graph.
    """
    count = len(members)
    if neighbours >= count - 1:
        return {member: tuple(other for other in members if other != member) for member in members}
    ring = sorted(members, key=lambda member: hashlib.sha256(_seat(session, member)).digest())
    steps = [step for step in range(-(neighbours // 2), neighbours // 2 + 1) if step]
    return {
        member: tuple(sorted(ring[(seat + step) % count] for step in steps))
        for seat, member in enumerate(ring)
    }


def _seat(session: bytes, member: str) -> bytes:
    return frame("fedlearn-secagg/1|graph", session, member)


@lru_cache(maxsize=1024)
def most_colluding_neighbours(clients: int, colluders: int, neighbours: int) -> int:
    """Returns the least m such that some client has more than m colluders near it with odds ≤ 2⁻¹⁰⁰."""
    bound = comb(clients - 1, neighbours) >> SECURITY_BITS
    tail = 0
    for count in range(min(colluders, neighbours), -1, -1):
        tail += _ways(clients - 1, colluders, neighbours, count)
        if clients * tail > bound:
            return count
    return 0


@lru_cache(maxsize=1024)
def fewest_neighbours(clients: int, colluders: int, dropouts: int) -> tuple[int, int]:
    """Returns the least (k, t) that is secure, cannot be cut, and survives the dropouts but for 2⁻²⁰.

    Raises:
      ConfigError: not even all clients as neighbours would do.
    """
    first = colluders + dropouts + 1
    for neighbours in range(first + first % 2, clients - 1, 2):
        colluding = most_colluding_neighbours(clients, colluders, neighbours)
        threshold = (neighbours + colluding) // 2 + 1
        if threshold <= neighbours and _survives(clients, dropouts, neighbours, neighbours - threshold):
            return neighbours, threshold
    neighbours, threshold = clients - 1, (clients - 1 + colluders) // 2 + 1
    if clients - 1 - dropouts < threshold:
        raise ConfigError(
            f"colluders={colluders} and {dropouts} dropouts of clients={clients}: even with all as"
            f" neighbours {threshold} shares are needed and {neighbours - dropouts} remain; lower either"
        )
    return neighbours, threshold


def _survives(clients: int, dropouts: int, neighbours: int, spare: int) -> bool:
    """Returns whether no client loses more than ``spare`` of its neighbours, but for odds of 2⁻²⁰."""
    lost = sum(
        _ways(clients - 1, dropouts, neighbours, count)
        for count in range(spare + 1, min(dropouts, neighbours) + 1)
    )
    return clients * lost << CORRECTNESS_BITS <= comb(clients - 1, neighbours)


def _ways(population: int, marked: int, drawn: int, count: int) -> int:
    """Returns how many of the draws contain ``count`` marked (hypergeometric, times the number of draws)."""
    return comb(marked, count) * comb(population - marked, drawn - count)
