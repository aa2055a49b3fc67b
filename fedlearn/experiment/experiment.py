"""An experiment: a configuration and, where the user has own parts, these objects."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from fedlearn._types import Vector
from fedlearn.aggregators import AGGREGATORS
from fedlearn.aggregators.accumulator import Aggregator
from fedlearn.algorithms import ALGORITHMS
from fedlearn.algorithms.local_rule import LocalRule, rule_of
from fedlearn.algorithms.state import Algorithm
from fedlearn.compression.compressor import Compressor
from fedlearn.config import ExperimentConfig
from fedlearn.errors import ConfigError
from fedlearn.experiment.checks import check_data, check_model, check_parts
from fedlearn.experiment.cohorts import cohort_of
from fedlearn.experiment.compression import compressor_of
from fedlearn.experiment.kept import KeptParts, check_personal
from fedlearn.experiment.modules import ModelSource, own_module, registered_module
from fedlearn.experiment.pace import check_fleet
from fedlearn.experiment.population import (
    HeldOut,
    Population,
    from_data_set,
    from_objects,
    load_data_set,
)
from fedlearn.experiment.remedies import (
    augmentations_of,
    initialisation_of,
    kind_of,
    loss_of,
    penalties_of,
    tuning_of,
    weights_of,
)
from fedlearn.experiment.reserved import reserve
from fedlearn.experiment.statistics import features_of, is_federated
from fedlearn.experiment.tasks import config_of_task, task_of
from fedlearn.fleet import Fleet
from fedlearn.models.standardised import Standardised
from fedlearn.remedies.initialisation import Weights, start
from fedlearn.remedies.tuning import Tuning
from fedlearn.training import METRICS, OPTIMIZERS, SCHEDULES
from fedlearn.training.batches import RecordSet
from fedlearn.training.devices import on_processor
from fedlearn.training.local import Recipe, Workbench
from fedlearn.training.memory import Memory
from fedlearn.training.metrics import Metric
from fedlearn.training.objective import Loss
from fedlearn.training.split import Split
from fedlearn.training.vector import FlatModel


@dataclass(frozen=True, kw_only=True, eq=False)
class Experiment:
    """What every engine runs: in one process, over Flower, or on real sites.

    Parts that the configuration names are resolved when the experiment is made, so that a
    misspelt name or two parts that exclude each other are errors before anything is loaded.

    Attributes:
      config: the configuration.
      model: an own model: a module, or a callable that builds one; None takes ``config.model``.
      clients: own data: client id → map-style data set of (inputs, target); None takes ``config.data``.
      test: own held-out data, of all or by client id; with ``clients`` only.
      loss: an own loss ``(outputs, targets) -> mean over the batch``; None takes ``training.loss``.
      metrics: own metrics by name, ``(targets, probabilities) -> float``; None takes ``config.metrics``.
      fleet: own machines, with ``config.fleet.enabled``: how fast clients are and when they are online;
        None takes ``config.fleet``.
      known: the population as one party of a federation of sites knows it: others' sizes, its own
        records at most. The data set's name is then a label, and nothing is loaded.

    Raises:
      UnknownName: a part that is neither registered nor importable.
      ConfigError: an argument that a part does not take, or parts that do not go together.
    """

    config: ExperimentConfig
    model: ModelSource | None = None
    clients: Mapping[str, RecordSet] | None = None
    test: HeldOut = None
    loss: Loss | None = None
    metrics: Mapping[str, Metric] | None = field(default=None)
    fleet: Fleet | None = None
    known: Population | None = None

    def __post_init__(self) -> None:
        if self.test is not None and self.clients is None:
            raise ConfigError("test is given without clients; give both, or name a data set")
        if self.clients is None and self.known is None:
            check_data(self.config.data)
        if self.model is None:
            check_model(self.config, own_records=self.clients is not None)
        check_fleet(self.config, own=self.fleet is not None)
        check_parts(self.config, rule=self.local_rule, aggregator=self.aggregator, compressor=self.compressor)
        check_personal(self.config, known=self.known)
        _ = self.aggregator, self.algorithm, self.recipe, self.metric_functions, self.tuning
        initialisation_of(self.config)

    @classmethod
    def from_toml(cls, path: str | Path, *, settings: Sequence[str] = (), **objects: Any) -> Self:
        """Returns the experiment in a TOML file.

        Args:
          path: the file.
          settings: ``"key=value"`` lines laid over it, e.g. ``"privacy.epsilon=1.0"``.
          objects: own parts: ``model``, ``clients``, ``test``, ``loss``, ``metrics``, ``fleet``.
        """
        return cls(config=ExperimentConfig.from_toml(path, settings=settings), **objects)

    @classmethod
    def from_toml_text(cls, text: str, **objects: Any) -> Self:
        """Returns the experiment written in TOML."""
        return cls(config=ExperimentConfig.from_toml_text(text), **objects)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], **objects: Any) -> Self:
        """Returns the experiment of a nested mapping, as TOML would hold it."""
        return cls(config=ExperimentConfig.from_dict(values), **objects)

    def to_toml(self) -> str:
        """Returns the resolved configuration; own objects are not in it."""
        return self.config.to_toml()

    @property
    def has_objects(self) -> bool:
        """Whether own objects take part, which TOML alone cannot bring back."""
        own = (self.model, self.clients, self.test, self.loss, self.metrics, self.fleet)
        return any(part is not None for part in own)

    @property
    def dataset_id(self) -> str:
        """The name under which the records have a budget: that of the data set, or ``"objects"``."""
        return self.config.data.dataset or "objects"

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the resolved configuration, hex: what a checkpoint belongs to."""
        return hashlib.sha256(self.to_toml().encode()).hexdigest()

    @cached_property
    def population(self) -> Population:
        """The clients and what they hold; loaded on first use.

        Raises:
          DataError: files are missing, records malformed, a client left without any, or records that an
            augmentation does not fit.
        """
        population = self._population()
        if self.recipe.augmentations:
            self.recipe.augmentations.check_kind(kind_of(population))
        return population

    def _population(self) -> Population:
        if self.known is not None:
            return self.known
        if self.clients is not None:
            made = from_objects(self.clients, self.test, self.config.data)
            return reserve(made, self.config, own_test=self.test is not None)
        made = from_data_set(
            load_data_set(self.config.data),
            self.config.data,
            seed=self.config.seed,
            batch_size=self.config.training.batch_size,
        )
        return reserve(made, self.config, own_test=False)

    @cached_property
    def algorithm(self) -> Algorithm:
        """What the server does with the aggregate."""
        wanted = self.config.algorithm
        offered = {"share": self.config.cohort.fraction}
        algorithm: Algorithm = ALGORITHMS.build(wanted.name, wanted.arguments, offered)
        return algorithm

    @cached_property
    def local_rule(self) -> LocalRule:
        """What the clients do for the algorithm."""
        return rule_of(self.algorithm)

    @cached_property
    def aggregator(self) -> Aggregator:
        """How the updates of a round are combined."""
        part: Aggregator = AGGREGATORS.build(self.config.aggregation.name, self.config.aggregation.arguments)
        return part

    @cached_property
    def compressor(self) -> Compressor | None:
        """What makes updates shorter; None if they are sent whole."""
        return compressor_of(self.config)

    @cached_property
    def recipe(self) -> Recipe:
        """How every client trains."""
        training = self.config.training
        return Recipe(
            optimizer=OPTIMIZERS.resolve(training.optimizer),
            learning_rate=training.learning_rate,
            momentum=training.momentum,
            weight_decay=training.weight_decay,
            schedule=SCHEDULES.resolve(training.schedule),
            rounds=self.config.rounds,
            loss=loss_of(self.config, self.loss),
            augmentations=augmentations_of(self.config),
            penalties=penalties_of(self.config, proximal=self.algorithm.proximal),
            clipping=training.clipping,
        )

    @cached_property
    def metric_functions(self) -> dict[str, Metric]:
        """Metrics by name."""
        if self.metrics is not None:
            return dict(self.metrics)
        last = [name.rpartition(":")[2] for name in self.config.metrics]
        # Two own metrics of one name, from two modules, keep their paths.
        labels = [
            short if last.count(short) == 1 else name
            for short, name in zip(last, self.config.metrics, strict=True)
        ]
        return {label: METRICS.resolve(name) for label, name in zip(labels, self.config.metrics, strict=True)}

    @cached_property
    def tuning(self) -> Tuning:
        """Which parameters are trained."""
        return tuning_of(self.config)

    @cached_property
    def initial_weights(self) -> Weights | None:
        """Public weights that the model starts from; None for random ones."""
        return weights_of(self.config)

    def build_model(self) -> FlatModel:
        """Returns a new model with the initial parameters, which seed and public weights alone decide.

        Raises:
          ModelError: a layer that cannot be trained this way, or public weights of another model; names
            the layers.
          ConfigError: an own model that cannot be built, or weights that cannot be read.
        """
        if self.config.tasks:
            return self.part(next(iter(self.config.tasks))).build_model()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            module = self._module()
            if self.initial_weights is not None:
                start(module, self.initial_weights, part=self.config.remedies.initial.part)
            module = self.tuning.apply(module)
        if is_federated(self.config):
            module = Standardised(module, features=features_of(self.population))
        return FlatModel(module)

    def workbench(self) -> Workbench:
        """Returns a new workbench on the CPU, in the precision asked for."""
        return Workbench(self.build_model(), self.recipe, device=on_processor(self.config.devices))

    def count_parameters(self) -> int:
        """Returns the number of trainable parameters, without the memory that they would take.

        With tasks, of those that all share.

        Raises:
          ConfigError: the model cannot be built.
        """
        if self.config.tasks:
            return self.split.shared
        with torch.device("meta"):
            module = self.tuning.apply(self._module())
            return sum(p.numel() for p in module.parameters() if p.requires_grad)

    def _module(self) -> nn.Module:
        if self.model is None:
            return registered_module(self.config, self.population)
        return own_module(self.model)

    def part(self, task: str) -> Experiment:
        """Returns one task's part: the same experiment with its head, loss and metrics."""
        if task not in self._parts:
            self._parts[task] = replace(
                self,
                config=config_of_task(self.config, task),
                clients=None,
                test=None,
                loss=None,
                metrics=None,
                known=self.population,
            )
        return self._parts[task]

    def part_of(self, client: str) -> Experiment:
        """Returns the part of a client's task; the experiment itself without tasks.

        Raises:
          ConfigError: the client has no task or several, or the task's body is not the one that all share.
        """
        if not self.config.tasks:
            return self
        part = self.part(task_of(self.config, client))
        if part.split.shared != self.split.shared:
            raise ConfigError(
                f"client {client!r}: its task shares {part.split.shared} parameters, others"
                f" {self.split.shared}; name what differs in model.local_layers"
            )
        return part

    @cached_property
    def _parts(self) -> dict[str, Experiment]:
        return {}

    @cached_property
    def initial_params(self) -> Vector:
        """The whole model before the first round, shape (d,), float32."""
        return self.build_model().params()

    @cached_property
    def split(self) -> Split:
        """Which coordinates of the model travel; all, unless ``model.local_layers`` names some."""
        return Split.of(self.build_model(), self.config.model.local_layers)

    def kept(self, memory: Memory) -> KeptParts:
        """Returns what stays at the clients of a run."""
        return KeptParts(rule=self.local_rule, split=self.split, initial=self.initial_params, memory=memory)

    @property
    def initial_constants(self) -> Vector:
        """The constants behind it that change nothing: center 0, spread 1; empty without federated ones."""
        if not is_federated(self.config):
            return np.zeros(0, dtype=np.float32)
        features = features_of(self.population)
        return np.repeat(np.array([0.0, 1.0], dtype=np.float32), features)

    def whole_state(self, model: FlatModel) -> Mapping[str, Tensor]:
        """Returns the state of a model under the names of the untuned one, frozen parameters included."""
        return self.tuning.whole_state(model.module)

    def cohort(self, round: int) -> tuple[str, ...]:
        """Returns the clients of a round, sorted; decided by seed and round alone."""
        return cohort_of(self.config, self.population.names, round)
