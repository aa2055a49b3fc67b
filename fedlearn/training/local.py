"""A client's round of training: from the global vector to an update."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedlearn._types import Vector
from fedlearn.crypto.noise import NoiseSource
from fedlearn.errors import ConfigError, ModelError
from fedlearn.remedies.augmentation import Augmentations
from fedlearn.remedies.penalties.penalty import Penalty
from fedlearn.stopwatch import timed
from fedlearn.training.augmented import mean_loss
from fedlearn.training.batches import Deferred, RecordSet, StepPlan, fetch, fetched, placed
from fedlearn.training.clipping import Clipping
from fedlearn.training.devices import PROCESSOR, Device, LossScale, seeded
from fedlearn.training.hidden_state import check_no_hidden_state
from fedlearn.training.memory_format import channels_last, prefers_channels_last
from fedlearn.training.objective import Loss
from fedlearn.training.optimizers import PlainSgd, Stepping
from fedlearn.training.record_privacy import RecordPrivacy, poisson_sample
from fedlearn.training.vector import FlatModel

if TYPE_CHECKING:
    from fedlearn.training.private import PrivateGradient

Batch = TypeVar("Batch")
OptimizerFactory = Callable[..., Stepping]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How every client of an experiment trains; the same object at all of them.

    Attributes:
      optimizer: builds the local optimizer (see ``fedlearn.training.OPTIMIZERS``).
      learning_rate: step size before the schedule.
      momentum: momentum of the optimizer, if it has one.
      weight_decay: L2 penalty.
      schedule: ``(round, rounds) -> factor`` on the learning rate.
      rounds: number of rounds of the experiment.
      loss: mean loss of a batch.
      augmentations: what is done to the records of a step.
      penalties: terms on the parameters, added to every gradient.
      clipping: how per-record gradients are clipped, under record-level DP.
    """

    optimizer: OptimizerFactory
    learning_rate: float
    momentum: float
    weight_decay: float
    schedule: Callable[[int, int], float]
    rounds: int
    loss: Loss
    augmentations: Augmentations = field(default_factory=Augmentations)
    penalties: tuple[Penalty, ...] = ()
    clipping: Clipping = "auto"

    def learning_rate_of(self, round: int) -> float:
        """Returns this round's step size."""
        return self.learning_rate * self.schedule(round, self.rounds)

    def build_optimizer(self, parameter: torch.nn.Parameter, round: int) -> Stepping:
        """Returns a fresh optimizer over the flat parameter, at this round's learning rate."""
        rate = self.learning_rate_of(round)
        return self.optimizer(
            [parameter], learning_rate=rate, momentum=self.momentum, weight_decay=self.weight_decay
        )


