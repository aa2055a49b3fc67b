"""Federated learning for PyTorch that keeps two promises.

The ε that is printed is the ε that was spent, and the server learns a sum and nothing else.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedlearn.config import ExperimentConfig
    from fedlearn.errors import FedLearnError
    from fedlearn.experiment import Experiment
    from fedlearn.privacy.guarantee import PrivacyGuarantee
    from fedlearn.runs.result import Result
    from fedlearn.simulation.simulate import simulate

__version__ = "0.1.0"

# Resolved on first use (PEP 562), so that importing fedlearn loads neither torch nor Flower.
_HOMES = {
    "Experiment": "fedlearn.experiment",
    "ExperimentConfig": "fedlearn.config",
    "FedLearnError": "fedlearn.errors",
    "PrivacyGuarantee": "fedlearn.privacy.guarantee",
    "Result": "fedlearn.runs.result",
    "simulate": "fedlearn.simulation",
}

__all__ = [
    "Experiment",
    "ExperimentConfig",
    "FedLearnError",
    "PrivacyGuarantee",
    "Result",
    "simulate",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'fedlearn' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
