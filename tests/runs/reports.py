"""Made-up runs for the tests of what is written about runs."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import torch

from fedlearn.attacks.pictures import pictures_of
from fedlearn.runs.attack_report import AttackReport
from fedlearn.runs.holdings import Holding, Holdings
from fedlearn.runs.progress import RoundReport
from fedlearn.runs.result import (
    Baseline,
    Baselines,
    Manifest,
    PrivacyEntry,
    Result,
    SecureAggregationEntry,
    Timing,
)

HOSTILE = '</style><script>alert("1")</script><img src=x onerror=alert(2)>&lt;$x$ 東京'
ABSENT = Baseline(metrics=None, reason="baselines.local is off")


def guarantee(client: str, epsilon: float, noise_multiplier: float | None = None) -> PrivacyEntry:
    return PrivacyEntry(
        client=client,
        unit="record",
        epsilon=epsilon,
        delta=1.25e-5,
        relation="add-remove",
        noise="local",
        noise_multiplier=noise_multiplier,
        adversary="the server and whoever receives the model",
        accountant="PLD of a test",
        scope="training, all rounds of this test",
    )


def full_result(**changes: Any) -> Result:
    result = Result(
        name="a-run",
        engine="inprocess",
        rounds=4,
        final={"accuracy": 0.9340659, "auc": None, "loss": 0.2771},
        spread={"accuracy": (0.7123, 0.9611), "loss": (0.1, 1.7)},
        per_client={
            "amsterdam": {"accuracy": 0.9611, "auc": 0.9712, "loss": 0.1},
            "basel": {"accuracy": 0.7123, "auc": None, "loss": 1.7},
            "chiba": {"accuracy": math.nan, "auc": None, "loss": 0.3},
        },
        baselines=Baselines(
            local=Baseline(metrics={"accuracy": 0.8512}, spread={"accuracy": (0.6512, 0.9012)}),
            unprotected=Baseline(metrics={"accuracy": 0.9413, "loss": 0.2222}),
            pooled=Baseline(metrics=None, reason="the records of sites cannot be pooled"),
        ),
        privacy=[
            guarantee("amsterdam", 2.4711, 1.8712),
            guarantee("basel", 2.9634, 1.7),
            guarantee("overall", 2.9634),
        ],
        secure_aggregation=SecureAggregationEntry(
            mode="masked",
            protocol="fedlearn-secagg/1",
            bytes_up_per_parameter=4.125,
            trips_per_round=3.25,
            dropouts=3,
            failed_rounds=1,
            clients=3,
            colluders=1,
            min_survivors=2,
        ),
        timing=Timing(
            setup_s=1.234, first_round_s=0.567, rounds_s=345.678, client_updates=9, client_updates_per_s=3.21
        ),
        peak_rss_mb=612.4,
        manifest=Manifest(
            versions={"fedlearn": "0.1.0", "torch": "2.9.9"},
            seed=17,
            git_revision="0123456789ab",
            data="a made-up table",
            reproducible_noise=False,
            python="3.11.2",
            platform="Linux-test",
        ),
        findings=["client 'basel': 2 records"],
    )
    return result.model_copy(update=changes)


def bare_result(**changes: Any) -> Result:
    nothing: dict[str, Any] = {
        "final": {},
        "spread": {},
        "per_client": {},
        "privacy": [],
        "findings": [],
        "baselines": Baselines(local=ABSENT, unprotected=ABSENT, pooled=ABSENT),
        "secure_aggregation": SecureAggregationEntry(mode="off", dropouts=0, failed_rounds=0),
    }
    return full_result(**nothing, **changes)


def some_rounds() -> list[dict[str, Any]]:
    return [
        asdict(
            RoundReport(
                round=number,
                rounds=4,
                metrics={"accuracy": 0.5 + number / 10, "auc": None, "loss": math.nan},
                survivors=0 if number == 2 else 2,
                dropped={"basel": "no answer in time"} if number < 4 else {},
                failure="agree: 1 client answered, 2 are needed" if number == 2 else None,
                epsilon=0.7 * number,
                bytes_up=1234 * number,
                bytes_down=4321,
                seconds=0.25,
            )
        )
        for number in range(1, 5)
    ]


def hostile_result() -> Result:
    base = full_result()
    return full_result(
        name=HOSTILE,
        final={HOSTILE: 0.5},
        per_client={HOSTILE: {HOSTILE: 0.5}, "b": {HOSTILE: 0.4}},
        spread={HOSTILE: (0.1, 0.2)},
        findings=[HOSTILE],
        privacy=[guarantee("overall", 1.0).model_copy(update={"adversary": HOSTILE, "relation": HOSTILE})],
        baselines=base.baselines.model_copy(update={"pooled": Baseline(metrics=None, reason=HOSTILE)}),
        manifest=base.manifest.model_copy(update={"data": HOSTILE, "versions": {HOSTILE: HOSTILE}}),
    )


def hostile_rounds() -> list[dict[str, Any]]:
    return [
        entry | {"metrics": {HOSTILE: 0.5}, "failure": HOSTILE, "dropped": {HOSTILE: HOSTILE}}
        for entry in some_rounds()
    ]


def some_attacks() -> dict[str, list[AttackReport]]:
    truth, found = torch.rand(2, 1, 8, 8), torch.rand(2, 1, 8, 8)
    pictures = pictures_of(truth, found, [31.5, 9.25], low=0.0, high=1.0)
    return {
        "nothing": [an_attack("update-inversion", 57.1, pictures=pictures), an_attack("sum-inversion", 40.5)],
        "both": [an_attack("update-inversion", 8.3, pictures=pictures)],
    }


def an_attack(name: str, value: float, **more: Any) -> AttackReport:
    return AttackReport(
        attack=name,
        adversary="a curious server",
        sees="one update",
        score="psnr_db",
        value=value,
        null=11.5,
        success=25.0,
        **more,
    )


def some_holdings(clients: int = 3, classes: int = 3) -> Holdings:
    rows = [
        Holding(
            client=f"hospital-{number}",
            train=10 * number,
            test=number,
            labels={str(label): 2 * number + label for label in range(classes) if (label + number) % 3},
        )
        for number in range(1, clients + 1)
    ]
    return Holdings(clients=rows, of=clients + 2)
