"""The model of a finished run, built from its directory without any records."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from safetensors.torch import load as from_safetensors
from torch import nn

from fedlearn.config import ExperimentConfig
from fedlearn.data.standardise import Standardisation
from fedlearn.errors import ConfigError, ModelError, RunDirectoryError
from fedlearn.experiment import Experiment
from fedlearn.experiment.modules import ModelSource
from fedlearn.experiment.population import Population
from fedlearn.results.deployed import Deployed
from fedlearn.runs.directory import RunDirectory
from fedlearn.runs.result import Result
from fedlearn.runs.signature import Signature
from fedlearn.training.metrics import Metric

_LARGEST_FILE = 2**32


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadedModel:
    """A run's model and what is known about it.

    Attributes:
      directory: the run directory.
      config: the resolved experiment.
      result: what the run gave.
      signature: the form of inputs and outputs.
      module: the model as it was trained, in evaluation mode; sees standardised inputs.
      metrics: the experiment's, by name.
      client: whose own model it is; None for the federated one.
    """

    directory: Path
    config: ExperimentConfig
    result: Result
    signature: Signature
    module: nn.Module = field(repr=False)
    metrics: Mapping[str, Metric] = field(repr=False)
    client: str | None = None

    @property
    def is_classifier(self) -> bool:
        """Whether outputs are logits of classes."""
        return getattr(self.module, "output", "logits") == "logits"

    def scale(self, *, as_is: bool = False) -> Standardisation | None:
        """Returns the public constants that inputs are standardised by; None where the model takes them raw.

        Args:
          as_is: the inputs to come are standardised already.

        Raises:
          ConfigError: the run does not hold the constants that its clients standardised by.
        """
        by = self.signature.standardised_by
        if by in {"each client", "unknown constants"} and not as_is:
            own = by == "each client"
            whose = "each client's own" if own else "the data set's public"
            raise ConfigError(
                f"{self.directory}: inputs were standardised by {whose} constants, which the run does not"
                f" hold; {'' if own else 'name the data set with --constants, or '}pass --as-is with inputs"
                " that are standardised already"
            )
        return None if as_is else self.signature.scale

    def deployed(self, *, as_is: bool = False) -> Deployed:
        """Returns a copy of the model with its preprocessing in front and probabilities behind.

        Args:
          as_is: the inputs to come are standardised already.

        Raises:
          ConfigError: the run does not hold the constants that its clients standardised by.
        """
        model = copy.deepcopy(self.module)
        return Deployed(model, scale=self.scale(as_is=as_is), classifier=self.is_classifier).eval()


def load_model(
    directory: str | Path, *, model: ModelSource | None = None, client: str | None = None
) -> LoadedModel:
    """Returns the model of a finished run.

    Args:
      directory: the run directory.
      model: the architecture that the run was given as an object; else the experiment builds it.
      client: whose own model, of a simulation that kept them; None takes the federated one.

    Raises:
      RunDirectoryError: incomplete, not a run directory, or without a model of this client's own.
      ConfigError: the run had an own model, and none is given.
      ModelError: the weights do not fit the model.
    """
    path = Path(directory)
    result = Result.load(path)
    signature = Signature.load(path)
    if signature.own_model and model is None:
        raise ConfigError(
            f"{path}: the model was given as an object, which a run directory cannot bring back;"
            " call fedlearn.results.load_model with it, or train it as model.name='module:Name'"
        )
    config = ExperimentConfig.from_toml(path / "experiment.toml")
    weights = _weights_of(path, config, client)
    population = Population(
        clients={},
        test=None,
        shape=tuple(signature.shape),
        classes=signature.classes,
        vocabulary=signature.vocabulary,
        source=result.manifest.data,
    )
    experiment = Experiment(config=_of_model(config), model=model, known=population)
    return LoadedModel(
        directory=path,
        config=config,
        result=result,
        signature=signature,
        module=_with_weights(experiment.build_model().module, weights).eval(),
        metrics=experiment.metric_functions,
        client=client,
    )


def _of_model(config: ExperimentConfig) -> ExperimentConfig:
    """Returns the experiment without what its model is not built from.

    Weights are saved under the names of the untuned model: what tuned it, or began it, is not needed, nor is
    what became of it at the clients.
    """
    return config.with_settings(
        remedies={}, personalisation={}, data={**config.data.model_dump(), "unseen_clients": 0}
    )


def _weights_of(directory: Path, config: ExperimentConfig, client: str | None) -> Path:
    path = RunDirectory(directory).model_path(client)
    if client is None or path.is_file():
        return path
    wanted = config.personalisation
    reason = (
        "it keeps none: run it with personalisation.enabled=true and personalisation.keep_models=true"
        if not (wanted.enabled and wanted.keep_models)
        else f"it keeps {len(list(path.parent.glob('*')))} of other clients"
    )
    raise RunDirectoryError(f"{directory} holds no model of client {client!r}'s own; {reason}")


def _with_weights(module: nn.Module, path: Path) -> nn.Module:
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise RunDirectoryError(
                f"{path} has {path.stat().st_size} bytes, at most {_LARGEST_FILE} are read"
            )
        state = from_safetensors(path.read_bytes())
    except OSError as error:
        raise RunDirectoryError(f"{path.parent} is incomplete: {path.name}: {error.strerror}") from None
    except Exception as error:  # safetensors raises a type of its own that it does not export
        raise RunDirectoryError(f"{path} is no safetensors file: {error}") from None
    own = module.state_dict()
    differing = sorted(name for name in own if name in state and own[name].shape != state[name].shape)
    strange = sorted(own.keys() ^ state.keys()) or differing
    if strange:
        raise ModelError(
            f"{path} does not fit the experiment's model: {', '.join(strange[:3])}"
            f"{' …' if len(strange) > 3 else ''} missing, unknown or of another shape"
        )
    module.load_state_dict(state)
    return module
