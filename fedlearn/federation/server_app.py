"""Flower's ServerApp: reads the run configuration and conducts the run.

==================  ===================================================================================
run configuration   meaning
==================  ===================================================================================
``experiment``      path of a TOML file: inside the app, or below the folder that Flower runs in
``experiment-toml`` the resolved experiment as text; wins over ``experiment``
``run-dir``         absolute path of the run directory; empty for ``runs/NAME-flower`` in the folder that
                    Flower runs in, which is the one where the SuperLink was started
``resume``          go on from the checkpoint in the run directory
``ledger``          absolute path of a folder with a policy, where clients keep what their records spend
==================  ===================================================================================
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

import fedlearn
from fedlearn.errors import ConfigError
from fedlearn.federation import failure

_log = logging.getLogger("flwr")  # the logger that `flwr run --stream` shows


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a run is asked to do.

    Attributes:
      experiment_toml: the experiment.
      run_dir: absolute path of the run directory.
      resume: go on from its checkpoint.
      ledger: folder of the clients' ledgers; None without.
    """

    experiment_toml: str
    run_dir: Path
    resume: bool = False
    ledger: Path | None = None


def read_order(run_config: Mapping[str, Any], *, name: str | None = None) -> Order:
    """Returns what the run configuration asks for.

    Args:
      run_config: as Flower gives it, with its defaults filled in.
      name: the experiment's name, for the default run directory; None reads it from the text.

    Raises:
      ConfigError: neither key names an experiment, the file is not there, or the path is relative.
    """
    text = str(run_config.get("experiment-toml", "")) or _read_experiment(
        str(run_config.get("experiment", ""))
    )
    wanted = str(run_config.get("run-dir", ""))
    if wanted and not Path(wanted).is_absolute():
        raise ConfigError(
            f"run-dir={wanted!r} must be absolute: Flower runs apps in a folder of its own choice"
        )
    ledger = str(run_config.get("ledger", ""))
    run_dir = Path(wanted) if wanted else Path.cwd() / "runs" / f"{name or _name_in(text)}-flower"
    return Order(
        experiment_toml=text,
        run_dir=run_dir,
        resume=bool(run_config.get("resume", False)),
        ledger=Path(ledger) if ledger else None,
    )


def _name_in(text: str) -> str:
    from fedlearn.config import ExperimentConfig

    return ExperimentConfig.from_toml_text(text).name


def _read_experiment(path: str) -> str:
    if not path:
        raise ConfigError("neither experiment nor experiment-toml is given; e.g. -c 'experiment=\"a.toml\"'")
    app_folder = Path(fedlearn.__file__).parent.parent
    for folder in (app_folder, Path.cwd()):
        if (folder / path).is_file():
            return (folder / path).read_text(encoding="utf-8")
    raise ConfigError(f"experiment={path!r} is neither in the app ({app_folder}) nor in {Path.cwd()}")


def main(grid: Grid, context: Context) -> None:
    """Runs the experiment that the run configuration names; a failure is in its directory, too."""
    _log.propagate = False  # a library that configures the root logger would repeat every line
    order = read_order(context.run_config)
    _log.info("fedlearn: run directory %s", order.run_dir)
    with failure.recorded(order.run_dir):
        from fedlearn.experiment import Experiment
        from fedlearn.federation.conduct import conduct

        experiment = Experiment.from_toml_text(order.experiment_toml)
        conduct(grid, experiment, order.run_dir, resume=order.resume, ledger=order.ledger)
    _log.info("fedlearn: finished: %s", order.run_dir / "result.json")


app = ServerApp()
app.main()(main)
