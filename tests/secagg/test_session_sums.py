"""Sums of whole sessions: exact, whoever vanishes at whichever step, or no sum at all."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedlearn.errors import TooFewClients
from fedlearn.secagg.parameters import parameters
from tests.secagg.secagg_session import Federation, names_of

STEPS = ["advertise", "share", "inputs", "agree", "unmask"]


@pytest.mark.parametrize("modulus_bits", [16, 32, 64])
@pytest.mark.parametrize("count", range(4, 13))
def test_the_sum_is_exact(count: int, modulus_bits: int) -> None:
    federation = Federation(count, modulus_bits=modulus_bits)
    total = federation.run_all()
    np.testing.assert_array_equal(total, federation.ideal(names_of(count)))
    assert federation.server.survivors == tuple(names_of(count))
    assert not federation.server.excluded


@pytest.mark.parametrize("dimension", [1, 15, 2**16, 2**16 + 7, 2**17 + 1])
@pytest.mark.parametrize("modulus_bits", [16, 32])
def test_the_sum_is_exact_around_the_sizes_of_blocks_and_chunks(dimension: int, modulus_bits: int) -> None:
    federation = Federation(4, dimension=dimension, modulus_bits=modulus_bits)
    np.testing.assert_array_equal(federation.run_all(), federation.ideal(names_of(4)))


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("count", [5, 6, 7, 10, 12])
def test_as_many_as_tolerated_may_vanish_at_any_step(count: int, step: str) -> None:
    spare = parameters(count, colluders=1).tolerated_dropouts
    gone = names_of(count)[1 : 1 + spare]
    federation = Federation(count)
    total = federation.run_all(drops={step: gone})
    in_sum = names_of(count)
    if step in ("advertise", "share", "inputs"):
        in_sum = [name for name in in_sum if name not in gone]
    assert federation.server.survivors == tuple(in_sum)
    np.testing.assert_array_equal(total, federation.ideal(in_sum))
    assert set(federation.server.excluded) == set(gone)


@pytest.mark.parametrize("step", STEPS[:3])
@pytest.mark.parametrize("count", [4, 5, 6, 7, 10, 12])
def test_one_below_the_floor_voids_the_round(count: int, step: str) -> None:
    agreed = parameters(count, colluders=1)
    gone = names_of(count)[: agreed.tolerated_dropouts + 1]
    federation = Federation(count)
    with pytest.raises(TooFewClients) as caught:
        federation.run_all(drops={step: gone})
    assert caught.value.step == step
    assert caught.value.needed == agreed.min_survivors
    assert caught.value.answered == agreed.min_survivors - 1
    assert caught.value.missing == tuple(gone)


@pytest.mark.parametrize("count", [5, 7, 8, 9])
def test_quorum_met_exactly_and_missed_by_one(count: int) -> None:
    agreed = parameters(count, colluders=1)
    names = names_of(count)
    federation = Federation(count)
    federation.run_all(drops={"agree": names[agreed.quorum :]})
    np.testing.assert_array_equal(federation.server.total, federation.ideal(names))
    with pytest.raises(
        TooFewClients, match=rf"agree: {agreed.quorum - 1} .* quorum={agreed.quorum}"
    ) as caught:
        Federation(count).run_all(drops={"agree": names[agreed.quorum - 1 :]})
    assert caught.value.step == "agree"


@pytest.mark.parametrize("count", [4, 5, 6, 7, 10])
def test_threshold_met_exactly_and_missed_by_one(count: int) -> None:
    agreed = parameters(count, colluders=1)
    names = names_of(count)
    federation = Federation(count)
    federation.run_all(drops={"unmask": names[agreed.threshold :]})
    np.testing.assert_array_equal(federation.server.total, federation.ideal(names))
    with pytest.raises(TooFewClients, match=r"unmask: .* threshold") as caught:
        Federation(count).run_all(drops={"unmask": names[agreed.threshold - 1 :]})
    assert (caught.value.answered, caught.value.needed) == (agreed.threshold - 1, agreed.threshold)


@pytest.mark.slow
def test_threshold_in_one_neighbourhood_met_exactly_and_missed_by_one() -> None:
    """In a sparse graph holders of one client fall silent; nobody else can lose more of its own."""
    for missing in (0, 1):
        federation = Federation(70, colluders=2, dropout=0.1)
        federation.until("unmask")
        cohort = federation.server._session()
        threshold, owner = cohort.parameters.threshold, names_of(70)[0]
        holders = [owner, *cohort.neighbours[owner]]
        federation.exchange(silent=holders[threshold - missing :])
        if not missing:
            federation.server.advance()
            np.testing.assert_array_equal(federation.server.total, federation.ideal(names_of(70)))
            continue
        with pytest.raises(TooFewClients, match=r"unmask: .* threshold") as caught:
            federation.server.advance()
        assert (caught.value.answered, caught.value.needed) == (threshold - 1, threshold)


def test_a_step_that_was_short_may_be_closed_later() -> None:
    federation = Federation(5)
    late = names_of(5)[3:]
    federation.exchange(silent=late)
    with pytest.raises(TooFewClients):
        federation.server.advance()
    for name in late:
        answer = federation.clients[name].receive(federation.requested["advertise"][name])
        federation.server.receive(name, answer)
    federation.server.advance()
    np.testing.assert_array_equal(federation.run_all(), federation.ideal(names_of(5)))


@given(data=st.data(), count=st.integers(4, 12), bits=st.sampled_from([16, 32, 64]))
@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow])
def test_dropouts_at_every_step_give_an_exact_sum_or_none(data: st.DataObject, count: int, bits: int) -> None:
    assert_exact_or_none(data, count, bits, most=2)


@pytest.mark.slow
@given(data=st.data(), count=st.integers(4, 50), bits=st.sampled_from([16, 32, 64]))
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_dropouts_of_up_to_fifty_clients_give_an_exact_sum_or_none(
    data: st.DataObject, count: int, bits: int
) -> None:
    assert_exact_or_none(data, count, bits, most=count // 4 + 1)


def assert_exact_or_none(data: st.DataObject, count: int, bits: int, *, most: int) -> None:
    """Any clients vanish from any step on, in vectors of any small dimension."""
    names = names_of(count)
    drops = {step: data.draw(st.sets(st.sampled_from(names), max_size=most)) for step in STEPS}
    dimension = data.draw(st.sampled_from([1, 3, 16, 17]))
    federation = Federation(count, modulus_bits=bits, dimension=dimension, seed=count)
    try:
        total = federation.run_all(drops=drops)
    except TooFewClients:
        return
    gone = drops["advertise"] | drops["share"] | drops["inputs"]
    assert set(federation.server.survivors) == set(names) - gone
    np.testing.assert_array_equal(total, federation.ideal(federation.server.survivors))


@pytest.mark.parametrize("step", ["inputs", *(pytest.param(s, marks=pytest.mark.slow) for s in STEPS)])
def test_a_sparse_graph_gives_exact_sums_too(step: str) -> None:
    federation = Federation(70, colluders=2, dropout=0.1, dimension=9)
    assert federation.agreed is not None
    assert not federation.agreed.complete
    names = names_of(70)
    gone = names[::12]
    total = federation.run_all(drops={step: gone})
    in_sum = [n for n in names if n not in gone] if step in ("advertise", "share", "inputs") else names
    np.testing.assert_array_equal(total, federation.ideal(in_sum))


def test_sessions_are_independent_and_may_overlap() -> None:
    first, second = Federation(5), Federation(5, round=4, seed=1, model=bytes(32))
    first.until("agree")
    second.until("inputs")
    np.testing.assert_array_equal(first.run_all(), first.ideal(names_of(5)))
    np.testing.assert_array_equal(second.run_all(), second.ideal(names_of(5)))


@pytest.mark.slow
@pytest.mark.parametrize("count", [13, 20, 32, 50])
def test_the_sum_is_exact_up_to_fifty(count: int) -> None:
    spare = parameters(count, colluders=count // 10 or 1).tolerated_dropouts
    names = names_of(count)
    for step in STEPS:
        federation = Federation(count, colluders=count // 10 or 1, modulus_bits=16, dimension=33)
        gone = names[:spare]
        total = federation.run_all(drops={step: gone})
        in_sum = [n for n in names if n not in gone] if step in ("advertise", "share", "inputs") else names
        np.testing.assert_array_equal(total, federation.ideal(in_sum))
