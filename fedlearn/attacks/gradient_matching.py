"""Records found by matching the gradient that they would have given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fedlearn.attacks.recovery import range_of, recovery_report
from fedlearn.attacks.scene import Scene, gradient_of, one_step
from fedlearn.experiment import Experiment
from fedlearn.runs.attack_report import AttackReport


@dataclass(frozen=True, kw_only=True)
class GradientMatching:
    """A curious server searches for the record whose gradient points where a client's update points.

    Cosine distance and total variation, descended with the sign of its gradient (Geiping et al. 2020,
    equation 4). Works on any model; one record per client. The label is read off the last layer: only
    the row of the true class has a negative bias gradient (Zhao et al. 2020, section 3).

    Attributes:
      victims: number of clients attacked, at least 1.
      steps: of the search.
      variation: weight of the total variation of images, falling to 0 over the steps; 0 for records
        without neighbours.
    """

    victims: int = 3
    steps: int = 400
    variation: float = 1e-2

    def run(self, scene: Scene, *, rng: np.random.Generator) -> AttackReport:
        """Attacks some clients' vectors, one record each; the score is the median over them."""
        cut, truth = one_step(scene.experiment, records=1, rng=rng)
        received = scene.play(cut, cut.initial_params).received
        public = scene.public()
        low, high = range_of(public)
        victims = [name for name in cut.population.clients if name in received][: self.victims]
        found = []
        for name in victims:
            start = torch.from_numpy(low + (high - low) * rng.random(truth[:1].shape)).float()
            found.append(self._search(cut, gradient_of(received[name], cut), start, bounds=(low, high)))
        return recovery_report(
            "gradient-matching",
            adversary="a curious server",
            sees="one update",
            public=public,
            truth=truth[[list(cut.population.clients).index(name) for name in victims]],
            candidates=torch.cat([truth[:0], *found]),
        )

    def _search(
        self,
        experiment: Experiment,
        gradient: NDArray[np.float64],
        start: Tensor,
        *,
        bounds: tuple[float, float],
    ) -> Tensor:
        """Returns the record found from ``start``, of its shape (1, …)."""
        model = experiment.build_model()
        model.load(experiment.initial_params)
        module, parameters = model.module, [p for p in model.module.parameters() if p.requires_grad]
        wanted = torch.from_numpy(gradient).float()
        label = _label(module, wanted)
        guess = start.clone().requires_grad_(True)
        optimizer = torch.optim.Adam([guess], lr=0.05 * (bounds[1] - bounds[0]))
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.steps)
        for step in range(self.steps):
            loss = experiment.recipe.loss(module(guess), label)
            pieces = torch.autograd.grad(loss, parameters, create_graph=True)
            flat = torch.cat([piece.reshape(-1) for piece in pieces])
            distance = 1 - nn.functional.cosine_similarity(flat, wanted, dim=0)
            objective = distance + self.variation * (1 - step / self.steps) * total_variation(guess)
            guess.grad = torch.autograd.grad(objective, guess)[0].sign()
            optimizer.step()
            schedule.step()
            with torch.no_grad():
                guess.clamp_(*bounds)
        return guess.detach()


def total_variation(images: Tensor) -> Tensor:
    """Returns the mean absolute difference of neighbouring pixels; 0 for records that are no images.

    >>> float(total_variation(torch.tensor([[[[0.0, 1.0], [0.0, 1.0]]]])))
    1.0
    """
    if images.dim() < 4:
        return images.new_zeros(())
    across = (images[..., 1:] - images[..., :-1]).abs().mean()
    down = (images[..., 1:, :] - images[..., :-1, :]).abs().mean()
    return across + down


def _label(module: nn.Module, gradient: Tensor) -> Tensor:
    """Returns the class whose logit the step pushes up most, shape (1,)."""
    heads = [layer for layer in module.modules() if isinstance(layer, nn.Linear)]
    classes = heads[-1].out_features
    # The head's bias is the end of the flat vector in every model whose head comes last.
    return gradient[-classes:].argmin()[None]
