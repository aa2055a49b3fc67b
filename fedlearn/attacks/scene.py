"""The experiment under attack, and what it lets be seen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Subset

from fedlearn._types import Vector
from fedlearn.errors import ConfigError
from fedlearn.experiment import Experiment
from fedlearn.privacy.events import Event
from fedlearn.rounds.transport import Lost, Message, Transport
from fedlearn.runs.attack_report import AttackReport
from fedlearn.training.batches import RecordSet, fetch


@dataclass(frozen=True, kw_only=True)
class Transcript:
    """All that the server of one round sees of the updates.

    Attributes:
      received: client → the vector that it sent, shape (d,), as reals: its update, or what the ring
        elements decode to, which under masks is noise.
      aggregate: the weighted mean over the survivors, shape (d,); None if the round failed.
    """

    received: Mapping[str, NDArray[np.float64]] = field(repr=False)
    aggregate: Vector | None = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a recipient of the model has.

    Attributes:
      params: the final model, shape (d,).
      epsilon: what the run is accounted at; None without DP.
      delta: δ of that ε.
      events: what the client that spent most has released, if its records are what is protected.
    """

    params: Vector = field(repr=False)
    epsilon: float | None
    delta: float
    events: tuple[Event, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Scene:
    """An experiment and the means to run it, on its own records or on some of them.

    Attributes:
      experiment: as configured, protections included.
      play: runs one round from given parameters through the real protocol.
      train: runs all rounds.
    """

    experiment: Experiment
    play: Callable[[Experiment, Vector], Transcript] = field(repr=False)
    train: Callable[[Experiment], Trained] = field(repr=False)

    def held(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Returns each client's training records as (inputs, targets): the truth to compare with."""
        clients = self.experiment.population.clients
        return {name: fetch(data.train, np.arange(data.size)) for name, data in clients.items()}

    def public(self) -> Tensor:
        """Returns the inputs of the test set, which the adversary is taken to know.

        Raises:
          ConfigError: the experiment has none.
        """
        return self.public_records()[0]

    def public_records(self) -> tuple[Tensor, Tensor]:
        """Returns the test set as (inputs, targets).

        Raises:
          ConfigError: the experiment has none.
        """
        test = self.experiment.population.test
        if test is None:
            raise ConfigError("an attack is scored against public records: give the experiment a test set")
        return fetch(test, np.arange(len(test)))  # type: ignore[arg-type]  # torch types no __len__


class Attack(Protocol):
    """One way to learn about records."""

    def run(self, scene: Scene, *, rng: np.random.Generator) -> AttackReport:
        """Attacks the experiment.

        Raises:
          ConfigError: the attack does not fit the model or the data; says why.
        """
        ...


class Wiretap:
    """A transport that notes every vector on its way to the server: the server's view of a round."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.vectors: dict[str, NDArray[Any]] = {}

    def exchange(
        self, requests: Iterable[Message], *, deadline: float | None = None
    ) -> Iterator[Message | Lost]:
        """Yields the answers of the transport below, unchanged."""
        for answer in self._transport.exchange(requests, deadline=deadline):
            if isinstance(answer, Message) and answer.vectors:
                # Copied: the server may unmask or add in place.
                self.vectors[answer.client] = answer.vectors[0].copy()
            yield answer


def with_records(
    experiment: Experiment, chosen: Mapping[str, NDArray[np.int64]], **sections: Any
) -> Experiment:
    """Returns the experiment with each client cut down to some of its training records.

    Args:
      experiment: the original; model, loss, metrics and protections stay.
      chosen: client → indices into its training records; the others leave the federation.
      sections: configuration sections to replace besides.
    """
    held = experiment.population.clients
    cut: dict[str, RecordSet] = {
        name: Subset(held[name].train, indices.tolist()) for name, indices in chosen.items()
    }
    return with_clients(experiment, cut, **sections)


def with_clients(experiment: Experiment, clients: Mapping[str, RecordSet], **sections: Any) -> Experiment:
    """Returns the experiment with other clients, who hold these records.

    Args:
      experiment: the original; test set, model, loss, metrics and protections stay.
      clients: client → its training records.
      sections: configuration sections to replace besides.
    """
    population = experiment.population
    arguments = dict(experiment.config.model.arguments)
    if population.classes is not None:
        arguments.setdefault("classes", population.classes)
    if population.vocabulary is not None:
        arguments.setdefault("vocabulary", population.vocabulary)
    data = {**experiment.config.data.model_dump(), "declared_size": None}
    config = experiment.config.with_settings(
        data=data,
        model={
            "name": experiment.config.model.name,
            "arguments": {} if experiment.model is not None else arguments,
        },
        **sections,
    )
    return replace(experiment, config=config, clients=dict(clients), test=population.test, known=None)


def one_step(experiment: Experiment, *, records: int, rng: np.random.Generator) -> tuple[Experiment, Tensor]:
    """Returns the experiment cut down to one step of plain SGD on few records, and these records.

    What an attacker hopes for: a client whose whole update is one gradient. The protections stay.

    Args:
      experiment: the original.
      records: per client, at least 1; a client with fewer gives all of its.
      rng: draws which.
    """
    clients = experiment.population.clients
    chosen = {
        name: np.sort(rng.choice(data.size, size=min(records, data.size), replace=False))
        for name, data in clients.items()
    }
    training = experiment.config.training.model_dump()
    training.update(
        optimizer="sgd", momentum=0.0, weight_decay=0.0, local_steps=1, epochs=None, batch_size=None
    )
    cut = with_records(
        experiment,
        chosen,
        training={**training, "sample_rate": None},
        cohort={**experiment.config.cohort.model_dump(), "fraction": 1.0},
    )
    truth = torch.cat([fetch(clients[name].train, indices)[0] for name, indices in chosen.items()])
    return cut, truth


def gradient_of(update: NDArray[Any], experiment: Experiment) -> NDArray[np.float64]:
    """Returns the gradient that one step of plain SGD turned into the update of round 0."""
    recipe = experiment.recipe
    rate = recipe.learning_rate * recipe.schedule(0, recipe.rounds)
    return -np.asarray(update, dtype=np.float64) / rate
