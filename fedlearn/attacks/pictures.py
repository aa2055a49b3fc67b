"""Recovered records as pictures, for the report."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

from torch import Tensor

from fedlearn.runs.attack_report import Picture

SHOWN = 6
"""Records that are pictured; of more the first."""

_CHANNELS = {1: "L", 3: "RGB"}


def pictures_of(
    truth: Tensor, found: Tensor, psnr_db: Sequence[float], *, low: float, high: float
) -> list[Picture]:
    """Returns the first records beside what was found of them; none for records that are no images.

    Args:
      truth: records, (n, channels, height, width) with 1 or 3 channels, or of any other shape.
      found: of the same shape, one for each.
      psnr_db: how near each comes.
      low: what is drawn black.
      high: what is drawn white.
    """
    if truth.dim() != 4 or truth.shape[1] not in _CHANNELS:
        return []
    pairs = zip(truth[:SHOWN], found[:SHOWN], psnr_db, strict=False)
    return [
        Picture(truth=_png(record, low, high), found=_png(guess, low, high), psnr_db=round(near, 2))
        for record, guess, near in pairs
    ]


def _png(image: Tensor, low: float, high: float) -> str:
    """Returns an image (channels, height, width) as a PNG file in base64."""
    from PIL import Image

    bytes_ = ((image - low) / (high - low)).clamp(0, 1).mul(255).round().byte()
    channels = bytes_.permute(1, 2, 0).numpy()
    picture = Image.fromarray(channels[..., 0] if len(bytes_) == 1 else channels, _CHANNELS[len(bytes_)])
    target = io.BytesIO()
    picture.save(target, format="PNG", optimize=True)
    return base64.b64encode(target.getvalue()).decode()
