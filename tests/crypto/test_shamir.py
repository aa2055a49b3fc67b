"""Sharing: any threshold of shares rebuilds, fewer say nothing, and no malformed share is taken."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedlearn.crypto import shamir
from fedlearn.crypto.shamir import PRIME, combine, element_from_bytes, element_to_bytes, split
from fedlearn.errors import ConfigError, MalformedMessage

SECRETS = st.integers(0, PRIME - 1)


def test_the_field_is_prime() -> None:
    # Miller and Rabin with the first 40 primes as bases: a composite passes with odds below 4^-40.
    bases = [p for p in range(2, 174) if all(p % q for q in range(2, p))]
    odd, twos = PRIME - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in bases:
        powers = [pow(base, odd << i, PRIME) for i in range(twos)]
        assert powers[0] == 1 or PRIME - 1 in powers


@given(secret=SECRETS, data=st.data())
def test_any_threshold_of_shares_rebuilds(secret: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 9))
    threshold = data.draw(st.integers(1, count))
    shares = split(secret, threshold=threshold, points=range(1, count + 1))
    chosen = data.draw(st.sets(st.sampled_from(sorted(shares)), min_size=threshold))
    assert combine({point: shares[point] for point in chosen}) == secret


@given(secret=SECRETS, guess=SECRETS)
def test_one_share_fewer_fits_every_secret(secret: int, guess: int) -> None:
    shares = split(secret, threshold=3, points=[1, 2, 3, 4])
    known = {1: shares[1], 4: shares[4]}
    # A third share can be found that makes any guess the secret: two shares exclude nothing.
    weights = {p: _weight(p, (1, 3, 4)) for p in (1, 3, 4)}
    third = (guess - sum(weights[p] * s for p, s in known.items())) * pow(weights[3], -1, PRIME) % PRIME
    assert combine({**known, 3: third}) == guess


def _weight(point: int, points: tuple[int, ...]) -> int:
    weight = 1
    for other in points:
        if other != point:
            weight = weight * other * pow(other - point, -1, PRIME) % PRIME
    return weight


@given(points=st.sets(st.integers(1, 5000), min_size=1, max_size=12))
def test_weights_agree_with_lagrange_s_formula(points: set[int]) -> None:
    ordered = tuple(sorted(points))
    assert shamir._weights(ordered) == tuple(_weight(point, ordered) for point in ordered)


def test_every_subset_below_the_threshold_gives_another_number() -> None:
    shares = split(7, threshold=3, points=[1, 2, 3, 4])
    for pair in itertools.combinations(shares, 2):
        assert combine({point: shares[point] for point in pair}) != 7


@pytest.mark.parametrize("points", [[0, 1], [1, 1], [-1, 2], [PRIME, 1]])
def test_point_zero_and_repeated_points_are_refused(points: list[int]) -> None:
    with pytest.raises(ConfigError, match="point"):
        split(1, threshold=1, points=points)


def test_a_share_at_point_zero_is_refused() -> None:
    with pytest.raises(ConfigError, match="point 0 is the secret"):
        combine({0: 5, 1: 6})


def test_no_share_rebuilds_nothing() -> None:
    with pytest.raises(ConfigError, match="at least one"):
        combine({})


@pytest.mark.parametrize("secret", [-1, PRIME])
def test_secrets_outside_the_field_are_refused(secret: int) -> None:
    with pytest.raises(ConfigError, match="outside the field"):
        split(secret, threshold=1, points=[1])


@pytest.mark.parametrize("threshold", [0, 4])
def test_thresholds_outside_the_points_are_refused(threshold: int) -> None:
    with pytest.raises(ConfigError, match="threshold"):
        split(1, threshold=threshold, points=[1, 2, 3])


@given(element=SECRETS)
def test_elements_survive_their_bytes(element: int) -> None:
    assert element_from_bytes(element_to_bytes(element)) == element


@pytest.mark.parametrize("raw", [b"", bytes(32), bytes(34), PRIME.to_bytes(33, "big"), b"\xff" * 33])
def test_bytes_that_are_no_element_are_refused(raw: bytes) -> None:
    with pytest.raises(MalformedMessage):
        element_from_bytes(raw)
