"""A generator of records with labels: a conditional variational autoencoder (Sohn et al. 2015)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class ConditionalVae(nn.Module):
    """An encoder and a decoder that are both told the label.

    Trained on rows of (values, label one-hot); sampled by the decoder alone.

    Args:
      shape: of one record; flattened.
      classes: number of labels.
      hidden: width of the one hidden layer on either side.
      latent: number of latent values.
    """

    def __init__(self, shape: Sequence[int], classes: int, *, hidden: int, latent: int) -> None:
        super().__init__()
        self.shape, self.classes, self.latent = tuple(shape), classes, latent
        values = math.prod(shape)
        self.encoder = nn.Sequential(
            nn.Linear(values + classes, hidden), nn.Tanh(), nn.Linear(hidden, 2 * latent)
        )
        self.decoder = nn.Sequential(
            nn.Linear(latent + classes, hidden), nn.Tanh(), nn.Linear(hidden, values)
        )

    def forward(self, rows: Tensor) -> Tensor:
        """Returns reconstruction, latent mean and log-variance side by side, (n, values + 2 · latent)."""
        code = self.encoder(rows)
        mean, spread = code.chunk(2, dim=1)
        # Bounded, so that noise on the weights cannot make the exponential overflow.
        spread = 6.0 * torch.tanh(spread / 6.0)
        drawn = mean + torch.exp(0.5 * spread) * torch.randn_like(mean)
        labels = rows[:, -self.classes :]
        return torch.cat([self.decoder(torch.cat([drawn, labels], dim=1)), mean, spread], dim=1)

    @torch.no_grad()
    def sample(self, labels: Tensor, random: torch.Generator) -> Tensor:
        """Returns one record for each label (n,), shape (n, *shape), drawn by the generator."""
        latent = torch.randn(len(labels), self.latent, generator=random)
        told = functional.one_hot(labels, self.classes).to(latent.dtype)
        values: Tensor = self.decoder(torch.cat([latent, told], dim=1))
        return values.view(-1, *self.shape)
