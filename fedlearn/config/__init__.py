"""What an experiment says: frozen, typed, documented, read from TOML.

Every key has a type, a default, a range and a sentence. A key that is not known is an error that
names the nearest one, because a typo in a privacy setting must never be silent. Which parts go
together (a model with a data set, an aggregator with secure aggregation) is checked one floor up,
where names are resolved: :class:`fedlearn.experiment.Experiment`.
"""

from fedlearn.config.asynchronous import AsynchronousConfig
from fedlearn.config.compression import CompressionConfig
from fedlearn.config.data import DataConfig, PartitionConfig, ScarcityConfig
from fedlearn.config.devices import DevicesConfig
from fedlearn.config.experiment import ExperimentConfig, keys
from fedlearn.config.fleet import FleetConfig
from fedlearn.config.personalisation import PersonalisationConfig
from fedlearn.config.protection import PrivacyConfig, SecureAggregationConfig
from fedlearn.config.reading import toml_file, validated
from fedlearn.config.remedies import (
    InitialConfig,
    PretrainingConfig,
    RemediesConfig,
    RemedyConfig,
    SynthesisConfig,
    TuningConfig,
)
from fedlearn.config.section import Arguments, Name, Section
from fedlearn.config.server import AggregationConfig, AlgorithmConfig, CohortConfig
from fedlearn.config.simulation import BaselinesConfig, FaultsConfig
from fedlearn.config.training import ModelConfig, TrainingConfig

__all__ = [
    "ExperimentConfig",
    "DataConfig",
    "PartitionConfig",
    "ScarcityConfig",
    "ModelConfig",
    "TrainingConfig",
    "RemediesConfig",
    "RemedyConfig",
    "InitialConfig",
    "TuningConfig",
    "PretrainingConfig",
    "SynthesisConfig",
    "AlgorithmConfig",
    "AggregationConfig",
    "AsynchronousConfig",
    "CohortConfig",
    "CompressionConfig",
    "PersonalisationConfig",
    "PrivacyConfig",
    "SecureAggregationConfig",
    "DevicesConfig",
    "FaultsConfig",
    "FleetConfig",
    "BaselinesConfig",
    "Arguments",
    "Name",
    "Section",
    "keys",
    "toml_file",
    "validated",
]
