"""A Flower app without code: what is sent to run an experiment with the installed fedlearn.

Its only file is a ``pyproject.toml`` that names fedlearn's two apps and carries the experiment as
text, so that nothing that Flower unpacks can stand in for an installed module.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import tomli_w

import fedlearn

SERVER_APP = "fedlearn.federation.server_app:app"
CLIENT_APP = "fedlearn.federation.client_app:app"


def write_bundle(
    folder: Path,
    *,
    experiment_toml: str,
    run_dir: Path,
    resume: bool = False,
    ledger: Path | None = None,
    server_app: str = SERVER_APP,
    client_app: str = CLIENT_APP,
    more: Mapping[str, str] | None = None,
) -> Path:
    """Writes the app into a folder and returns the folder.

    Args:
      folder: created if missing.
      experiment_toml: the resolved experiment.
      run_dir: absolute path of the run directory.
      resume: go on from the checkpoint in it.
      ledger: absolute path of the folder of ledgers; None without.
      server_app: ``"module:app"`` of the ServerApp.
      client_app: ``"module:app"`` of the ClientApp.
      more: further entries of the run configuration.
    """
    config = {
        "experiment": "",
        "experiment-toml": experiment_toml,
        "run-dir": str(run_dir),
        "resume": resume,
        "ledger": "" if ledger is None else str(ledger),
        **(more or {}),
    }
    project = {
        "project": {"name": "fedlearn-run", "version": fedlearn.__version__, "license": "Apache-2.0"},
        "tool": {
            "flwr": {
                "app": {
                    "publisher": "fedlearn",
                    "components": {"serverapp": server_app, "clientapp": client_app},
                    "config": config,
                }
            }
        },
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pyproject.toml").write_text(tomli_w.dumps(project), encoding="utf-8")
    return folder
