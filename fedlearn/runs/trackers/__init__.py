"""Trackers: where the public scalars of a run may be logged besides its directory.

Guarantee: a tracker is given what :func:`fedlearn.runs.trackers.tracked.public_scalars` lets through:
metrics of the global model, ε, bytes, survivors and time, as the run directory holds them for everyone.
Nothing is about one client: no id, no per-client metric, no reason of a failure, no update.
"""

from __future__ import annotations

from fedlearn.registry import Registry

TRACKERS = Registry(
    "tracker",
    {
        "tensorboard": "fedlearn.runs.trackers.tensorboard:TensorBoard",
        "mlflow": "fedlearn.runs.trackers.mlflow:MLflow",
    },
)
"""Word → ``(directory: Path, name: str) -> Tracker``."""

__all__ = ["TRACKERS"]
