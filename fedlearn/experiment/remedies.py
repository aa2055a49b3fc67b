"""The remedies of an experiment: resolved by name, and checked against what they are combined with."""

from __future__ import annotations

from typing import Any

import torch

from fedlearn.config import ExperimentConfig, RemedyConfig
from fedlearn.errors import ConfigError
from fedlearn.experiment.population import Population
from fedlearn.experiment.shared import shares_noise
from fedlearn.registry import Registry
from fedlearn.remedies import AUGMENTATIONS, INITIALISATIONS, PENALTIES, TUNINGS
from fedlearn.remedies.augmentation import Augmentations
from fedlearn.remedies.initialisation import Initialisation, Weights, check_digest
from fedlearn.remedies.penalties.penalty import Penalty
from fedlearn.remedies.penalties.proximal import Proximal
from fedlearn.remedies.tuning import Tuning
from fedlearn.training import LOSSES
from fedlearn.training.objective import Loss, SmoothedCrossEntropy, cross_entropy


def augmentations_of(config: ExperimentConfig) -> Augmentations:
    """Returns what is done to the records of a step.

    Raises:
      ConfigError: an unknown augmentation or argument, or several views of nothing that changes.
      PrivacyError: one that mixes records, under record-level privacy.
    """
    remedies = config.remedies
    chain = Augmentations.of(_built(AUGMENTATIONS, remedies.augmentation), views=remedies.views)
    if config.privacy.enabled and config.privacy.unit == "record":
        chain.check_record_privacy()
    return chain


def penalties_of(config: ExperimentConfig, *, proximal: float) -> tuple[Penalty, ...]:
    """Returns the terms on the parameters: those of the configuration, and the algorithm's proximal one.

    Raises:
      ConfigError: an unknown penalty or argument, or noise that the cohort shares.
    """
    named: list[Penalty] = _built(PENALTIES, config.remedies.penalties)
    if named and shares_noise(config):
        raise ConfigError(
            "privacy.noise='distributed' and remedies.penalties: the server takes the step, clients send"
            " gradients of their records alone; leave penalties out, or set privacy.noise='local'"
        )
    return (*named, *((Proximal(strength=proximal),) if proximal > 0 else ()))


def loss_of(config: ExperimentConfig, own: Loss | None) -> Loss:
    """Returns the loss of a batch, with smoothed labels if the experiment asks for them.

    Raises:
      UnknownName: no such loss.
      ConfigError: smoothed labels for a loss that is no cross-entropy.
    """
    loss: Loss = own or LOSSES.resolve(config.training.loss)
    smoothing = config.remedies.label_smoothing
    if smoothing == 0:
        return loss
    if loss is not cross_entropy:
        named = "an own loss" if own else f"training.loss={config.training.loss!r}"
        raise ConfigError(
            f"remedies.label_smoothing={smoothing:g} spreads the targets of cross-entropy; {named} has no"
            " classes to spread them over: leave it out"
        )
    return SmoothedCrossEntropy(smoothing=smoothing)


def tuning_of(config: ExperimentConfig) -> Tuning:
    """Returns which parameters are trained; raises ConfigError for an unknown tuning or argument."""
    tuning: Tuning = TUNINGS.build(config.remedies.tuning.name, config.remedies.tuning.arguments)
    return tuning


def initialisation_of(config: ExperimentConfig) -> Initialisation | None:
    """Returns where weights come from, if they come from anywhere; nothing is read.

    Raises:
      ConfigError: an unknown initialisation or argument, or a key that needs one.
    """
    initial = config.remedies.initial
    if initial.name is None:
        if initial.part or initial.sha256 or initial.arguments:
            raise ConfigError(
                "remedies.initial.name is missing: say how the weights are read, as 'safetensors'"
            )
        return None
    built: Initialisation = INITIALISATIONS.build(initial.name, initial.arguments)
    return built


def weights_of(config: ExperimentConfig) -> Weights | None:
    """Returns the weights to start from, None for random ones; checks the digest that is pinned.

    Raises:
      ConfigError: they cannot be read, or are not the ones that the experiment pins.
    """
    initialisation = initialisation_of(config)
    if initialisation is None:
        return None
    weights = initialisation.weights()
    check_digest(weights, config.remedies.initial.sha256)
    return weights


def kind_of(population: Population) -> str:
    """Returns the kind of the records: ``text`` (tokens), ``image`` (three axes) or ``tabular``."""
    if population.vocabulary is not None:
        return "text"
    if population.shape is None:
        first = next(data.train for data in population.clients.values() if data.size)
        if not torch.as_tensor(first[0][0]).is_floating_point():
            return "text"
    return "image" if len(population.record_shape) == _IMAGE_AXES else "tabular"


_IMAGE_AXES = 3


def _built(registry: Registry, wanted: list[RemedyConfig]) -> list[Any]:
    return [registry.build(part.name, part.arguments) for part in wanted]
