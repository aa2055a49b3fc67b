"""How many must answer: quorum, threshold, floor and neighbours of one session.

>>> five = parameters(5, colluders=1)
>>> five.quorum, five.threshold, five.min_survivors, five.tolerated_dropouts
(4, 3, 4, 1)
>>> parameters(3, colluders=1)
Traceback (most recent call last):
    ...
fedlearn.errors.ConfigError: clients=3 must be at least colluders + 3 = 4: of fewer, each honest client ...
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from fedlearn.errors import ConfigError
from fedlearn.secagg.graph import fewest_neighbours, most_colluding_neighbours

COMPLETE_UP_TO = 64
"""Largest cohort in which every pair of clients masks with each other."""

MAX_CLIENTS = 4096


@dataclass(frozen=True, kw_only=True)
class SessionParameters:
    """The numbers of one session; they exist only if they satisfy every rule.

    Guarantee: while at most ``colluders`` members of the roster collude with the server, there is
    at most one set of survivors whose sum can be unmasked, and it has ``min_survivors`` members.

    Attributes:
      clients: n, clients whose adverts make the session; at least ``colluders`` + 3.
      colluders: c ≥ 1, members of the roster that may collude with the server: a number, not a share.
      min_survivors: floor under the survivors; at least max(quorum, c + 3).
      neighbours: k, clients with whom each client masks: n − 1 up to 64 clients, else even and
        greater than c + (n − min_survivors), so that no dropouts can cut the graph.
      threshold: t, shares that rebuild a secret; 2t > k + the most colluders among k neighbours.
      quorum: signatures over one set of survivors; floor((n + c)/2) + 1, so that no two sets have it.
    """

    clients: int
    colluders: int
    min_survivors: int
    neighbours: int
    threshold: int
    quorum: int

    def __post_init__(self) -> None:
        self._check_cohort()
        self._check_floor()
        self._check_graph()
        self._check_threshold()

    @property
    def complete(self) -> bool:
        """Whether every client masks with every other."""
        return self.neighbours == self.clients - 1

    @property
    def tolerated_dropouts(self) -> int:
        """Clients that may vanish at any step without voiding the round, with overwhelming probability."""
        return self.clients - self.min_survivors

    @property
    def caution(self) -> str:
        """What a person should know before relying on these numbers; empty if nothing."""
        if self.tolerated_dropouts:
            return ""
        return (
            f"clients={self.clients} with colluders={self.colluders} tolerates no dropout: one client"
            f" that does not answer voids the round; {self._first_with_dropout()} clients tolerate one"
        )

    def for_cohort(self, clients: int) -> SessionParameters:
        """Returns the parameters when only ``clients`` of those expected send an advert.

        Colluders and floor stay as agreed; quorum, threshold and graph follow the cohort.

        Raises:
          ConfigError: more clients than agreed, or fewer than the floor.
        """
        if clients == self.clients:
            return self
        if clients > self.clients:
            raise ConfigError(
                f"clients={clients} exceeds the agreed {self.clients}, for which the ring was proved;"
                " raise the cohort in the configuration"
            )
        return _built(clients, self.colluders, self.min_survivors)

    def _check_cohort(self) -> None:
        if self.colluders < 1:
            raise ConfigError(
                f"colluders={self.colluders} must be at least 1: with 0 any single client could betray all"
            )
        if self.clients < self.colluders + 3:
            raise ConfigError(
                f"clients={self.clients} must be at least colluders + 3 = {self.colluders + 3}: of fewer,"
                " each honest client could be told apart by the colluders; add clients"
            )
        if self.clients > MAX_CLIENTS:
            raise ConfigError(f"clients={self.clients} must be at most {MAX_CLIENTS}; draw a smaller cohort")

    def _check_floor(self) -> None:
        if self.quorum != quorum_of(self.clients, self.colluders):
            raise ConfigError(
                f"quorum={self.quorum} must be floor((clients + colluders)/2) + 1 ="
                f" {quorum_of(self.clients, self.colluders)}; leave it to parameters()"
            )
        least = max(self.quorum, self.colluders + 3)
        if not least <= self.min_survivors <= self.clients:
            raise ConfigError(
                f"min_survivors={self.min_survivors} must lie in [{least}, {self.clients}] for"
                f" clients={self.clients}, colluders={self.colluders}; leave it out for the least"
            )

    def _check_graph(self) -> None:
        if self.complete:
            return
        if self.clients <= COMPLETE_UP_TO:
            raise ConfigError(
                f"neighbours={self.neighbours} must be clients − 1 = {self.clients - 1} up to"
                f" {COMPLETE_UP_TO} clients"
            )
        least = self.colluders + self.tolerated_dropouts
        if self.neighbours % 2 or not least < self.neighbours < self.clients:
            raise ConfigError(
                f"neighbours={self.neighbours} must be even and lie strictly between {least}"
                f" (colluders + dropouts) and {self.clients}; leave it to parameters()"
            )

    def _check_threshold(self) -> None:
        colluding = self.colluding_neighbours
        if 2 * self.threshold <= self.neighbours + colluding or self.threshold > self.neighbours:
            raise ConfigError(
                f"threshold={self.threshold} must exceed ({self.neighbours} neighbours + {colluding}"
                f" colluders among them)/2 and be at most {self.neighbours}; leave it to parameters()"
            )

    @property
    def colluding_neighbours(self) -> int:
        """The most colluders that any honest client has among its neighbours, but for odds of 2⁻¹⁰⁰."""
        if self.complete:
            return self.colluders
        return most_colluding_neighbours(self.clients, self.colluders, self.neighbours)

    def _first_with_dropout(self) -> int:
        clients = self.clients + 1
        while max(quorum_of(clients, self.colluders), self.colluders + 3) >= clients:
            clients += 1
        return clients


def parameters(
    clients: int, *, colluders: int, dropout: float = 0.0, min_survivors: int | None = None
) -> SessionParameters:
    """Returns the parameters of a session.

    Up to 64 clients the graph is complete. Above, it is the sparsest of the Harary graphs over a
    random permutation (Bell et al. 2020, section 3) that is secure but for odds of 2⁻¹⁰⁰ — 2⁻⁴⁰
    against a server that tries 2⁶⁰ sets of adverts — and loses no round to ``dropout`` but for
    odds of 2⁻²⁰.

    Args:
      clients: n.
      colluders: c ≥ 1, members of the roster that may collude with the server.
      dropout: share δ of the cohort that may vanish in a round; used above 64 clients only.
      min_survivors: floor under the survivors; None takes the least that the rules allow.

    Raises:
      ConfigError: no parameters satisfy the rules; says which rule and what would.
    """
    if not 0 <= dropout < 1:
        raise ConfigError(f"dropout={dropout} must lie in [0, 1): it is a share of the cohort")
    least = max(quorum_of(clients, colluders), colluders + 3)
    if clients > COMPLETE_UP_TO:
        least = max(least, math.ceil((1 - dropout) * clients - 1e-9))
    floor = least if min_survivors is None else min_survivors
    if clients > COMPLETE_UP_TO and floor < least:
        raise ConfigError(
            f"min_survivors={floor} must be at least {least} = max(quorum, ⌈(1 − dropout)·clients⌉) for"
            f" clients={clients}, dropout={dropout}; raise dropout or min_survivors"
        )
    return _built(clients, colluders, floor)


def _built(clients: int, colluders: int, floor: int) -> SessionParameters:
    neighbours, threshold = _graph_of(clients, colluders, floor)
    return SessionParameters(
        clients=clients,
        colluders=colluders,
        min_survivors=floor,
        neighbours=neighbours,
        threshold=threshold,
        quorum=quorum_of(clients, colluders),
    )


def quorum_of(clients: int, colluders: int) -> int:
    """Returns floor((n + c)/2) + 1: two quorums share more than c clients, hence an honest one."""
    return (clients + colluders) // 2 + 1


def _graph_of(clients: int, colluders: int, floor: int) -> tuple[int, int]:
    neighbours = clients - 1
    if clients <= COMPLETE_UP_TO or clients > MAX_CLIENTS or not 1 <= colluders <= clients - 3:
        return neighbours, (neighbours + colluders) // 2 + 1
    dropouts = max(0, clients - floor)
    if 10 * colluders + 20 * dropouts > 9 * clients:
        raise ConfigError(
            f"colluders={colluders} and {dropouts} dropouts of clients={clients}: colluders/clients +"
            " 2·dropout must be at most 0.9; lower dropout or colluders"
        )
    return fewest_neighbours(clients, colluders, dropouts)
