"""The module of an experiment: an own one, or the registered one fitted to the records."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TypeAlias

from torch import nn

from fedlearn.config import ExperimentConfig
from fedlearn.errors import ConfigError, FedLearnError
from fedlearn.experiment.population import Population
from fedlearn.experiment.tasks import with_single_output
from fedlearn.models import MODELS

ModelSource: TypeAlias = nn.Module | Callable[[], nn.Module]


def own_module(source: ModelSource) -> nn.Module:
    """Returns a new module: a copy of the one that is given, or what the callable builds.

    Raises:
      ConfigError: the callable fails, or gives something else.
    """
    try:
        module = copy.deepcopy(source) if isinstance(source, nn.Module) else source()
    except FedLearnError:
        raise
    except Exception as error:
        raise ConfigError(f"the model could not be built: {type(error).__name__}: {error}") from error
    if not isinstance(module, nn.Module):
        raise ConfigError(
            f"model gave a {type(module).__name__}; give an nn.Module or a callable that builds one"
        )
    return module


def registered_module(config: ExperimentConfig, population: Population) -> nn.Module:
    """Returns a new module of the name in ``config.model``, for the records of the population.

    Raises:
      ConfigError: the number of classes is not known.
    """
    name, arguments = config.model.name, dict(config.model.arguments)
    classes = arguments.pop("classes", population.classes)
    if classes is None:
        raise ConfigError(f"model {name!r} needs model.arguments.classes with data given as objects")
    if population.vocabulary is not None:
        arguments.setdefault("vocabulary", population.vocabulary)
    # A regression of one target has one output, where a classifier of two classes has two.
    single = classes == 1 and config.training.loss != "cross-entropy"
    module: nn.Module = MODELS.build(
        name, arguments, shape=population.record_shape, classes=2 if single else classes
    )
    return with_single_output(module) if single else module
