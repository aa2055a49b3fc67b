"""One hash for a list, and a short proof that an item is in it at its place (Merkle 1987).

Leaves and inner nodes are hashed apart, so that none passes for the other. A node without a
sibling moves up as it is.

>>> items = [b"a", b"b", b"c"]
>>> root(items) == root_of_path(b"c", 2, 3, path(items, 2))
True
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from fedlearn.errors import TamperedMessage


def root(items: Sequence[bytes]) -> bytes:
    """Returns the root over at least one item, 32 bytes."""
    return _levels(items)[-1][0]


def path(items: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """Returns the siblings from the item at ``index`` up, at most ⌈log2(count)⌉ of 32 bytes."""
    return root_and_paths(items)[1][index]


def root_and_paths(items: Sequence[bytes]) -> tuple[bytes, list[tuple[bytes, ...]]]:
    """Returns the root, and the path of every item."""
    *levels, (top,) = _levels(items)
    paths = [
        tuple(
            level[(index >> height) ^ 1]
            for height, level in enumerate(levels)
            if (index >> height) ^ 1 < len(level)
        )
        for index in range(len(items))
    ]
    return top, paths


def root_of_path(item: bytes, index: int, count: int, siblings: Sequence[bytes]) -> bytes:
    """Returns the root of a list of ``count`` items of which ``item`` is the one at ``index``.

    Raises:
      TamperedMessage: the path has not the length of that place.
    """
    node, remaining = hashlib.sha256(b"\0" + item).digest(), list(siblings)
    while count > 1:
        if index ^ 1 < count:
            if not remaining:
                raise TamperedMessage("a path is shorter than its place in the list")
            node = _parent(remaining.pop(0), node) if index & 1 else _parent(node, remaining.pop(0))
        index, count = index >> 1, (count + 1) >> 1
    if remaining:
        raise TamperedMessage("a path is longer than its place in the list")
    return node


def _levels(items: Sequence[bytes]) -> list[list[bytes]]:
    levels = [[hashlib.sha256(b"\0" + item).digest() for item in items]]
    while len(levels[-1]) > 1:
        level = levels[-1]
        paired = [_parent(*level[i : i + 2]) for i in range(0, len(level) - 1, 2)]
        levels.append(paired + level[len(paired) * 2 :])
    return levels


def _parent(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()
