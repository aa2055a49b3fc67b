"""Small pictures inside a page: PNG files in base64."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

MODES = {1: "L", 3: "RGB"}
"""Number of channels → how Pillow calls it."""


def png_base64(image: NDArray[np.floating[Any]], *, low: float, high: float) -> str:
    """Returns an image as a PNG file in base64.

    Args:
      image: (channels, height, width) with 1 or 3 channels.
      low: what is drawn black.
      high: what is drawn white; above ``low``.
    """
    from PIL import Image

    shades = np.rint(np.clip((image - low) / (high - low), 0.0, 1.0) * 255.0).astype(np.uint8)
    picture = Image.fromarray(
        shades[0] if len(shades) == 1 else np.moveaxis(shades, 0, -1), MODES[len(shades)]
    )
    target = io.BytesIO()
    picture.save(target, format="PNG", optimize=True)
    return base64.b64encode(target.getvalue()).decode()
