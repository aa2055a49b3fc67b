"""Faults that leave the released numbers as they should be, each with a test of its own.

An audit sees one run: noise that a seed repeats looks like any other, a skipped empty step has no canary in
it, and one forgotten round of twenty lies within what the bound leaves open.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from fedlearn.crypto.noise import NoiseSource
from fedlearn.experiment import Experiment
from fedlearn.experiment.ledgers import LedgerFolder
from fedlearn.experiment.setup import RunSetup
from fedlearn.privacy.release import latest, read
from fedlearn.rounds.messages import TrainRequest, encode
from fedlearn.rounds.transport import Message
from fedlearn.runs.verification import read_statement
from fedlearn.simulation import simulate

POLICY = "[datasets.objects]\nepsilon = 5000.0\ndelta = 1e-3\n"


def tiny(*, rounds: int = 1, noise_multiplier: float = 1.0) -> Experiment:
    """Eight records, batch 1: a third of the steps draws nobody."""
    inputs = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    records = TensorDataset(inputs, torch.arange(8) % 2)
    return Experiment.from_dict(
        {
            "name": "tiny",
            "rounds": rounds,
            "training": {"batch_size": 1, "epochs": 4},
            "privacy": {"enabled": True, "noise_multiplier": noise_multiplier, "delta": 1e-3},
        },
        model=lambda: nn.Linear(3, 2),
        clients={"a": records, "b": records},
    )


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    folder = tmp_path / "ledgers"
    folder.mkdir()
    (folder / "policy.toml").write_text(POLICY)
    return folder


@pytest.mark.slow  # two interpreters that import torch
def test_seeded_noise_would_repeat_in_two_processes() -> None:
    """One seed for torch, numpy and Python in each; the updates must differ by more than rounding."""
    script = (
        "import random, numpy, torch; from tests.statistics.test_what_an_audit_cannot_see import update;"
        "random.seed(1); numpy.random.seed(1); torch.manual_seed(1); print(*update())"
    )
    children = [
        subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    outputs = [child.communicate()[0] for child in children]
    one, other = (np.array([float(value) for value in output.split()]) for output in outputs)
    assert len(one) == 8
    assert (np.abs(one - other) > 1e-3).all()


def update() -> list[float]:
    """Returns the update of one client, which nothing but secret noise and samples tells from another's."""
    from fedlearn.experiment.enrolment import Enrolment

    experiment = tiny()
    enrolment = Enrolment.of(experiment.population.clients)
    setup = RunSetup(experiment=experiment, run="r", roster=enrolment.roster)
    client = setup.client("a", key=enrolment.keys["a"], bench=setup.workbench())
    values: list[float] = client.answer(asking(experiment, 0)).vectors[0].tolist()
    return values


def asking(experiment: Experiment, round: int) -> Message:
    body = encode(TrainRequest(run="r", round=round))
    return Message(client="a", body=body, vectors=(experiment.initial_params,))


def test_empty_batches_are_noised_stepped_and_charged(ledger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise draws = steps = steps in the ledger, and the parameters move even where nobody was drawn."""
    draws: list[int] = []
    perturb = NoiseSource.perturb

    def counting(self: NoiseSource, values: np.ndarray, **settings: Any) -> np.ndarray:
        draws.append(int(np.count_nonzero(values)))
        return perturb(self, values, **settings)

    monkeypatch.setattr(NoiseSource, "perturb", counting)
    experiment = tiny()
    folder = LedgerFolder(ledger)
    enrolment = folder.enrolment(experiment.population.clients)
    with folder.opened(enrolment.keys) as ledgers:
        setup = RunSetup(experiment=experiment, run="r", roster=enrolment.roster)
        client = setup.client("a", key=enrolment.keys["a"], bench=setup.workbench(), ledger=ledgers["a"])
        empty = 0
        for round in range(5):
            reply = client.answer(asking(experiment, round))
            assert (reply.vectors[0] != 0).all()
            empty = draws.count(0)
        assert len(draws) == ledgers["a"].account("objects").steps == 5 * 4 * 8
    assert empty > 10, "no step was empty: the test shows nothing"


@pytest.mark.parametrize("rounds", [1, 7])
def test_forgotten_rounds_and_double_charges_are_reconciled(
    ledger: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rounds: int
) -> None:
    """What was executed = what the ledger holds = what was signed = what is printed, step by step."""
    draws: Counter[str] = Counter()
    perturb = NoiseSource.perturb

    def counting(self: NoiseSource, values: np.ndarray, **settings: Any) -> np.ndarray:
        draws["steps"] += 1
        return perturb(self, values, **settings)

    monkeypatch.setattr(NoiseSource, "perturb", counting)
    simulate(tiny(rounds=rounds), out=tmp_path / "run", ledger=ledger)
    booked = sum(
        event["steps"]
        for name in ("a", "b")
        for release in latest(read(ledger / f"{name}.sqlite")).values()
        for event in release["events"]
    )
    stated = sum(
        event["steps"] for client in read_statement(tmp_path / "run").clients for event in client.events
    )
    assert draws["steps"] == booked == stated == 2 * rounds * 4 * 8
