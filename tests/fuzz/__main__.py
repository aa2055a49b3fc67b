"""Fuzzes every decoder with coverage guidance, by atheris: ``python -m tests.fuzz --seconds 60``.

Each decoder gets a process of its own, that many seconds, and its samples to start from. A process that
finds an input on which a decoder does anything but read or refuse leaves it in ``fuzz-findings``, and the
run ends with exit code 1.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

FINDINGS = Path("fuzz-findings")


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzzes the chosen decoders in turn; returns 1 if anything was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for each decoder")
    parser.add_argument("--only", default="", metavar="NAME", help="one decoder")
    options = parser.parse_args(arguments)
    if not installed():
        print("skipped: atheris is not installed; pip install -e '.[fuzz]' or make fuzz")
        return 0
    from tests.fuzz.decoders import DECODERS

    failed = [name for name in DECODERS if options.only in ("", name) and not fuzz(name, options.seconds)]
    print(f"found something in: {', '.join(failed)}" if failed else "nothing found")
    return int(bool(failed))


def installed() -> bool:
    """Whether atheris is there."""
    try:
        return importlib.util.find_spec("atheris") is not None
    except ValueError:  # a module that was set to None
        return False


def fuzz(name: str, seconds: int) -> bool:
    """Fuzzes one decoder in a process of its own; returns whether nothing was found."""
    from tests.fuzz.decoders import DECODERS

    FINDINGS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as corpus:
        for place, body in enumerate(DECODERS[name].samples()):
            (Path(corpus) / str(place)).write_bytes(body)
        limits = [f"-max_total_time={seconds}", "-max_len=8192", "-timeout=20", "-rss_limit_mb=2048"]
        artifacts = f"-artifact_prefix={FINDINGS}/{name}-"
        command = [sys.executable, "-m", "tests.fuzz.target", name, *limits, artifacts, corpus]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [line for line in done.stderr.splitlines() if line.startswith(("Done", "#", " ERROR", "=="))]
    print(f"{name}: {lines[-1] if lines else done.stderr[-400:]}", flush=True)
    if done.returncode:
        print(done.stderr[-4000:], file=sys.stderr)
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
