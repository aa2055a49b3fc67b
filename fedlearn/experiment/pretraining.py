"""Self-supervised pretraining of an experiment: a federation of its own before the first round.

All parties derive the same experiment from theirs: an autoencoder on the body of the model, trained on the
inputs of all records, labelled or not. What the body has learned starts the training. It is a stage of the
same run: the same clients, protections of the same kind, and one account, so that its ε and that of training
add up.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import nn

from fedlearn._types import Vector
from fedlearn.config import DataConfig, ExperimentConfig
from fedlearn.errors import ConfigError, ModelError
from fedlearn.experiment.before_training import check_values_in_memory, experiment_before
from fedlearn.experiment.client_level import protects_clients
from fedlearn.experiment.population import ClientData
from fedlearn.experiment.stages import share_of, stage_config
from fedlearn.models.autoencoder import Autoencoder
from fedlearn.models.standardised import Standardised
from fedlearn.training.batches import size_of
from fedlearn.training.reconstruction import reconstruction_of

if TYPE_CHECKING:
    from fedlearn.experiment.experiment import Experiment


def pretrains(config: ExperimentConfig) -> bool:
    """Returns whether the experiment pretrains before the first round."""
    return config.remedies.pretraining.rounds > 0


def check_pretraining(config: ExperimentConfig) -> None:
    """Raises what an experiment may not ask of pretraining, with the reason and the way out.

    Raises:
      ConfigError: what pretraining learns could not be used, or clients are the unit of privacy.
      PrivacyError: no ε for pretraining, or none left for training.
    """
    if not pretrains(config):
        return
    tuning = config.remedies.tuning.name
    refusals = {
        f"remedies.tuning.name={tuning!r}: pretraining learns the body, which this freezes; set 'all'":
            tuning != "all",
        "privacy.unit='client': its ε is not calibrated together with training's; set privacy.unit='record'":
            protects_clients(config),
    }  # fmt: skip
    for refusal, refused in refusals.items():
        if refused:
            raise ConfigError(
                f"remedies.pretraining.rounds={config.remedies.pretraining.rounds} and {refusal}"
            )
    share_of(config, config.remedies.pretraining.epsilon, key="remedies.pretraining.epsilon")


def pretraining_of(experiment: Experiment) -> Experiment:
    """Returns the experiment that pretraining is.

    Raises:
      DataError: records that cannot be reconstructed, or clients that only a function describes.
    """
    config, wanted = experiment.config, experiment.config.remedies.pretraining
    check_values_in_memory(experiment.population, remedy="pretraining", does="reconstructs")
    return experiment_before(
        experiment,
        config=stage_config(
            config,
            rounds=wanted.rounds,
            learning_rate=wanted.learning_rate,
            loss="mse",
            epsilon=wanted.epsilon,
            augmentation=[{"name": "noise", "arguments": {"stddev": wanted.noise}}] if wanted.noise else [],
        ),
        model=_autoencoder(experiment),
        data=lambda own: _unlabelled(own, config.data),
    )


def with_learned_body(experiment: Experiment, pretraining: Experiment, params: Vector) -> Vector:
    """Returns the initial parameters of an experiment with the body that pretraining has learned.

    Args:
      experiment: what is trained afterwards.
      pretraining: what was trained before.
      params: its last global vector, constants or not.
    """
    learned, model = pretraining.build_model(), experiment.build_model()
    learned.load(params)
    bodies = {name: p for name, p in learned.module.named_parameters() if "body." in name}
    with torch.no_grad():
        for name, value in bodies.items():
            model.module.get_parameter(name).copy_(value)
    return model.params()


def _unlabelled(data: ClientData, config: DataConfig) -> ClientData:
    # What is declared are the labelled ones; both numbers are public, so all parties derive the same.
    declared = math.ceil(data.declared_size / config.scarcity.labelled_fraction - 1e-9)
    if data.size == 0:
        return replace(data, declared_size=declared)
    records = reconstruction_of([part for part in (data.train, data.unlabelled) if part is not None])
    size = size_of(records, client="pretraining")
    return ClientData(train=records, test=None, size=size, declared_size=declared)


def _autoencoder(experiment: Experiment) -> Callable[[], nn.Module]:
    """Returns what builds the body of the experiment's model, and a decoder of one layer on it."""

    def build() -> nn.Module:
        module = experiment.build_model().module
        model = module.model if isinstance(module, Standardised) else module
        body = getattr(model, "body", None)
        if not isinstance(body, nn.Module):
            raise ModelError(
                f"{type(model).__name__} has no 'body' that pretraining could learn; build the model as"
                " fedlearn.models.classifier.Classifier(body=…, head=…)"
            )
        record = torch.zeros(1, *experiment.population.record_shape)
        with torch.no_grad():
            features = body(record)
        if features.dim() != 2:
            raise ModelError(
                f"the body of {type(model).__name__} makes features of shape {tuple(features.shape[1:])};"
                " a decoder needs rows"
            )
        return Autoencoder(body=body, head=nn.Linear(features.shape[1], record.numel()))

    return build
