from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fedlearn.experiment import Experiment


@pytest.fixture
def experiment() -> Callable[..., Experiment]:
    """Returns a maker of small experiments on the breast-cancer data; keywords replace sections."""

    def make(**sections: Any) -> Experiment:
        values: dict[str, Any] = {
            "name": "small",
            "rounds": 3,
            "data": {"dataset": "breast-cancer", "partition": {"kind": "iid", "clients": 5}},
            "model": {"name": "logistic"},
            "training": {"learning_rate": 0.5, "local_steps": 2},
        }
        return Experiment.from_dict({**values, **sections})

    return make
