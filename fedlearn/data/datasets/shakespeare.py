"""Tiny Shakespeare: predict the next character of a speaking role (Karpathy 2015; Caldas et al. 2018)."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from fedlearn import _validate
from fedlearn.data.files import locate
from fedlearn.data.records import DataSet, Records

ALPHABET = "\n !$&',-.3:;?ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
"""The 65 characters of the text; a token is a place in it."""

_FILE = "tinyshakespeare.txt.gz"
_SOURCE = (
    "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt (gzip it)"
)
_SPEECH = re.compile(r"^([^\n:]+):\n(.+?)(?=\n\n|\Z)", re.MULTILINE | re.DOTALL)


def shakespeare(
    folder: Path | None = None,
    *,
    length: int = 80,
    stride: int = 20,
    min_characters: int = 1000,
    test_fraction: float = 0.2,
) -> DataSet:
    """Returns windows of characters with the next one as target, and the speaking role as owner.

    The end of each role's text is held out, and no window spans both parts.

    Args:
      folder: with ``tinyshakespeare.txt.gz``.
      length: characters in a window.
      stride: characters from one window to the next, at least 1.
      min_characters: roles with less text are left out; at 1000, about half of them stay.
      test_fraction: share of each role's text that is held out, in (0, 1).

    Raises:
      ConfigError: an argument out of range.
      DataError: the file is missing.
    """
    _validate.positive(length=length, stride=stride)
    _validate.between(0.0, 1.0, test_fraction=test_fraction)
    found = locate(folder, name="shakespeare", files=[_FILE], source=_SOURCE)
    text = gzip.decompress((found / _FILE).read_bytes()).decode("ascii")
    windows, owners, is_test = [], [], []
    for role, lines in roles(text).items():
        if len(lines) < min_characters:
            continue
        cut = round(len(lines) * (1.0 - test_fraction))
        for part, held_out in ((lines[:cut], False), (lines[cut:], True)):
            found_windows = _windows(part, length=length + 1, stride=stride)
            windows.append(found_windows)
            owners += [role] * len(found_windows)
            is_test += [held_out] * len(found_windows)
    tokens = np.concatenate(windows)
    return DataSet(
        name="shakespeare",
        records=Records(
            inputs=tokens[:, :-1],
            targets=tokens[:, -1],
            owners=np.array(owners),
            is_test=np.array(is_test),
        ),
        classes=len(ALPHABET),
        shape=(length,),
        kind="text",
        licence="public domain",
        source=_SOURCE,
        vocabulary=len(ALPHABET),
    )


def roles(text: str) -> dict[str, str]:
    r"""Returns each speaking role's lines in the order of the text, joined by line ends.

    >>> roles("A:\nFirst.\n\nB:\nNo.\n\nA:\nLast.\n")
    {'A': 'First.\nLast.', 'B': 'No.'}
    """
    spoken: dict[str, list[str]] = {}
    for role, speech in _SPEECH.findall(text.rstrip("\n")):
        spoken.setdefault(role, []).append(speech)
    return {role: "\n".join(speeches) for role, speeches in spoken.items()}


def _windows(text: str, *, length: int, stride: int) -> NDArray[np.int64]:
    """Returns every ``stride``-th window of tokens, shape (n, length), int64; none if the text is shorter."""
    place = {character: token for token, character in enumerate(ALPHABET)}
    tokens = np.array([place[character] for character in text], dtype=np.int64)
    if len(tokens) < length:
        return np.empty((0, length), dtype=np.int64)
    return sliding_window_view(tokens, length)[::stride].copy()
