"""The clients of a resident process: what they had spent before a resume, and their ledgers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fedlearn.crypto.identity import SigningKey
from fedlearn.errors import UndeclaredDataSet
from fedlearn.experiment import Experiment
from fedlearn.experiment.ledgers import LedgerFolder
from fedlearn.federation.assignment import Assignment
from fedlearn.federation.residents import SimulatedClient, settle
from fedlearn.privacy.account import Account
from fedlearn.privacy.events import SampledGaussianEvent
from fedlearn.privacy.release import Release, latest, read
from fedlearn.rounds.messages import Failure, TrainReply, TrainRequest, decode_reply, encode
from fedlearn.rounds.transport import Message

EXPERIMENT = """
rounds = 4
[data]
dataset = "breast-cancer"
partition = { clients = 2 }
[model]
name = "logistic"
[training]
local_steps = 2
[privacy]
enabled = true
epsilon = 2.0
delta = 1e-3
"""
POLICY = "[datasets.breast-cancer]\nepsilon = 8.0\ndelta = 1e-3\n"


def assignment(keys: dict[str, SigningKey], **more: object) -> Assignment:
    return Assignment(
        experiment=EXPERIMENT,
        run="r",
        roster={name: key.public for name, key in keys.items()},
        keys={name: key.to_bytes() for name, key in keys.items()},
        **more,  # type: ignore[arg-type]
    )


def ask(client: object, round: int) -> object:
    params = Experiment.from_toml_text(EXPERIMENT).initial_params
    body = encode(TrainRequest(run="r", round=round))
    assert isinstance(client, SimulatedClient)
    return decode_reply(client.handle(Message(client="client-0", body=body, vectors=(params,))).body)


@pytest.fixture
def keys() -> dict[str, SigningKey]:
    return {f"client-{number}": SigningKey.generate() for number in range(2)}


def test_a_resumed_client_has_not_forgotten_what_it_spent(keys: dict[str, SigningKey]) -> None:
    """Three of four rounds are spent: one more fits, and no second one."""
    config = Experiment.from_toml_text(EXPERIMENT)
    fresh = settle(assignment(keys))["client-0"]
    assert isinstance(fresh, SimulatedClient)
    event = fresh._client._protection.event()
    assert event is not None
    spent = Account([event] * 3)
    accounts = {"client-0": json.dumps(spent.to_dict())}
    resumed = settle(assignment(keys, accounts=accounts, resumed=True))["client-0"]
    assert isinstance(ask(resumed, config.config.rounds - 1), TrainReply)
    refused = ask(resumed, config.config.rounds)
    assert isinstance(refused, Failure)
    assert refused.code == "BudgetExhausted"


def test_residents_write_to_their_ledgers_and_burn_what_was_cut_off(tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text(POLICY)
    folder = LedgerFolder(tmp_path)
    keys = dict(folder.enrolment(["client-0", "client-1"]).keys)
    event = SampledGaussianEvent(noise_multiplier=9.0, sample_rate=1.0, steps=2)
    with folder.open("client-0", keys["client-0"]) as ledger:
        ledger.reserve(
            Release(id="cut", run="r", round=0, dataset="breast-cancer", clip_norm=1.0, events=(event,))
        )
    residents = settle(assignment(keys, ledger=str(tmp_path), resumed=True))
    assert isinstance(ask(residents["client-0"], 0), TrainReply)
    states = [release["state"] for release in latest(read(tmp_path / "client-0.sqlite")).values()]
    assert states == ["burned", "committed"]


def test_records_without_a_budget_settle_nowhere(tmp_path: Path, keys: dict[str, SigningKey]) -> None:
    (tmp_path / "policy.toml").write_text(POLICY.replace("breast-cancer", "skin"))
    with pytest.raises(UndeclaredDataSet, match="'breast-cancer' has no budget"):
        settle(assignment(keys, ledger=str(tmp_path)))
