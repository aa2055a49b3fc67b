"""Experiments of the fault table: for five sites and a few records, in the clear, masked and private."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedlearn.config import ExperimentConfig
from fedlearn.experiment import Experiment
from fedlearn.simulation import simulate
from tests.deployment.machines import PATIENCE, model_of
from tests.federation.sites import EXPERIMENT, experiment

LOCAL_STEPS = 1


def masked(rounds: int, **changes: Any) -> ExperimentConfig:
    """Returns an experiment under secure aggregation."""
    data = {**EXPERIMENT["data"], "declared_size": 79}
    return experiment(rounds=rounds, data=data, **{"cohort": {"deadline_seconds": PATIENCE}, **changes})


def private(rounds: int, **changes: Any) -> ExperimentConfig:
    """Returns an experiment under secure aggregation and record-level differential privacy."""
    privacy = {"enabled": True, "noise_multiplier": 20.0, "delta": 1e-3}
    return masked(rounds, privacy=privacy, **changes)


def plain(rounds: int) -> ExperimentConfig:
    """Returns an experiment whose updates arrive in the clear."""
    return masked(
        rounds,
        privacy={"enabled": False},
        secure_aggregation={"enabled": False},
        training={"learning_rate": 0.5, "local_steps": LOCAL_STEPS},
    )


def simulated(config: ExperimentConfig, folder: Path) -> NDArray[np.float32]:
    """Returns the model that the simulation ends with."""
    simulate(Experiment(config=config), out=folder)
    return model_of(folder)
