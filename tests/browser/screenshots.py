"""Draws the pictures of the documentation: ``python -m tests.browser.screenshots`` (``make screenshots``).

Runs an experiment, attacks it, sweeps it, and photographs the pages that this leaves in a headless Chromium.
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

from PIL import Image

from fedlearn.cli.main import main as fedlearn
from tests.browser.chromium import Tab, chromium, executable

IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"
MOST_BYTES = 200_000

EXPERIMENT = """
name = "digits"
rounds = 15
[data]
dataset = "digits"
partition = { kind = "dirichlet", clients = 6, arguments = { alpha = 0.5 } }
[model]
name = "mlp"
[training]
optimizer = "adam"
learning_rate = 0.01
local_steps = 3
[privacy]
enabled = true
epsilon = 8.0
delta = 1e-3
[secure_aggregation]
enabled = true
[baselines]
local = true
unprotected = true
pooled = true
"""


def photograph(
    tab: Tab, page: Path, name: str, *, width: int, dark: bool = False, to: str | None = None
) -> None:
    """Writes one screen of a page, from a heading on if one is named."""
    tab.look(width=width, height=1000 if width > 600 else 800, dark=dark)
    tab.open(page)
    if to is not None:
        tab.evaluate(f"document.getElementById({to!r}).scrollIntoView()")
    picture = Image.open(io.BytesIO(tab.picture())).convert("RGB").quantize(colors=128)
    target = IMAGES / f"{name}.png"
    picture.save(target, optimize=True)
    size = target.stat().st_size
    print(f"{target.name}: {size:,} bytes")
    if size > MOST_BYTES:
        raise SystemExit(f"{target} has {size} bytes, at most {MOST_BYTES} are allowed")


def main() -> int:
    """Makes every picture."""
    program = executable()
    if program is None:
        raise SystemExit("no Chromium on this machine")
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fedlearn-screenshots-") as folder:
        base = Path(folder)
        file, run, swept = base / "digits.toml", base / "run", base / "sweep"
        file.write_text(EXPERIMENT)
        fedlearn(["simulate", str(file), "--out", str(run), "--quiet"])
        fedlearn(["attack", str(run), "--attack", "update-inversion", "--attack", "sum-inversion"])
        fedlearn(["explain", str(run)])
        grid = [
            "--grid",
            "privacy.epsilon=1,3,10",
            "--set",
            "baselines.local=false",
            "--set",
            "baselines.pooled=false",
        ]
        fedlearn(["sweep", str(file), *grid, "--seeds", "2", "--out", str(swept)])
        with chromium(program) as tab:
            report = run / "report.html"
            photograph(tab, report, "report-light", width=1000)
            photograph(tab, report, "report-dark", width=1000, dark=True, to="holdings")
            photograph(tab, report, "report-attacks", width=1000, to="attacks")
            photograph(tab, report, "report-phone", width=380)
            photograph(tab, swept / "sweep.html", "sweep", width=1000)
            photograph(tab, run / "explanation.html", "explanation", width=1000)
    return 0


if __name__ == "__main__":
    sys.exit(main())
