"""Parameters: the published numbers, every rule on every result, and probabilities by another library."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import hypergeom

from fedlearn.errors import ConfigError
from fedlearn.secagg.graph import fewest_neighbours, most_colluding_neighbours, neighbourhoods
from fedlearn.secagg.parameters import SessionParameters, parameters, quorum_of


@pytest.mark.parametrize(
    ("clients", "quorum", "threshold", "floor", "dropouts"),
    [(4, 3, 3, 4, 0), (5, 4, 3, 4, 1), (6, 4, 4, 4, 2), (7, 5, 4, 5, 2), (10, 6, 6, 6, 4)],
)
def test_small_cohorts_with_one_colluder(
    clients: int, quorum: int, threshold: int, floor: int, dropouts: int
) -> None:
    agreed = parameters(clients, colluders=1)
    assert (agreed.quorum, agreed.threshold, agreed.min_survivors) == (quorum, threshold, floor)
    assert agreed.tolerated_dropouts == dropouts
    assert agreed.neighbours == clients - 1
    assert bool(agreed.caution) == (dropouts == 0)


@pytest.mark.parametrize(("clients", "graph"), [(100, (32, 22)), (300, (76, 54)), (1000, (202, 138))])
def test_sparse_graphs_with_a_tenth_colluding_and_a_tenth_dropping_out(
    clients: int, graph: tuple[int, int]
) -> None:
    agreed = parameters(clients, colluders=clients // 10, dropout=0.1)
    assert (agreed.neighbours, agreed.threshold) == graph
    assert agreed.min_survivors == math.ceil(0.9 * clients)


def test_the_caution_names_the_cohort_that_tolerates_a_dropout() -> None:
    assert "5 clients tolerate one" in parameters(4, colluders=1).caution


@given(
    clients=st.integers(4, 400), colluders=st.integers(1, 40), dropout=st.sampled_from([0.0, 0.05, 0.1, 0.3])
)
@settings(max_examples=150)
def test_every_result_satisfies_every_rule(clients: int, colluders: int, dropout: float) -> None:
    try:
        p = parameters(clients, colluders=colluders, dropout=dropout)
    except ConfigError:
        assert clients < colluders + 3 or clients > 64
        return
    assert 2 * p.quorum > clients + colluders
    assert p.min_survivors >= max(p.quorum, colluders + 3)
    assert 2 * p.threshold > p.neighbours + p.colluding_neighbours
    assert p.threshold <= p.neighbours
    if clients <= 64:
        assert p.neighbours == clients - 1
        assert p.threshold == (clients - 1 + colluders) // 2 + 1
    else:
        assert p.min_survivors >= (1 - dropout) * clients - 1e-6
        assert p.neighbours > colluders + p.tolerated_dropouts
        assert p.complete or p.neighbours % 2 == 0


@pytest.mark.parametrize(("clients", "colluders", "dropouts"), [(100, 10, 10), (300, 30, 30), (500, 25, 50)])
def test_the_odds_are_as_stated_and_the_next_sparser_graph_s_are_not(
    clients: int, colluders: int, dropouts: int
) -> None:
    neighbours, threshold = fewest_neighbours(clients, colluders, dropouts)
    colluding = most_colluding_neighbours(clients, colluders, neighbours)
    assert _odds(clients, colluders, neighbours, colluding) <= 2.0**-100
    assert _odds(clients, dropouts, neighbours, neighbours - threshold) <= 2.0**-20
    sparser = neighbours - 2
    next_threshold = (sparser + most_colluding_neighbours(clients, colluders, sparser)) // 2 + 1
    assert (
        sparser <= colluders + dropouts
        or _odds(clients, dropouts, sparser, sparser - next_threshold) > 2.0**-20
    )
    if colluding < colluders:
        assert _odds(clients, colluders, neighbours, colluding - 1) > 2.0**-100


def _odds(clients: int, marked: int, neighbours: int, most: int) -> float:
    """That some client has more than ``most`` marked neighbours, by the union bound."""
    return clients * float(hypergeom.sf(most, clients - 1, marked, neighbours))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"clients": 3, "colluders": 1}, "clients=3 must be at least colluders \\+ 3 = 4"),
        ({"clients": 5, "colluders": 0}, "colluders=0 must be at least 1"),
        ({"clients": 5, "colluders": 3}, "clients=5 must be at least colluders \\+ 3 = 6"),
        ({"clients": 10, "colluders": 1, "min_survivors": 5}, "min_survivors=5 must lie in \\[6, 10\\]"),
        ({"clients": 10, "colluders": 1, "min_survivors": 11}, "min_survivors=11"),
        ({"clients": 100, "colluders": 50, "dropout": 0.25}, "at most 0.9"),
        ({"clients": 100, "colluders": 10, "dropout": 1.0}, "dropout=1.0"),
        ({"clients": 100, "colluders": 10, "dropout": 0.1, "min_survivors": 80}, "at least 90"),
        ({"clients": 5000, "colluders": 10}, "at most 4096"),
    ],
)
def test_infeasible_combinations_are_refused_with_the_reason(options: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        parameters(**options)


VALID: dict[str, int] = {
    "clients": 10,
    "colluders": 1,
    "min_survivors": 6,
    "neighbours": 9,
    "threshold": 6,
    "quorum": 6,
}


@pytest.mark.parametrize(
    "change",
    [
        {"quorum": 5},
        {"quorum": 7},
        {"threshold": 5},
        {"threshold": 10},
        {"neighbours": 8},
        {"min_survivors": 5},
        {"colluders": 2},
    ],
)
def test_no_number_can_be_lowered_by_hand(change: dict[str, int]) -> None:
    SessionParameters(**VALID)
    with pytest.raises(ConfigError):
        SessionParameters(**{**VALID, **change})


@pytest.mark.parametrize("neighbours", [20, 31, 100])
def test_a_graph_that_dropouts_could_cut_or_that_is_odd_is_refused(neighbours: int) -> None:
    numbers = {"clients": 100, "colluders": 10, "min_survivors": 90, "threshold": 22, "quorum": 56}
    with pytest.raises(ConfigError, match="neighbours"):
        SessionParameters(neighbours=neighbours, **numbers)


def test_a_smaller_cohort_keeps_floor_and_colluders() -> None:
    agreed = parameters(10, colluders=1, min_survivors=7)
    smaller = agreed.for_cohort(8)
    assert (smaller.min_survivors, smaller.colluders, smaller.quorum) == (7, 1, quorum_of(8, 1))
    with pytest.raises(ConfigError, match="min_survivors=7"):
        agreed.for_cohort(6)
    with pytest.raises(ConfigError, match="exceeds the agreed 10"):
        agreed.for_cohort(11)


@given(clients=st.integers(66, 130), half=st.integers(1, 16), session=st.binary(min_size=32, max_size=32))
@settings(max_examples=25)
def test_the_graph_is_regular_symmetric_and_nobody_s_choice(clients: int, half: int, session: bytes) -> None:
    members = [f"{i:04}" for i in range(clients)]
    graph = neighbourhoods(members, neighbours=2 * half, session=session)
    for member, near in graph.items():
        assert len(set(near)) == 2 * half
        assert member not in near
        assert list(near) == sorted(near)
        assert all(member in graph[other] for other in near)
    assert graph != neighbourhoods(members, neighbours=2 * half, session=bytes(31) + b"\1")


@given(seed=st.integers(0, 2**32))
@settings(max_examples=20)
def test_removing_fewer_than_k_clients_leaves_the_rest_connected(seed: int) -> None:
    members = [f"{i:04}" for i in range(80)]
    graph = neighbourhoods(members, neighbours=12, session=seed.to_bytes(32, "big"))
    gone = set(np.random.default_rng(seed).choice(members, 11, replace=False))
    # The worst case is a neighbourhood but for one of it.
    for removed in (gone, set(graph[members[0]][:11])):
        left = [member for member in members if member not in removed]
        reached, frontier = {left[0]}, [left[0]]
        while frontier:
            new = {other for other in graph[frontier.pop()] if other not in removed} - reached
            reached |= new
            frontier += new
        assert reached == set(left)
