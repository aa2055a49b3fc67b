"""What a run releases before its first round, each under a run id of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

from fedlearn.config import ExperimentConfig
from fedlearn.errors import PrivacyError

Stage: TypeAlias = Literal["statistics", "pretraining", "synthesis"]


def stage_run(run: str, stage: Stage) -> str:
    """Returns the id under which a stage of a run exchanges messages.

    >>> stage_run("hearts-0", "statistics")
    'hearts-0/statistics'
    """
    return f"{run}/{stage}"


def run_of(request_run: str) -> str:
    """Returns the run that a request belongs to, whichever of its stages it is of.

    >>> run_of("hearts-0/statistics"), run_of("hearts-0")
    ('hearts-0', 'hearts-0')
    """
    # No run's own id has a slash in it.
    return request_run.partition("/")[0]


def stage_of(request_run: str) -> str:
    """Returns the name of the stage that a request belongs to; empty for training itself.

    >>> stage_of("hearts-0/statistics"), stage_of("hearts-0")
    ('statistics', '')
    """
    return request_run.partition("/")[2]


_SHARED = (
    "name",
    "seed",
    "reproducible_noise",
    "data",
    "aggregation",
    "cohort",
    "secure_aggregation",
    "devices",
    "faults",
    "fleet",
)
"""Tables that a federation before the first round shares with its experiment."""


def stage_config(
    config: ExperimentConfig,
    *,
    rounds: int,
    learning_rate: float,
    loss: str,
    epsilon: float | None,
    augmentation: Sequence[dict[str, Any]] = (),
    standardise: str | None = None,
) -> ExperimentConfig:
    """Returns the configuration of a federation before the first round of an experiment.

    Args:
      config: the experiment's.
      rounds: of the stage.
      learning_rate: of its local optimizer.
      loss: what it minimises.
      epsilon: ε that it spends by itself; None: a third of the whole.
      augmentation: what is done to its records.
      standardise: how its inputs are scaled; None: as the experiment's.
    """
    whole = config.model_dump()
    privacy = whole["privacy"] | {
        "epsilon": share_of(config, epsilon, key="epsilon"),
        # The statistics are the experiment's release, and charged there.
        "statistics": "declared",
        "statistics_epsilon": None,
        "statistics_norm": None,
    }
    return ExperimentConfig.from_dict(
        {key: whole[key] for key in _SHARED}
        | {
            "rounds": rounds,
            "data": whole["data"] | ({} if standardise is None else {"standardise": standardise}),
            "training": whole["training"] | {"loss": loss, "learning_rate": learning_rate},
            "remedies": {"augmentation": list(augmentation)},
            "privacy": privacy,
        }
    )


def share_of(config: ExperimentConfig, epsilon: float | None, *, key: str) -> float | None:
    """Returns the ε that a stage spends by itself: what it is given, or a third of the whole.

    None without privacy, and where the noise is given and ε follows from it.

    Raises:
      PrivacyError: it leaves nothing for training.
    """
    whole = config.privacy.epsilon
    if whole is None or not config.privacy.enabled:
        return None
    share = whole / 3.0 if epsilon is None else epsilon
    if share >= whole:
        raise PrivacyError(
            f"{key}={share:g} leaves nothing of privacy.epsilon={whole:g} for training; lower it"
        )
    return share
