"""Learning-rate schedules over rounds: the factor on the local learning rate.

Each takes the round, counted from 0, and the number of rounds, both public: no schedule looks at
the data, so none needs a privacy charge.

>>> constant(3, 10), linear(0, 4), linear(3, 4), step(5, 9), round(cosine(5, 10), 3)
(1.0, 1.0, 0.25, 0.1, 0.5)
"""

from __future__ import annotations

import math


def constant(round: int, rounds: int) -> float:
    """Returns 1."""
    return 1.0


def linear(round: int, rounds: int) -> float:
    """Falls in a straight line from 1 to 1 / rounds."""
    return (rounds - round) / rounds


def cosine(round: int, rounds: int) -> float:
    """Half a cosine from 1 towards 0 (Loshchilov and Hutter 2017, equation 5, no restarts)."""
    return 0.5 * (1.0 + math.cos(math.pi * round / rounds))


def step(round: int, rounds: int) -> float:
    """Divides by ten after one half and again after three quarters of the rounds."""
    return 0.1 ** sum(round >= rounds * share for share in (0.5, 0.75))
