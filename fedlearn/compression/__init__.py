"""How an update becomes shorter on its way up: fewer bits for each coordinate, or fewer coordinates.

A summable compressor sends the same coordinates of everyone, so that payloads add up like updates: under
secure aggregation, and before noise, as it lengthens no vector. The others give each client a payload of
its own form, which the server has to read one by one.
"""

from __future__ import annotations

from fedlearn.registry import Registry

COMPRESSORS = Registry(
    "compressor",
    {
        "quantise": "fedlearn.compression.quantise:Quantise",
        "top-k": "fedlearn.compression.top_k:TopK",
        "random-k": "fedlearn.compression.random_k:RandomK",
    },
)
"""Word → class of a compressor."""

__all__ = ["COMPRESSORS"]
