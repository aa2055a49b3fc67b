"""What a client computes: local SGD and DP-SGD on one flat parameter vector, and evaluation."""

from __future__ import annotations

from fedlearn.registry import Registry

LOSSES = Registry(
    "loss",
    {
        "cross-entropy": "fedlearn.training.objective:cross_entropy",
        "mse": "fedlearn.training.objective:mean_squared_error",
    },
)
"""Losses: ``(outputs, targets) -> scalar tensor``, the mean over the records of the batch."""

METRICS = Registry(
    "metric",
    {
        "accuracy": "fedlearn.training.metrics:accuracy",
        "precision": "fedlearn.training.metrics:precision",
        "recall": "fedlearn.training.metrics:recall",
        "f1": "fedlearn.training.metrics:f1",
        "auc": "fedlearn.training.metrics:auc",
        "loss": "fedlearn.training.metrics:log_loss",
        "mse": "fedlearn.training.metrics:mean_squared_error",
        "mae": "fedlearn.training.metrics:mean_absolute_error",
        "r2": "fedlearn.training.metrics:r2",
    },
)
"""Metrics: ``(targets, probabilities) -> float`` over a whole test set."""

OPTIMIZERS = Registry(
    "optimizer",
    {
        "sgd": "fedlearn.training.optimizers:sgd",
        "adam": "fedlearn.training.optimizers:adam",
        "adamw": "fedlearn.training.optimizers:adamw",
    },
)
"""Local optimizers: ``(parameters, *, learning_rate, momentum, weight_decay) -> torch.optim.Optimizer``."""

SCHEDULES = Registry(
    "schedule",
    {
        "constant": "fedlearn.training.schedules:constant",
        "cosine": "fedlearn.training.schedules:cosine",
        "linear": "fedlearn.training.schedules:linear",
        "step": "fedlearn.training.schedules:step",
    },
)
"""Schedules: ``(round, rounds) -> factor`` on the learning rate; round counts from 0."""
