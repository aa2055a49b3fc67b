"""Recovered records as pictures, for the report."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from fedlearn.runs.attack_report import Picture
from fedlearn.runs.report.png import MODES, png_base64

SHOWN = 6
"""Records that are pictured; of more the first."""


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
    if truth.dim() != 4 or truth.shape[1] not in MODES:
        return []
    pairs = zip(truth[:SHOWN].numpy(), found[:SHOWN].numpy(), psnr_db, strict=False)
    return [
        Picture(
            truth=png_base64(record, low=low, high=high),
            found=png_base64(guess, low=low, high=high),
            psnr_db=round(near, 2),
        )
        for record, guess, near in pairs
    ]
