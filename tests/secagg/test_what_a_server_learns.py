"""The algebra of the server's view: an honest session tells one sum, a broken one is found out.

The tests that plant a fault show that the check which all attacks must pass can fail.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from fedlearn.secagg.client import ClientSession
from fedlearn.secagg.messages import Revelation, encode
from tests.secagg.secagg_session import Federation, names_of
from tests.secagg.server_view import Eavesdropper, Knowledge, assert_opens_no_input

NAMES = names_of(6)
STEPS = ["advertise", "share", "inputs", "agree", "unmask"]


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Eavesdropper:
    return Eavesdropper(monkeypatch)


@pytest.mark.parametrize("colluders", [[], NAMES[-1:]])
@pytest.mark.parametrize("step", STEPS)
def test_one_sum_is_learned_whoever_vanishes_and_its_value_is_right(
    heard: Eavesdropper, step: str, colluders: list[str]
) -> None:
    federation = Federation(6)
    federation.run_all(drops={step: [NAMES[1]]})
    honest = [name for name in federation.server.survivors if name not in colluders]
    assert assert_opens_no_input(heard, colluders) == [dict.fromkeys(honest, Fraction(1))]
    knowledge = Knowledge.of(heard, colluders)
    own = {name: federation.inputs[name] for name in colluders}
    (terms,) = (terms for row, terms in knowledge.learned if row)
    np.testing.assert_array_equal(knowledge.evaluate(terms, own), federation.ideal(honest))


@pytest.mark.parametrize("step", ["inputs", "agree", "unmask"])
def test_nothing_is_learned_before_shares_are_revealed(heard: Eavesdropper, step: str) -> None:
    federation = Federation(6)
    federation.until(step)
    for name in NAMES:
        assert assert_opens_no_input(heard, [name]) == []


def test_one_answer_short_of_the_threshold_nothing_is_learned(heard: Eavesdropper) -> None:
    federation = Federation(6)
    federation.until("unmask")
    assert federation.agreed is not None
    # With its colluder the server has threshold - 1 shares.
    for name in NAMES[: federation.agreed.threshold - 2]:
        federation.clients[name].receive(federation.server.requests()[name])
    assert assert_opens_no_input(heard, NAMES[-1:]) == []


def reveal_unasked(heard: Eavesdropper, client: ClientSession, survivors: tuple[str, ...]) -> None:
    """A client that answers R4 for whatever survivors, signed by nobody: the fault that rule 4 excludes."""
    client._survivors = survivors
    cohort, inputs = client._masked()
    shares = [client._share_of(owner, inputs) for owner in cohort.owners(client.client, inputs.members)]
    heard.keep(client, encode(Revelation(tuple(shares), bytes(64))))


def test_shares_of_both_kinds_would_open_an_input_and_are_found(heard: Eavesdropper) -> None:
    federation = Federation(6)
    federation.until("unmask")
    for survivors in (tuple(NAMES), tuple(NAMES[1:])):
        for name in NAMES[1:]:
            reveal_unasked(heard, federation.clients[name], survivors)
    with pytest.raises(AssertionError, match="two combinations"):
        assert_opens_no_input(heard, [])
    knowledge = Knowledge.of(heard, [])
    (terms,) = (terms for row, terms in knowledge.learned if set(row) == {NAMES[0]})
    np.testing.assert_array_equal(knowledge.evaluate(terms, {}), federation.inputs[NAMES[0]])


def test_two_sums_that_differ_by_one_client_would_be_found(heard: Eavesdropper) -> None:
    Federation(6, repeat_model=True).run_all()
    Federation(6, repeat_model=True, round=4).run_all(drops={"inputs": [NAMES[5]]})
    with pytest.raises(AssertionError, match="two combinations"):
        assert_opens_no_input(heard, [])
