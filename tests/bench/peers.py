"""Where the peers' scripts and the environments that they need are."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]
PEERS = Path(os.environ.get("FEDLEARN_PEERS", ROOT.parent / "shared" / "peers"))
"""The folder with ``fl_common.py`` and one script per peer."""
