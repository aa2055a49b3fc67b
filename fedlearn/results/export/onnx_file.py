"""ONNX, by PyTorch's exporter; eight bits by ONNX Runtime's dynamic quantisation."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from fedlearn._extras import extra
from fedlearn.results.export.format import Runner, quiet

INPUT, OUTPUT = "inputs", "outputs"


class OnnxFile:
    """One ``.onnx`` file with its weights inside.

    ONNX Runtime is asked to tell nobody that it is used (``ORT_DISABLE_TELEMETRY``): its
    Linux builds report each process unless they are asked not to.

    Raises:
      MissingExtra: onnx, onnxscript or onnxruntime is not installed.
    """

    suffix = ".onnx"

    def __init__(self) -> None:
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # heeded only before the first import
        with extra("export"):
            import onnx
            import onnxruntime
            import onnxscript

            del onnx, onnxscript
        self._runtime = onnxruntime

    def write(self, model: nn.Module, example: Tensor, path: Path) -> None:
        """Writes the model; ``example`` is a batch of at least two records."""
        import torch

        with quiet():
            program = torch.onnx.export(
                model,
                (example,),
                dynamic_shapes=({0: torch.export.Dim("records", min=1)},),
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamo=True,
                verbose=False,
            )
            if program is None:
                raise AssertionError("the exporter gives a program when it is given no file")
            program.save(str(path))

    def write_int8(self, model: nn.Module, example: Tensor, path: Path) -> None:
        """Writes the model with weights of eight bits and activations that are quantised as they come."""
        with tempfile.TemporaryDirectory(prefix="fedlearn-onnx-") as folder, quiet():
            from onnxruntime.quantization import QuantType, quantize_dynamic

            whole = Path(folder) / "whole.onnx"
            self.write(model, example, whole)
            quantize_dynamic(whole, path, weight_type=QuantType.QInt8)

    def open(self, path: Path) -> Runner:
        """Returns what runs the file on the CPU, in one thread."""
        options = self._runtime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        session = self._runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

        def run(inputs: NDArray[Any]) -> NDArray[np.float32]:
            outputs: NDArray[np.float32] = session.run([OUTPUT], {INPUT: inputs})[0]
            return outputs

        return run