class Workbench:
    """One model and its buffers, on which any number of clients train in turn.

    Nothing that a client has trained stays on it: parameters are overwritten, optimizers start afresh,
    gradients are zeroed. One workbench serves one thread at a time. Its device is opened when the first
    client trains, in the process where it does.

    Attributes:
      model: the model.
      recipe: how it is trained.
      device: where, and in which precision; set anew before the first client trains, if at all.
    """

    def __init__(self, model: FlatModel, recipe: Recipe, *, device: Device = PROCESSOR) -> None:
        self.model = model
        self.recipe = recipe
        self.device = device
        self._seen_stateless = False
        self._channels_last: bool | None = None
        self._placed: dict[int, tuple[RecordSet, RecordSet]] = {}

    def open(self) -> torch.device:
        """Returns the device with the model on it."""
        device = self.device.opened()
        self.model.move_to(device)
        return device

    def placed(self, dataset: RecordSet) -> RecordSet:
        """Returns the records on the device, which keeps them unless they are made for each use."""
        if isinstance(dataset, Deferred):
            return placed(dataset.load(), self.model.device)
        if not self.device.is_gpu:
            return dataset
        if id(dataset) not in self._placed:
            # The original stays beside the copy, so that its identity is not given to another one.
            self._placed[id(dataset)] = dataset, placed(dataset, self.model.device)
        return self._placed[id(dataset)][1]

    def _check_stateless(self, inputs: Tensor) -> None:
        """Raises ModelError if the model keeps state outside its parameters; looks once."""
        if not self._seen_stateless:
            check_no_hidden_state(self.model.module, inputs)
            self._seen_stateless = True

    @timed("training")
    def descend(
        self,
        params: Vector,
        *,
        round: int,
        batches: Iterator[Batch],
        gradient: Callable[[Batch], bool],
        offset: Vector | None = None,
        anchor: Vector | None = None,
        gathered: bool = True,
    ) -> Vector:
        """Returns local − global, shape (d,), float32, after one optimizer step per batch.

        Args:
          params: the global vector, shape (d,), float32, and behind it the constants that the model
            carries, if any; not changed.
          round: round, counted from 0.
          batches: the records of each step, as ``gradient`` takes them.
          gradient: writes the gradient for the records of a step over the model's gradient buffer, or
            leaves it at the parameters; returns whether the step is to be taken.
          offset: what an algorithm adds to every gradient, shape (d,), float32; after the noise of
            record-level DP, as it depends on no record of this round.
          anchor: what the recipe's proximal term pulls towards, shape (d,), float32; None: the start.
          gathered: whether ``gradient`` writes into the buffer.

        Raises:
          ModelError: parameters became NaN or infinite.
        """
        self.open()
        model = self.model
        model.load(params)
        step = self._step(round, offset=offset, anchor=anchor, gathered=gathered)
        model.module.train()
        for batch in batches:
            if gradient(batch):
                step()
        update: Vector = np.subtract(model.values.cpu().numpy(), params[: model.dimension])
        # The square of the norm is finite, unless a coordinate is not, or is one that no training reaches.
        with np.errstate(all="ignore"):
            diverged = not np.isfinite(np.dot(update, update))
        if diverged:
            raise ModelError(
                f"round {round}: training diverged (parameters are NaN or infinite);"
                f" lower training.learning_rate={self.recipe.learning_rate}"
            )
        return update

    def _step(
        self, round: int, *, offset: Vector | None, anchor: Vector | None, gathered: bool
    ) -> Callable[[], None]:
        """Returns what moves the loaded model by the gradient of a step."""
        model, penalties = self.model, self.recipe.penalties
        flat = torch.nn.Parameter(model.values)
        flat.grad = model.gradient
        optimizer = self.recipe.build_optimizer(flat, round)
        factor = optimizer.factor if isinstance(optimizer, PlainSgd) else None
        if factor is not None and offset is None and not penalties and not gathered:
            return partial(model.move, factor)
        start = self._start(anchor) if penalties else model.values
        added = None if offset is None else self._on_device(offset)

        def step() -> None:
            if not gathered:
                model.gather_gradient()
            if added is not None:
                model.gradient.add_(added)
            for penalty in penalties:
                penalty.add_gradient(model.gradient, model.values, start)
            optimizer.step()

        return step

    def _start(self, anchor: Vector | None) -> Tensor:
        return self.model.values.clone() if anchor is None else self._on_device(anchor)

    def _on_device(self, vector: Vector) -> Tensor:
        # A copy, as the vector may lie in memory that is read-only here.
        return torch.tensor(vector, device=self.model.values.device)

    @cached_property
    def private_gradient(self) -> PrivateGradient:
        """The gradient of record-level DP-SGD on this model; made, with its hooks, on first use."""
        # Opacus takes two seconds and 100 MB to import; who trains without privacy has no use for it.
        from fedlearn.training.private import PrivateGradient

        recipe = self.recipe
        return PrivateGradient(
            self.model,
            recipe.loss,
            clipping=recipe.clipping,
            views=recipe.augmentations.views,
            device=self.device,
        )

    @cached_property
    def _forward(self) -> Callable[[Tensor], Tensor]:
        """The model as it is called without privacy: compiled if it is to be."""
        if not self.device.compile:
            return self.model.module
        # Workers compile at the same time, one per core: more threads would only disturb each other.
        os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
        compiled: Callable[[Tensor], Tensor] = torch.compile(self.model.module)
        return compiled

    def _outputs(self, inputs: Tensor) -> Tensor:
        """Returns what the model makes of some records, which lie as it computes them fastest."""
        if self._channels_last is None:
            self._channels_last = prefers_channels_last(self.model.module, inputs)
        return self._forward(channels_last(inputs) if self._channels_last else inputs)

    def mean_gradient(self, batch: tuple[Tensor, Tensor], *, scale: LossScale | None = None) -> bool:
        """Leaves the gradient of the mean loss over some records at the parameters; none: no gradient.

        Args:
          batch: inputs (b, …) and targets (b, …), on the device.
          scale: scale of the loss, for float16.

        Returns:
          Whether the step is to be taken: False for a gradient that overflowed under the scale.
        """
        inputs, targets = batch
        self.model.release_gradient()
        if not len(inputs):
            return True
        self._check_stateless(inputs)
        recipe = self.recipe
        with self.device.autocast():
            loss = mean_loss(self._outputs, recipe.loss, recipe.augmentations, inputs, targets)
        (loss if scale is None else loss * scale.factor).backward()  # type: ignore[no-untyped-call]
        return scale is None or scale.restored(self.model.gather_gradient())

    def drawn(self, dataset: RecordSet, indices: NDArray[np.int64]) -> tuple[Tensor | None, Tensor | None]:
        """Returns views (b, …), or (b, K, …) of K > 1 views, and targets of a private step; None for none."""
        if not len(indices):
            return None, None
        inputs, targets = fetch(dataset, indices, self.model.device)
        self._check_stateless(inputs)
        augmentations, random = self.recipe.augmentations, torch.default_generator
        if augmentations.views > 1:
            return augmentations.many(inputs, random), targets
        return augmentations.view(inputs, random), targets


