"""What a server sees: uniform bytes, the same whatever the inputs, and too few shares of all else.

False-alarm rates: every statistical assertion fails by chance in fewer than 1 of 10⁶ runs.
"""

from __future__ import annotations

import contextlib
import itertools

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import chi2

from fedlearn._types import RingVector
from fedlearn.crypto import aead, entropy, prg
from fedlearn.crypto.agreement import AgreementKey
from fedlearn.errors import ProtocolError
from fedlearn.secagg import dealing, masking
from fedlearn.secagg.masking import pairwise_seeds, self_mask_seed
from fedlearn.secagg.ring import ideal_sum
from tests.secagg.secagg_session import DeterministicEntropy, Federation, names_of

ALARM = 1e-6
NAMES = names_of(5)


def masked(federation: Federation, constant: int = 0) -> dict[str, RingVector]:
    """The masked vectors of a session whose inputs are all one constant."""
    for vector in federation.inputs.values():
        vector.fill(constant)
    federation.until("agree")
    return {name: v for name, (_, v) in federation.sent["inputs"].items() if v is not None}


def assert_uniform(data: NDArray[np.uint8], *, alarm: float) -> None:
    counts = np.bincount(data, minlength=256)
    expected = data.size / 256
    statistic = ((counts - expected) ** 2 / expected).sum()
    assert chi2.sf(statistic, 255) > alarm
    # Too even would be as suspicious.
    assert chi2.cdf(statistic, 255) > alarm


