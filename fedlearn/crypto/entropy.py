"""The one place where secrets come from: the operating system.

Every key, seed, coefficient and nonce of this package is drawn here, at the moment it is needed.
There is no state to duplicate in a fork, and no parameter by which a caller could weaken a draw.
"""

from __future__ import annotations

from os import urandom


def random_bytes(size: int) -> bytes:
    """Returns ``size`` bytes from the operating system's generator.

    >>> len(random_bytes(32))
    32
    """
    return urandom(size)
