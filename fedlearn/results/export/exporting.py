"""A run's model written, compared with its source and measured."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fedlearn.errors import RunDirectoryError, RunError
from fedlearn.results.export import FORMATS
from fedlearn.results.export.format import Format, Runner
from fedlearn.results.loading import LoadedModel
from fedlearn.results.prediction import outputs_of
from fedlearn.training.metrics import Metric

TOLERANCE = 1e-4
"""Largest difference of any output between a file in float32 and its source."""
_COMPARED = 256
_TIMED = 51


@dataclass(frozen=True, kw_only=True, eq=False)
class Reference:
    """What files are compared with.

    Attributes:
      inputs: records in their public unit, (n, *shape), at least one.
      targets: their classes; None where only the form of a record is known.
      source: where they come from, in words.
    """

    inputs: NDArray[Any] = field(repr=False)
    targets: NDArray[np.int64] | None = field(default=None, repr=False)
    source: str


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One form of a model.

    Attributes:
      file: its name; "in fedlearn" for the source.
      kind: format and precision, in words.
      size: bytes.
      milliseconds: median wall-clock time of one record by itself, in one thread.
      difference: largest difference of any output from the source's.
      agreement: share of records with the same most probable class as the source.
      metrics: on the reference; empty without targets.
    """

    file: str
    kind: str
    size: int
    milliseconds: float
    difference: float
    agreement: float
    metrics: Mapping[str, float]


def export_model(
    loaded: LoadedModel,
    formats: Sequence[str],
    *,
    out: Path,
    reference: Reference,
    metrics: Mapping[str, Metric],
    int8: bool = False,
    as_is: bool = False,
) -> list[Measured]:
    """Writes a model in each format and returns what each file is, after the source.

    Args:
      loaded: the model.
      formats: registered words, or ``"package.module:Name"``.
      out: folder of the files ``model.SUFFIX`` and ``model.int8.SUFFIX``; made if it is missing.
      reference: records that all forms are run on.
      metrics: measured on them, if they have targets.
      int8: write a second file of each format with weights of eight bits.
      as_is: leave preprocessing out: inputs will be standardised already.

    Raises:
      ConfigError: the run does not hold the constants of its preprocessing.
      MissingExtra: a library of the format is not installed.
      RunError: a file in float32 does not give what its source gives; it is removed.
    """
    chosen: list[Format] = [FORMATS.build(name, {}) for name in formats]
    model = loaded.deployed(as_is=as_is)
    measure = _Measure(outputs_of(model, reference.inputs), reference, metrics)
    weights = (loaded.directory / "model.safetensors").stat().st_size
    found = [measure.of("in fedlearn", "source", weights, lambda inputs: outputs_of(model, inputs))]
    example = torch.from_numpy(np.repeat(reference.inputs[:1], 2, axis=0))
    _make(out)
    for format in chosen:
        path = out / f"model{format.suffix}"
        format.write(model, example, path)
        entry = measure.of(path.name, "float32", path.stat().st_size, format.open(path))
        if not entry.difference <= TOLERANCE:
            path.unlink()
            raise RunError(
                f"{path.name} gives outputs that differ by {entry.difference:.3g} from the model's,"
                f" at most {TOLERANCE:g} are allowed; it was removed: try another format"
            )
        found.append(entry)
        if int8:
            path = out / f"model.int8{format.suffix}"
            format.write_int8(model, example, path)
            found.append(measure.of(path.name, "int8 weights", path.stat().st_size, format.open(path)))
    return found


def drawn_reference(loaded: LoadedModel, *, rng: np.random.Generator) -> Reference:
    """Returns made-up records, for a run whose own are not at hand."""
    signature = loaded.signature
    shape = (_COMPARED, *signature.shape)
    if signature.dtype == "int64":
        return Reference(inputs=rng.integers(signature.vocabulary or 2, size=shape), source="drawn tokens")
    inputs, scale = rng.standard_normal(shape), signature.scale
    if scale is not None:
        inputs = inputs * scale.spread + scale.center
    return Reference(inputs=inputs.astype(np.float32), source="drawn around the centre of the inputs")


class _Measure:
    def __init__(
        self, wanted: NDArray[np.float32], reference: Reference, metrics: Mapping[str, Metric]
    ) -> None:
        self._wanted = wanted
        self._reference = reference
        self._metrics = metrics

    def of(self, file: str, kind: str, size: int, run: Runner) -> Measured:
        inputs, targets = self._reference.inputs, self._reference.targets
        outputs = np.concatenate(
            [run(inputs[at : at + _COMPARED]) for at in range(0, len(inputs), _COMPARED)]
        )
        same = outputs.argmax(axis=-1) == self._wanted.argmax(axis=-1)
        return Measured(
            file=file,
            kind=kind,
            size=size,
            milliseconds=_milliseconds(run, inputs[:1]),
            difference=float(np.abs(outputs - self._wanted).max()),
            agreement=float(same.mean()),
            metrics={}
            if targets is None
            else {
                name: float(metric(targets.ravel(), outputs.reshape(-1, outputs.shape[-1])))
                for name, metric in self._metrics.items()
            },
        )


def _milliseconds(run: Runner, record: NDArray[Any]) -> float:
    times = []
    for _ in range(_TIMED):
        started = time.perf_counter()
        run(record)
        times.append(time.perf_counter() - started)
    return 1000 * median(times)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunDirectoryError(f"--out {folder} cannot be made: {error.strerror}") from None
