"""An experiment: a configuration with its parts resolved. What every engine runs."""

from __future__ import annotations

from fedlearn.experiment.experiment import Experiment

__all__ = ["Experiment"]
