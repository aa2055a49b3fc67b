"""A trained model as a file for other programs, preprocessing inside, checked against its source."""

from __future__ import annotations

from fedlearn.registry import Registry

FORMATS = Registry(
    "export format",
    {
        "onnx": "fedlearn.results.export.onnx_file:OnnxFile",
        "pt2": "fedlearn.results.export.pt2_file:Pt2File",
    },
)
"""Word → ``() -> Format``."""

__all__ = ["FORMATS"]
