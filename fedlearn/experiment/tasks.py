"""Multi-task learning: every client has the head and the loss of its task, and only the body is shared.

An experiment with tasks has a part for each: the same experiment with that task's head, loss and metrics.
Heads are layers that stay at their clients, so that they may have any number of outputs; what travels has one
length, and masks, rings and noise know nothing of tasks.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

from torch import nn

from fedlearn.config import ExperimentConfig
from fedlearn.errors import ConfigError, ModelError
from fedlearn.models.classifier import Classifier


def check_tasks(config: ExperimentConfig) -> None:
    """Raises ConfigError for tasks without heads of their own, or beside what judges one model of all."""
    if not config.tasks:
        return
    if not config.model.local_layers:
        raise ConfigError(
            "tasks without model.local_layers: heads of different tasks cannot be averaged; set"
            " model.local_layers=['head.*']"
        )
    if config.personalisation.enabled:
        raise ConfigError(
            "tasks with personalisation.enabled: it compares a client's models with one of all clients, and"
            " tasks have none; leave it out: heads are each client's own already"
        )


def task_of(config: ExperimentConfig, client: str) -> str:
    """Returns the task of a client; raises ConfigError unless it has exactly one."""
    fitting = [
        name
        for name, task in config.tasks.items()
        if any(fnmatchcase(client, pattern) for pattern in task.clients)
    ]
    if len(fitting) != 1:
        raise ConfigError(
            f"client {client!r} has {len(fitting)} tasks ({', '.join(fitting) or 'none'}) of"
            f" {', '.join(config.tasks)}; each needs exactly one: see tasks.NAME.clients"
        )
    return fitting[0]


def with_single_output(module: nn.Module) -> nn.Module:
    """Returns a classifier of two classes with a head of one output: for regression of one target.

    Raises:
      ModelError: it has no head.
    """
    if not isinstance(module, Classifier):
        raise ModelError(
            f"{type(module).__name__} has no head to give one output; use a model of body and head, or"
            " outputs=2"
        )
    module.head = nn.Linear(module.head.in_features, 1)
    return module


def config_of_task(config: ExperimentConfig, name: str) -> ExperimentConfig:
    """Returns the configuration of one task's part."""
    task = config.tasks[name]
    model, training = config.model.model_dump(), config.training.model_dump()
    model["arguments"] = {**model["arguments"], "classes": task.outputs}
    training["loss"] = task.loss
    return config.with_settings(tasks={}, model=model, training=training, metrics=list(task.metrics))
