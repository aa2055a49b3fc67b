"""What an experiment is refused for before anything is loaded."""

from __future__ import annotations

from fedlearn.aggregators.accumulator import Aggregator
from fedlearn.algorithms.local_rule import LocalRule
from fedlearn.compression.compressor import Compressor
from fedlearn.config import DataConfig, ExperimentConfig
from fedlearn.data import PARTITIONERS
from fedlearn.errors import ConfigError, NonLinearAggregator
from fedlearn.experiment.asynchronous import check_asynchronous
from fedlearn.experiment.client_level import check_client_level, protects_clients
from fedlearn.experiment.cohorts import is_poisson
from fedlearn.experiment.compression import check_compression
from fedlearn.experiment.kept import check_kept
from fedlearn.experiment.population import check_data_set_name
from fedlearn.experiment.precision import check_precision
from fedlearn.experiment.pretraining import check_pretraining
from fedlearn.experiment.shared import check_shared_noise
from fedlearn.experiment.statistics import check_statistics
from fedlearn.experiment.synthesis import check_synthesis
from fedlearn.experiment.tasks import check_tasks
from fedlearn.models import MODELS
from fedlearn.registry import check_arguments


def check_data(config: DataConfig) -> None:
    """Raises for a data set that is not there, or a partition that does not take its arguments.

    Raises:
      UnknownName: neither registered nor importable.
      ConfigError: an argument is missing, or one too many.
    """
    check_data_set_name(config)
    partition = config.partition
    check_arguments(
        PARTITIONERS.resolve(partition.kind),
        partition.arguments,
        label=f"partition {partition.kind!r}",
        given=frozenset({"labels", "clients", "rng", "owners"}),
    )


def check_model(config: ExperimentConfig, *, own_records: bool) -> None:
    """Raises for a model that does not take its arguments.

    A data set or a task knows its classes; with own objects the user says how many there are.

    Args:
      config: the experiment's.
      own_records: whether the records are given as objects.

    Raises:
      UnknownName: neither registered nor importable.
      ConfigError: an argument is missing, or one too many.
    """
    model = config.model
    told = not own_records or bool(config.tasks)
    known = {"shape", "vocabulary", "classes"} if told else {"shape", "vocabulary"}
    own = {"vocabulary", "classes"} & model.arguments.keys()
    check_arguments(
        MODELS.resolve(model.name),
        model.arguments,
        label=f"model {model.name!r}",
        given=frozenset(known - own),
    )


def check_parts(
    config: ExperimentConfig, *, rule: LocalRule, aggregator: Aggregator, compressor: Compressor | None
) -> None:
    """Raises for parts that exclude each other, with the reason and the way out.

    Raises:
      ConfigError: two parts do not go together; the message names both.
      PrivacyError: a guarantee that the parts together cannot give.
    """
    _check_summable(config, aggregator)
    check_client_level(config, aggregator)
    check_asynchronous(config, rule, aggregator)
    check_compression(config, compressor, aggregator)
    check_shared_noise(config)
    check_statistics(config)
    check_precision(config)
    check_kept(config, rule, aggregator)
    check_pretraining(config)
    check_synthesis(config)
    check_tasks(config)


def _check_summable(config: ExperimentConfig, aggregator: Aggregator) -> None:
    if not config.secure_aggregation.enabled:
        return
    if not aggregator.linear:
        raise NonLinearAggregator(
            f"aggregation.name={config.aggregation.name!r} needs each client's update in the clear;"
            " secure aggregation reveals only their sum: use 'weighted-mean', or switch one of them off"
        )
    if is_poisson(config) and not protects_clients(config):
        raise ConfigError(
            "cohort.sampling='poisson' draws cohorts of any size; ring, quorum and floor of secure"
            " aggregation are proved for one size: use 'fixed'"
        )
