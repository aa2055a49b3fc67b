"""PyTorch's own export archive, ``.pt2``; eight bits by weights that are stored as integers."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fedlearn.results.export.format import Runner, quiet
from fedlearn.results.export.int8_layers import with_int8_weights


class Pt2File:
    """One ``.pt2`` file: ``torch.export.load(path).module()`` runs it without fedlearn."""

    suffix = ".pt2"

    def write(self, model: nn.Module, example: Tensor, path: Path) -> None:
        """Writes the model; ``example`` is a batch of at least two records."""
        with quiet(), torch.no_grad():
            program = torch.export.export(
                model, (example,), dynamic_shapes=({0: torch.export.Dim("records", min=1)},)
            )
            torch.export.save(program, str(path))

    def write_int8(self, model: nn.Module, example: Tensor, path: Path) -> None:
        """Writes the model with weights of eight bits; it computes in float32."""
        self.write(with_int8_weights(copy.deepcopy(model)), example, path)

    def open(self, path: Path) -> Runner:
        """Returns what runs the file on the CPU."""
        with quiet():
            module = torch.export.load(str(path)).module()

        def run(inputs: NDArray[Any]) -> NDArray[np.float32]:
            with torch.no_grad():
                outputs: NDArray[np.float32] = module(torch.from_numpy(inputs)).numpy()
            return outputs

        return run