@pytest.mark.parametrize(("bits", "constant"), [(16, 0), (16, 65535), (32, 0), (32, 7)])
def test_masked_constants_are_uniform_in_every_byte(bits: int, constant: int) -> None:
    vectors = masked(Federation(5, dimension=2**15, modulus_bits=bits), constant)
    tests = len(vectors) * bits // 8 * 2
    for vector in vectors.values():
        planes = vector.view(np.uint8).reshape(-1, bits // 8)
        for plane in planes.T:
            assert_uniform(plane, alarm=ALARM / tests)


def test_masked_vectors_are_independent_across_clients_and_rounds() -> None:
    dimension = 2**16
    rounds = [masked(Federation(5, dimension=dimension, modulus_bits=16, round=r)) for r in (1, 2)]
    streams = [vector for vectors in rounds for vector in vectors.values()]
    pairs = list(itertools.combinations(streams, 2))
    one: RingVector
    other: RingVector
    for one, other in pairs:
        assert_uniform((one ^ other).view(np.uint8), alarm=ALARM / len(pairs) / 4)
        assert_uniform((one - other).view(np.uint8), alarm=ALARM / len(pairs) / 4)


def test_every_sum_of_fewer_than_all_is_uniform() -> None:
    federation = Federation(5, dimension=2**16, modulus_bits=16)
    vectors = list(masked(federation).values())
    subsets = [s for size in range(1, 6) for s in itertools.combinations(vectors, size)]
    for subset in subsets:
        assert_uniform(ideal_sum(subset).view(np.uint8), alarm=ALARM / len(subsets) / 2)


def test_the_view_is_the_same_when_honest_inputs_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace two honest inputs and keep their sum: there are masks that give the very same view.

    The masked vectors of the second session under the first one's secrets differ by exactly what the
    inputs differ; as one unknown pairwise mask can take it up, no test can tell the sessions apart.
    """
    views = []
    for shift in (0, 12345):
        monkeypatch.setattr(entropy, "urandom", DeterministicEntropy())
        federation = Federation(5, dimension=8)
        federation.inputs[NAMES[0]] += np.uint32(shift)
        federation.inputs[NAMES[1]] -= np.uint32(shift)
        total = federation.run_all()
        views.append((federation, total))
    (one, first), (other, second) = views
    np.testing.assert_array_equal(first, second)
    for step in ("advertise", "share", "unmask"):
        for name in NAMES:
            assert len(one.sent[step][name][0]) == len(other.sent[step][name][0])
    for name in NAMES:
        before, after = one.sent["inputs"][name][1], other.sent["inputs"][name][1]
        assert before is not None
        assert after is not None
        wanted = {NAMES[0]: 12345, NAMES[1]: -12345}.get(name, 0) % 2**32
        assert set(after - before) == {wanted}
    assert one.sent["advertise"] == other.sent["advertise"]
    assert one.sent["share"] == other.sent["share"]


def test_vectors_look_the_same_when_one_honest_input_is_replaced() -> None:
    """Zeros against a text of the client's, byte by byte, for one client and for its sums with others.

    The sum over all is another one, as it must be; of everything short of it, two samples of 2¹⁹ bytes
    are compared by the chi-squared test of homogeneity.
    """
    dimension = 2**18
    text = np.resize(np.frombuffer(b"the diagnosis of a patient", np.uint8), 2 * dimension).view("<u2")
    samples = []
    for replaced in (np.zeros(dimension, "<u2"), text):
        federation = Federation(5, dimension=dimension, modulus_bits=16)
        federation.inputs[NAMES[0]] = replaced.copy()
        federation.until("agree")
        samples.append([federation.sent["inputs"][name][1] for name in NAMES])
    subsets = [range(size) for size in range(1, 5)]
    for subset in subsets:
        first, second = (
            np.bincount(
                ideal_sum(v for v in (s[i] for i in subset) if v is not None).view(np.uint8), minlength=256
            )
            for s in samples
        )
        assert chi2.sf(((first - second) ** 2 / (first + second)).sum(), 255) > ALARM / len(subsets)


STEPS = ["advertise", "share", "inputs", "agree", "unmask"]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("count", [4, 5, 7, pytest.param(10, marks=pytest.mark.slow)])
def test_whoever_vanishes_no_secret_of_both_kinds_can_be_rebuilt(count: int, step: str) -> None:
    """Counts, for every client, the shares of both kinds in the view of a server with one colluder."""
    for gone in range(count):
        federation = Federation(count)
        with contextlib.suppress(ProtocolError):
            federation.run_all(drops={step: names_of(count)[:gone]})
        assert_one_kind(federation, colluder=names_of(count)[-1])


def assert_one_kind(federation: Federation, colluder: str) -> None:
    server = federation.server
    if server._cohort is None:
        return
    cohort, agreed = server._cohort, server._cohort.parameters
    for owner in server.members:
        seeds, keys = {colluder}, {colluder}
        for holder in federation.sent.get("unmask", {}):
            if owner in cohort.owners(holder, server.members):
                (seeds if owner in server.survivors else keys).add(holder)
        assert min(len(seeds), len(keys)) < agreed.threshold


def test_every_seed_traces_to_256_bits_of_the_operating_system(monkeypatch: pytest.MonkeyPatch) -> None:
    source, used = DeterministicEntropy(), []

    class Traced(prg.Keystream):
        def __init__(self, seed: bytes) -> None:
            used.append(seed)
            super().__init__(seed)

    monkeypatch.setattr(entropy, "urandom", source)
    monkeypatch.setattr(masking, "Keystream", Traced)
    federation = Federation(5)
    answer = federation.answer

    def owned(name: str, request: bytes) -> tuple[bytes, RingVector | None]:
        source.owner = name
        return answer(name, request)

    monkeypatch.setattr(federation, "answer", owned)
    federation.run_all()
    cohort, view = federation.server._session(), federation.server._bound()
    traced = set()
    for name in NAMES:
        mask_key, share_key, seed, nonce, *rest = source.draws[name]
        assert [len(draw) for draw in (mask_key, share_key, seed, nonce)] == [32] * 4
        # Shamir's coefficients are 64 bytes each; the boxes' nonces are public.
        assert {len(draw) for draw in rest} == {64, 12}
        assert sum(len(draw) == 64 for draw in rest) == 2 * (cohort.parameters.threshold - 1)
        assert len(set(source.draws[name])) == len(source.draws[name])
        traced.add(self_mask_seed(cohort.session, name, seed))
        pairs = pairwise_seeds(cohort, view, name, AgreementKey(mask_key), cohort.neighbours[name])
        traced |= set(pairs.plus) | set(pairs.minus)
    assert set(used) == traced
    assert len(traced) == 5 + 10
    assert all(len(seed) == 32 for seed in used)


def test_every_box_has_a_key_of_its_own_from_an_agreement_of_256_bits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each way between two clients: 32 bytes by HKDF from X25519, whose private key is one draw."""
    keys: list[bytes] = []

    def seal(key: bytes, plaintext: bytes, *, context: bytes) -> bytes:
        keys.append(key)
        return aead.seal(key, plaintext, context=context)

    monkeypatch.setattr(dealing, "seal", seal)
    rounds = 5
    for number in range(rounds):
        federation = Federation(5, round=number)
        federation.until("inputs")
        for client in federation.clients.values():
            assert client._secrets is not None
            own = client._secrets.share_key, client._secrets.mask_key
            assert len({key.to_bytes() for key in own}) == 2
            assert all(len(key.to_bytes()) == 32 for key in own)
    assert len(keys) == len(set(keys)) == rounds * 5 * 4
    assert {len(key) for key in keys} == {32}


def test_no_seed_is_ever_used_for_two_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[bytes] = []

    class Traced(prg.Keystream):
        def __init__(self, seed: bytes) -> None:
            seeds.append(seed)
            super().__init__(seed)

    monkeypatch.setattr(masking, "Keystream", Traced)
    rounds = 20
    for number in range(rounds):
        Federation(5, round=number).until("agree")
    # Five self-masks once; ten pairwise masks by both of their ends.
    assert len(seeds) == rounds * (5 + 20)
    assert len(set(seeds)) == rounds * (5 + 10)
