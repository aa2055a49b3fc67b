"""Fashion-MNIST: 60,000 training and 10,000 test images of 28×28 pixels, 10 classes."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedlearn.data.files import locate
from fedlearn.data.records import DataSet, Records
from fedlearn.errors import DataError

_FILES = tuple(
    f"{part}-{content}-ubyte.gz" for part in ("train", "t10k") for content in ("images-idx3", "labels-idx1")
)


def fashion_mnist(folder: Path | None = None) -> DataSet:
    """Returns the images (1, 28, 28) with pixels in [0, 1], the 10,000 held out as published.

    Args:
      folder: with the four gzipped idx files.

    Raises:
      DataError: a file is missing or is not what its name says.
    """
    source = "https://github.com/zalandoresearch/fashion-mnist"
    found = locate(folder, name="fashion-mnist", files=_FILES, source=source)
    train, train_labels, test, test_labels = (_read_idx(found / file) for file in _FILES)
    images = np.concatenate([train, test])[:, None]
    return DataSet(
        name="fashion-mnist",
        records=Records(
            inputs=np.divide(images, 255.0, dtype=np.float32),
            targets=np.concatenate([train_labels, test_labels]).astype(np.int64),
            is_test=np.arange(len(images)) >= len(train),
        ),
        classes=10,
        shape=(1, 28, 28),
        kind="image",
        licence="MIT",
        source="Xiao, Rasul and Vollgraf (2017), arXiv:1708.07747",
    )


def _read_idx(path: Path) -> NDArray[np.uint8]:
    """Returns the array in a gzipped idx file of unsigned bytes (LeCun et al. 1998, file format)."""
    with gzip.open(path) as packed:
        content = packed.read()
    axes = content[3] if len(content) > 3 else 0
    if content[:3] != b"\x00\x00\x08" or len(content) < 4 + 4 * axes:
        raise DataError(f"{path} is no idx file of unsigned bytes: it starts with {content[:4].hex()}")
    shape = np.frombuffer(content, dtype=">u4", count=axes, offset=4).tolist()
    values = np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * axes)
    if values.size != np.prod(shape):
        raise DataError(f"{path} has {values.size} values for the shape {shape}; get it again")
    return values.reshape(shape)
