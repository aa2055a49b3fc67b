"""Optional libraries: imported where they are first needed; a missing one is named by its extra."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fedlearn.errors import MissingExtra


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Turns a failed import of an optional library into the advice to install its extra.

    >>> with extra("explain"):
    ...     import nowhere_to_be_found
    Traceback (most recent call last):
        ...
    fedlearn.errors.MissingExtra: nowhere_to_be_found is not installed: pip install 'fedlearn[explain]'
    """
    try:
        yield
    except ImportError as error:
        missing = (error.name or str(error)).partition(".")[0]
        raise MissingExtra(f"{missing} is not installed: pip install 'fedlearn[{name}]'") from None
