"""What every export format offers."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

Runner: TypeAlias = Callable[[NDArray[Any]], NDArray[np.float32]]
"""Records (n, *shape) → outputs, by the file alone."""


class Format(Protocol):
    """One kind of file; the number of records is free, everything else of the shape is fixed."""

    suffix: str

    def write(self, model: nn.Module, example: Tensor, path: Path) -> None:
        """Writes the model; ``example`` is a batch of at least two records."""
        ...

    def write_int8(self, model: nn.Module, example: Tensor, path: Path) -> None:
        """Writes the model with weights of eight bits."""
        ...

    def open(self, path: Path) -> Runner:
        """Returns what runs the file."""
        ...


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps the remarks that exporters make about themselves from the user."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
