"""Checks of arguments: bounds are where they say, and the message has name, value and bound."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import pytest

from fedlearn._validate import between, in_range, non_negative, positive
from fedlearn.errors import ConfigError

SMALLEST = 5e-324
Check = Callable[..., None]

ACCEPTED = [
    (positive, SMALLEST),
    (positive, 1e308),
    (non_negative, 0.0),
    (non_negative, -0.0),
    (partial(in_range, 0.0, 1.0), 0.0),
    (partial(in_range, 0.0, 1.0), 1.0),
    (partial(between, 0.0, 1.0), SMALLEST),
    (partial(between, 0.0, 1.0), 1 - 2**-53),
]
REFUSED = [
    (positive, 0.0, "must be positive and finite"),
    (positive, -1.0, "must be positive and finite"),
    (positive, math.inf, "must be positive and finite"),
    (non_negative, -SMALLEST, "must be finite and at least 0"),
    (non_negative, math.inf, "must be finite and at least 0"),
    (partial(in_range, 0.0, 1.0), -SMALLEST, "must lie in [0.0, 1.0]"),
    (partial(in_range, 0.0, 1.0), 1 + 2**-52, "must lie in [0.0, 1.0]"),
    (partial(between, 0.0, 1.0), 0.0, "must lie strictly between 0.0 and 1.0"),
    (partial(between, 0.0, 1.0), 1.0, "must lie strictly between 0.0 and 1.0"),
]


@pytest.mark.parametrize(("check", "value"), ACCEPTED)
def test_values_within_the_bound_pass(check: Check, value: float) -> None:
    check(share=value)


@pytest.mark.parametrize(("check", "value", "bound"), REFUSED)
def test_a_value_outside_is_named_with_its_bound(check: Check, value: float, bound: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check(share=value)
    assert str(caught.value) == f"share={value} {bound}"


@pytest.mark.parametrize("check", [positive, non_negative, partial(in_range, 0, 1), partial(between, 0, 1)])
def test_nan_is_never_within_a_bound(check: Check) -> None:
    with pytest.raises(ConfigError, match="share=nan"):
        check(share=math.nan)


def test_every_value_is_checked() -> None:
    with pytest.raises(ConfigError, match="second=-1"):
        positive(first=1.0, second=-1.0)
