"""The protections of an experiment taken away one by one, for tables that compare them."""

from __future__ import annotations

from dataclasses import replace

from fedlearn.experiment import Experiment


def without(experiment: Experiment, *, privacy: bool = False, secure_aggregation: bool = False) -> Experiment:
    """Returns the same experiment with some protections switched off.

    Args:
      experiment: the original; own objects stay.
      privacy: switch differential privacy off.
      secure_aggregation: switch secure aggregation off.
    """
    sections = {"privacy": privacy, "secure_aggregation": secure_aggregation}
    off = {name: {"enabled": False} for name, chosen in sections.items() if chosen}
    return replace(experiment, config=experiment.config.with_settings(**off))


def variants(experiment: Experiment) -> dict[str, Experiment]:
    """Returns the experiment with no protection, with each that it has, and as configured.

    >>> from fedlearn.experiment import Experiment
    >>> list(variants(Experiment.from_dict({"secure_aggregation": {"enabled": True}})))
    ['nothing', 'secure aggregation']
    """
    config = experiment.config
    found = {"nothing": without(experiment, privacy=True, secure_aggregation=True)}
    if config.secure_aggregation.enabled:
        found["secure aggregation"] = without(experiment, privacy=True)
    if config.privacy.enabled:
        found["differential privacy"] = without(experiment, secure_aggregation=True)
    if config.privacy.enabled and config.secure_aggregation.enabled:
        found["both"] = experiment
    return found
