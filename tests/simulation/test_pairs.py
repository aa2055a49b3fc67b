"""Any two things that an experiment may ask for run together, or are refused before anything is trained.

Each feature is laid over a small experiment, and so is every pair of them that does not give one key two
values. What runs by itself ends with the same model in one process and in two.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fedlearn.errors import FedLearnError
from fedlearn.experiment import Experiment
from fedlearn.runs.progress import RoundReport, Silent
from fedlearn.runs.result import Result
from fedlearn.simulation import simulate
from tests.simulation.test_faults import model_of

Sections = dict[str, Any]

BASE: Sections = {
    "name": "pair",
    "rounds": 2,
    "reproducible_noise": True,
    "data": {"dataset": "breast-cancer", "partition": {"kind": "iid", "clients": 7}},
    "model": {"name": "mlp", "arguments": {"hidden": [8]}},
    "training": {"learning_rate": 0.02, "local_steps": 1},
}
RECORD = {"enabled": True, "epsilon": 8.0, "delta": 1e-3}
CLIENT = {**RECORD, "unit": "client"}
FEATURES: dict[str, Sections] = {
    **{
        name: {"algorithm": {"name": name}}
        for name in ("fedprox", "fedavgm", "fedadam", "scaffold", "feddyn")
    },
    **{name: {"aggregation": {"name": name}} for name in ("median", "trimmed-mean", "krum")},
    **{name: {"compression": {"name": name}} for name in ("quantise", "top-k")},
    **{f"{name}, tuned": {"remedies": {"tuning": {"name": name}}} for name in ("head", "lora")},
    **{f"{how} clipping": {"training": {"clipping": how}} for how in ("hooks", "ghost")},
    **{
        f"{mode} sums": {"secure_aggregation": {"enabled": True, "mode": mode}}
        for mode in ("masked", "ideal")
    },
    "kept coordinates": {"compression": {"name": "random-k", "error_feedback": True}},
    "uniform weights": {"aggregation": {"weights": "uniform"}},
    "adam": {"training": {"optimizer": "adam"}},
    "Poisson batches": {"training": {"sample_rate": 0.5}},
    "batches": {"training": {"batch_size": 16}},
    "views": {"remedies": {"views": 2, "augmentation": [{"name": "noise", "arguments": {"stddev": 0.1}}]}},
    "mixup": {"remedies": {"augmentation": [{"name": "mixup"}]}},
    "smoothing": {"remedies": {"label_smoothing": 0.1}},
    "a penalty": {"remedies": {"penalties": [{"name": "l2", "arguments": {"strength": 0.01}}]}},
    "pretraining": {"remedies": {"pretraining": {"rounds": 1}}},
    "synthesis": {"remedies": {"synthesis": {"rounds": 1, "unprotected": True}}},
    "own layers": {"model": {"local_layers": ["head.*"]}},
    "fine-tuning": {"personalisation": {"enabled": True, "epochs": 1}},
    "Ditto": {"personalisation": {"enabled": True, "method": "ditto", "epochs": 1}},
    "strangers": {"data": {"unseen_clients": 1}},
    "federated statistics": {"data": {"standardise": "federated"}},
    "few labels": {"data": {"scarcity": {"labelled_fraction": 0.5}}},
    "missing features": {"data": {"scarcity": {"missing_features": 0.3}}},
    "declared sizes": {"data": {"declared_size": 60}},
    "part of the clients": {"cohort": {"fraction": 0.8}},
    "Poisson cohorts": {"cohort": {"sampling": "poisson", "fraction": 0.9}},
    "a slow fleet": {"fleet": {"enabled": True, "speed_spread": 1.0}},
    "buffers": {"fleet": {"enabled": True}, "asynchronous": {"enabled": True, "buffer": 2, "concurrency": 3}},
    "tasks": {
        "model": {"local_layers": ["head.*"]},
        "tasks": {
            "one": {"clients": ["client-[0-3]"], "outputs": 2},
            "other": {"clients": ["client-[4-6]"], "outputs": 2},
        },
    },
    "noise by itself": {"privacy": RECORD},
    "shared noise": {"privacy": {**RECORD, "noise": "distributed"}, "secure_aggregation": {"enabled": True}},
    "the server's noise": {"privacy": {**CLIENT, "noise": "central"}, "aggregation": {"weights": "uniform"}},
    "an adaptive norm": {
        "privacy": {**CLIENT, "noise": "central", "clip_quantile": 0.5},
        "aggregation": {"weights": "uniform"},
    },
    "clients' shared noise": {
        "privacy": {**CLIENT, "noise": "distributed"},
        "secure_aggregation": {"enabled": True},
        "aggregation": {"weights": "uniform"},
    },
    "baselines": {"baselines": {"local": True, "unprotected": True, "pooled": True}},
    "rare tests": {"evaluate_every": 2},
}


class Watch(Silent):
    """Notes whether a round has ended."""

    def __init__(self) -> None:
        self.has_trained = False

    def round_done(self, report: RoundReport) -> None:
        """Notes it."""
        self.has_trained = True


def laid_over(sections: Sections, more: Sections) -> Sections | None:
    """Returns both together; None if they give one key two values."""
    whole = dict(sections)
    for key, value in more.items():
        before = whole.get(key, value)
        if isinstance(before, dict) and isinstance(value, dict):
            whole[key] = laid_over(before, value)
        else:
            whole[key] = value if before == value else None
        if whole[key] is None:
            return None
    return whole


def pairs() -> Iterator[Any]:
    for one, other in itertools.combinations(FEATURES, 2):
        asked = laid_over(FEATURES[one], FEATURES[other])
        if asked is not None:
            yield pytest.param(asked, id=f"{one} + {other}")


def ran(asked: Sections, folder: Path) -> bool:
    """Returns whether the experiment ran; it may be refused before a round has ended."""
    watch = Watch()
    try:
        simulate(experiment(asked), out=folder, workers=1, progress=watch)
    except FedLearnError:
        assert not watch.has_trained
    return watch.has_trained


def experiment(asked: Sections) -> Experiment:
    values = laid_over(BASE, asked)
    assert values is not None
    return Experiment.from_dict(values)


@pytest.mark.slow
@pytest.mark.parametrize("feature", FEATURES)
def test_each_runs_and_gives_one_model_in_one_process_and_in_two(feature: str, tmp_path: Path) -> None:
    assert ran(FEATURES[feature], tmp_path / "1")
    simulate(experiment(FEATURES[feature]), out=tmp_path / "2", workers=2)
    assert model_of(tmp_path / "1") == model_of(tmp_path / "2")
    assert Result.load(tmp_path / "1").privacy == Result.load(tmp_path / "2").privacy


@pytest.mark.slow
@pytest.mark.parametrize("asked", list(pairs()))
def test_any_two_run_together_or_are_refused_before_anything_is_trained(
    asked: Sections, tmp_path: Path
) -> None:
    ran(asked, tmp_path / "run")
