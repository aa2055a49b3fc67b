"""``model_card.md``: what a model is, how good, for whom, how private, and what its files cost."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from fedlearn.errors import RunDirectoryError
from fedlearn.results.export.exporting import Measured, Reference
from fedlearn.results.loading import LoadedModel
from fedlearn.runs.report.promises import gaps, promises
from fedlearn.runs.result import Result

_LONGEST_LIST = 40
_USES = {
    ".onnx": """```python
import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # else ONNX Runtime may tell its maker of this process
import numpy as np, onnxruntime

session = onnxruntime.InferenceSession("{file}")
outputs = session.run(None, {{"inputs": records}})[0]  # records: np.{dtype}[n, {shape}]
```""",
    ".pt2": """```python
import torch

model = torch.export.load("{file}").module()
outputs = model(records)  # records: torch.{dtype}[n, {shape}]
```""",
}


def model_card(
    loaded: LoadedModel, files: Sequence[Measured], reference: Reference, *, as_is: bool = False
) -> str:
    """Returns the card as Markdown.

    Args:
      loaded: the model and its run.
      files: the source and what was exported of it.
      reference: what they were measured on.
      as_is: preprocessing was left out.

    Raises:
      RunDirectoryError: the run has no privacy statement.
    """
    parts = [
        _head(loaded),
        _form(loaded, as_is=as_is),
        _files(files, reference),
        _quality(loaded),
        _privacy(loaded),
        _use(loaded, files),
    ]
    return "\n".join(line for part in parts for line in (*part, ""))


def _head(loaded: LoadedModel) -> Iterator[str]:
    result, config = loaded.result, loaded.config
    whose = "" if loaded.client is None else f", {loaded.client}'s own model"
    yield f"# Model card: {result.name}{whose}"
    yield ""
    yield f"- Model: `{config.model.name}`, {sum(p.numel() for p in loaded.module.parameters()):,} parameters"
    yield f"- Trained on: {result.manifest.data}"
    yield f"- How: federated, `{config.algorithm.name}`, {result.rounds} rounds; {_where(result)}"
    yield f"- By: fedlearn {result.manifest.versions.get('fedlearn', '')}, seed {result.manifest.seed}"


def _where(result: Result) -> str:
    return "the records stayed at their sites" if result.engine == "sites" else "simulated on one machine"


def _form(loaded: LoadedModel, *, as_is: bool) -> Iterator[str]:
    signature = loaded.signature
    shape = ", ".join(map(str, signature.shape))
    yield "## Inputs and outputs"
    yield ""
    yield f"- In: `{signature.dtype}[n, {shape}]`, {_unit(loaded, as_is=as_is)}."
    if signature.features is not None:
        shown = signature.features[:_LONGEST_LIST]
        more = (
            f" and {len(signature.features) - len(shown)} more"
            if len(signature.features) > len(shown)
            else ""
        )
        yield f"- Columns, in this order: {', '.join(shown)}{more}."
    what = (
        f"probabilities of the {signature.classes} classes"
        if loaded.is_classifier
        else "the model's own output"
    )
    yield f"- Out: `float32`, {what}."


def _unit(loaded: LoadedModel, *, as_is: bool) -> str:
    if as_is:
        return "standardised as in training; preprocessing is not in the files"
    if loaded.signature.standardised_by == "constants" or loaded.config.data.standardise == "federated":
        return "in the unit of the data set; standardisation is part of the files"
    return "as they are; there is no preprocessing"


def _files(files: Sequence[Measured], reference: Reference) -> Iterator[str]:
    metrics = list(files[0].metrics)
    heads = ["file", "precision", "bytes", "ms per record", "largest difference", "same class", *metrics]
    yield "## Files, before and after compression"
    yield ""
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for entry in files:
        cells = [
            entry.file,
            entry.kind,
            f"{entry.size:,}",
            f"{entry.milliseconds:.2f}",
            f"{entry.difference:.1e}",
        ]
        cells += [f"{entry.agreement:.1%}", *(f"{entry.metrics[name]:.4f}" for name in metrics)]
        yield f"| {' | '.join(cells)} |"
    yield ""
    yield f"Measured on {len(reference.inputs)} records, {reference.source};"
    yield "times in one thread of this machine's CPU."
    if not metrics:
        yield "No accuracy: the classes of these records are not known here."


def _quality(loaded: LoadedModel) -> Iterator[str]:
    result = loaded.result
    yield "## How good, and for whom"
    yield ""
    if loaded.client is not None:
        yield from _quality_of_own(result, loaded.client)
        return
    if not result.final:
        yield "The final model was not evaluated in the run."
    for name, value in result.final.items():
        spread = result.spread.get(name)
        clients = "" if spread is None else f"; between clients from {spread[0]:.4f} to {spread[1]:.4f}"
        shown = "not defined" if value is None else f"{value:.4f}"
        yield f"- {name}: {shown} on the held-out records{clients}"


def _quality_of_own(result: Result, client: str) -> Iterator[str]:
    """Yields how a client's own model does on its own held-out records, beside the federated one."""
    found = result.personalisation
    own = None if found is None else {**found.clients, **found.unseen}.get(client)
    if found is None or own is None:
        return
    made = {"global": "the federated model itself", "local": "trained on its records alone"}
    yield f"- For {client} alone: {made.get(own.kept, f'personal, by {found.method}')}, kept by validation"
    for name, value in own.own.items():
        shown, common = ("not defined" if v is None else f"{v:.4f}" for v in (value, own.global_.get(name)))
        yield f"- {name}: {shown} on its {own.records} held-out records; the federated model {common}"


def _privacy(loaded: LoadedModel) -> Iterator[str]:
    yield "## Privacy"
    yield ""
    if loaded.client is not None:
        yield f"**This file is {loaded.client}'s own model. It was trained on the records there without"
        yield "noise: whoever gets it may learn about them. All that follows is about the federated model.**"
        yield ""
    yield from (f"- {sentence}" for sentence in promises(loaded.result))
    yield ""
    yield "Not covered:"
    yield ""
    yield from (f"- {sentence}" for sentence in gaps(loaded.result))
    yield ""
    yield from (re.sub(r"^#", "###", line) for line in _statement(loaded.directory).splitlines())


def _statement(directory: Path) -> str:
    try:
        return (directory / "privacy_statement.md").read_text(encoding="utf-8")
    except OSError as error:
        raise RunDirectoryError(
            f"{directory} is incomplete: privacy_statement.md: {error.strerror};"
            " a model leaves with its statement"
        ) from None


def _use(loaded: LoadedModel, files: Sequence[Measured]) -> Iterator[str]:
    signature = loaded.signature
    yield "## Use"
    for entry in files:
        use = _USES.get(Path(entry.file).suffix)
        if use is not None:
            yield ""
            yield use.format(
                file=entry.file, dtype=signature.dtype, shape=", ".join(map(str, signature.shape))
            )
