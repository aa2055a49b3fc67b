"""Array types that several packages share."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Vector: TypeAlias = NDArray[np.float32]
"""A flat parameter vector or an update, shape (d,), float32."""

RingVector: TypeAlias = NDArray[np.unsignedinteger]
"""Residues modulo 2^b, shape (d,), uint16, uint32 or uint64."""
