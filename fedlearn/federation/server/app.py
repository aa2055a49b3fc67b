"""Flower's ServerApp on real sites.

==================  ===========================================================
run configuration   meaning
==================  ===========================================================
``experiment-toml`` the resolved experiment
``run-dir``         absolute path of the run's folder; its name is the run's id
``server``          absolute path of ``server.toml``
==================  ===========================================================
"""

from __future__ import annotations

import logging
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from fedlearn.federation import failure

_log = logging.getLogger("flwr")


def main(grid: Grid, context: Context) -> None:
    """Conducts the run that the configuration names; a failure is in its folder, too."""
    _log.propagate = False  # a library that configures the root logger would repeat every line
    path = Path(str(context.run_config["run-dir"]))
    with failure.recorded(path):
        from fedlearn.federation.server.conduct import conduct
        from fedlearn.federation.server.config import ServerConfig

        config = ServerConfig.load(Path(str(context.run_config["server"])))
        conduct(grid, str(context.run_config["experiment-toml"]), config, path)
    _log.info("fedlearn: finished: %s", path / "result.json")


app = ServerApp()
app.main()(main)
