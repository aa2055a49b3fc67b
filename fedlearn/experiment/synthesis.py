"""DP synthetic data of an experiment: a generator that the federation trains before the first round.

The stage trains a conditional generator on labelled records, under protections of the same kind as training.
What it generates is post-processing of a private release, so it costs no ε beyond the stage's own. The
generator travels behind the model; each client draws records from it by a public seed and adds them to its
own.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fedlearn.config import ExperimentConfig
from fedlearn.errors import ConfigError, PrivacyError
from fedlearn.experiment.before_training import check_values_in_memory, experiment_before
from fedlearn.experiment.client_level import protects_clients
from fedlearn.experiment.population import ClientData
from fedlearn.experiment.shared import shares_noise
from fedlearn.experiment.stages import share_of, stage_config
from fedlearn.models.conditional_vae import ConditionalVae
from fedlearn.training.synthetic import EvidenceBound, labelled

if TYPE_CHECKING:
    from fedlearn.experiment.experiment import Experiment

_HIDDEN, _LATENT = 64, 8


def synthesises(config: ExperimentConfig) -> bool:
    """Returns whether clients add synthetic records to their own."""
    return config.remedies.synthesis.rounds > 0


def added_records(config: ExperimentConfig) -> int:
    """Returns the number of synthetic records that each client adds; public."""
    return config.remedies.synthesis.records if synthesises(config) else 0


def check_synthesis(config: ExperimentConfig) -> None:
    """Raises what an experiment may not ask of synthetic data, with the reason and the way out.

    Raises:
      PrivacyError: a generator without privacy, or one that leaves no ε for training.
      ConfigError: clients as the unit of privacy, or noise that the cohort shares.
    """
    if not synthesises(config):
        return
    wanted = config.remedies.synthesis
    asked = f"remedies.synthesis.rounds={wanted.rounds}"
    if not config.privacy.enabled:
        if not wanted.unprotected:
            raise PrivacyError(
                f"{asked} without privacy: every client would be sent a generator that may repeat others'"
                " records; enable privacy, or declare it with remedies.synthesis.unprotected=true"
            )
        return
    if protects_clients(config):
        raise ConfigError(
            f"{asked} and privacy.unit='client': its ε is not calibrated together with training's;"
            " set privacy.unit='record'"
        )
    if shares_noise(config):
        raise ConfigError(
            f"{asked} and privacy.noise='distributed': the room of a shared sum follows from the declared"
            " sizes of records that are not synthetic; set privacy.noise='local'"
        )
    share_of(config, wanted.epsilon, key="remedies.synthesis.epsilon")


def synthesis_of(experiment: Experiment) -> Experiment:
    """Returns the experiment that the generator is trained by.

    Raises:
      DataError: texts, or clients that only a function describes.
      ConfigError: the number of classes is not known.
    """
    config, population = experiment.config, experiment.population
    check_values_in_memory(population, remedy="synthesis", does="generates")
    classes = population.classes or config.model.arguments.get("classes")
    if classes is None:
        raise ConfigError("remedies.synthesis needs model.arguments.classes with data given as objects")
    wanted, shape = config.remedies.synthesis, population.record_shape

    def stage_data(data: ClientData) -> ClientData:
        records = data.train if data.size == 0 else labelled(data.train, classes)
        return replace(data, train=records, test=None, unlabelled=None)

    return experiment_before(
        experiment,
        config=stage_config(
            config,
            rounds=wanted.rounds,
            learning_rate=wanted.learning_rate,
            loss="mse",
            epsilon=wanted.epsilon,
            # Records are generated in the unit that clients hold them in; the model scales both alike.
            standardise="none",
        ),
        model=lambda: ConditionalVae(shape, classes, hidden=_HIDDEN, latent=_LATENT),
        data=stage_data,
        loss=EvidenceBound(latent=_LATENT),
    )
