"""One command brings up a federation with real certificates and trains over it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.engine, pytest.mark.deployment]

QUICKSTART = Path(__file__).parents[2] / "simulations" / "quickstart.toml"


def test_up_trains_over_tls_and_leaves_a_run_directory(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fedlearn.cli.main", "up", str(QUICKSTART), "--json"]
    command += ["--set", "rounds=1", "--out", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["engine"], result["rounds"]) == ("sites", 1)
    assert result["secure_aggregation"]["mode"] == "masked"
    assert result["secure_aggregation"]["dropouts"] == 0
    assert result["final"]["accuracy"] > 0
    for name in ("model.safetensors", "privacy_statement.json", "report.html", "rounds.jsonl"):
        assert (tmp_path / "run" / name).is_file()
