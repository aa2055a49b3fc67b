"""Runs in an MLflow tracking store."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

from fedlearn._extras import extra

_TAG = "fedlearn.directory"


class MLflow:
    """Logs to the store that ``MLFLOW_TRACKING_URI`` names, else to ``mlflow.db`` beside the run directory.

    A run that is taken up again goes on in the MLflow run that its directory had.

    Args:
      directory: the run directory.
      name: of the experiment, there and here.

    Raises:
      MissingExtra: MLflow is not installed.
    """

    def __init__(self, directory: Path, name: str) -> None:
        # MLflow reports its own use unless it is told not to before its first import.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        with extra("mlflow"):
            from mlflow.tracking import MlflowClient
        default = f"sqlite:///{directory.resolve().parent / 'mlflow.db'}"
        directory.resolve().parent.mkdir(parents=True, exist_ok=True)
        self._client = MlflowClient(tracking_uri=os.environ.get("MLFLOW_TRACKING_URI", default))
        self._run: str = self._taken_up(directory, name)

    def _taken_up(self, directory: Path, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        experiment = self._client.create_experiment(name) if found is None else found.experiment_id
        where = str(directory.resolve())
        runs = self._client.search_runs(
            [experiment], filter_string=f"tags.`{_TAG}` = '{where}'", max_results=1
        )
        if runs and (directory / "checkpoint").exists():
            return str(runs[0].info.run_id)
        run = self._client.create_run(experiment, run_name=directory.name, tags={_TAG: where})
        return str(run.info.run_id)

    def log(self, scalars: Mapping[str, float], *, round: int) -> None:
        """Adds a point to each curve, in one transaction."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(name, value, timestamp=now, step=round) for name, value in scalars.items()]
        self._client.log_batch(self._run, metrics=metrics)

    def close(self) -> None:
        """Marks the run as finished."""
        self._client.set_terminated(self._run)