@dataclass(frozen=True, kw_only=True)
class LocalTrainer:
    """What one client does with the global vector.

    Guarantee: with ``privacy``, every step is one Gaussian release on a Poisson sample, ``plan.steps``
    of them a round, empty samples included.

    Attributes:
      client: the client's id; with ``seed`` and the round it fixes the order of its records.
      dataset: the client's records.
      records: how many there are; private.
      plan: the steps of a round.
      bench: the workbench it trains on, shared by the clients of a process.
      seed: the experiment's seed.
      privacy: record-level DP; None trains without.
      noise: round → secret randomness of its samples, views and noise; needed with ``privacy``.
    """

    client: str
    dataset: RecordSet = field(repr=False)
    records: int
    plan: StepPlan
    bench: Workbench = field(repr=False)
    seed: int
    privacy: RecordPrivacy | None = None
    noise: Callable[[int], NoiseSource] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.privacy is not None and self.noise is None:
            raise ConfigError(f"client {self.client!r}: privacy is given without a noise source")

    def train(
        self,
        params: Vector,
        *,
        round: int,
        offset: Vector | None = None,
        anchor: Vector | None = None,
    ) -> Vector:
        """Returns this client's update for the round, shape (d,), float32.

        Args:
          params: the global vector, and behind it the constants that the model carries, if any.
          round: round, counted from 0.
          offset: what an algorithm adds to every gradient, shape (d,); None adds nothing.
          anchor: what the recipe's proximal term pulls towards, shape (d,); None: the global vector.
        """
        descend = partial(self.bench.descend, params, round=round, offset=offset, anchor=anchor)
        # Dropout layers and augmentations draw from torch's generator; it is seeded and put back afterwards.
        if self.privacy is None or self.noise is None:
            rng = np.random.default_rng([self.seed, 3, round, *self.client.encode()])
            with seeded(int(rng.integers(2**63)), self.bench.open()):
                return self._plainly(descend, rng)
        noise = self.noise(round)
        with seeded(noise.seed(), self.bench.open()):
            return self._privately(descend, self.privacy, noise)

    def _plainly(self, descend: Callable[..., Vector], rng: np.random.Generator) -> Vector:
        scale = LossScale() if self.bench.device.precision == "float16" else None
        records, device = self.bench.placed(self.dataset), self.bench.model.device
        return descend(
            batches=fetched(records, self.plan.batches(self.records, rng), device),
            gradient=partial(self.bench.mean_gradient, scale=scale),
            gathered=False,
        )

    def _privately(
        self, descend: Callable[..., Vector], privacy: RecordPrivacy, noise: NoiseSource
    ) -> Vector:
        dataset = self.bench.placed(self.dataset)

        def gradient(indices: NDArray[np.int64]) -> bool:
            inputs, targets = self.bench.drawn(dataset, indices)
            self.bench.private_gradient.write(inputs, targets, privacy=privacy, noise=noise)
            return True

        samples = (poisson_sample(self.records, privacy, noise) for _ in range(self.plan.steps))
        return descend(batches=samples, gradient=gradient)
