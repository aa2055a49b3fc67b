"""``privacy_statement.json``: what was promised, to whom, and what is not covered."""

from __future__ import annotations

from typing import Any

from fedlearn.experiment.setup import RunSetup
from fedlearn.runs.execution import Course
from fedlearn.runs.summary import guarantees, privacy_entries

SCHEMA = 1
FALSE_POSITIVE_RATES = (0.001, 0.01, 0.1)


def statement_of(setup: RunSetup, course: Course) -> dict[str, Any]:
    """Returns the statement as JSON values; an experiment without protection gets one that says so."""
    config = setup.experiment.config
    return {
        "schema": SCHEMA,
        "run": setup.run,
        "guarantees": [entry.model_dump() for entry in privacy_entries(setup, course)],
        "mechanism": _mechanism(setup),
        "attacker": _attacker(setup, course),
        "trust": _trust(setup),
        "randomness": (
            "reproducible noise: whoever knows the seed can subtract it; protects nothing"
            if config.reproducible_noise
            else "AES-128-CTR keyed with 256 bits of the operating system, per client"
        ),
        "not_covered": _not_covered(setup),
    }


def _mechanism(setup: RunSetup) -> dict[str, Any] | None:
    config = setup.experiment.config
    if not config.privacy.enabled:
        return None
    return {
        "name": "DP-SGD in each client",
        "sampler": "Poisson, per record and step; no sampling is claimed where the rate is 1",
        "max_grad_norm": config.privacy.max_grad_norm,
        "clients": {
            name: {
                "noise_multiplier": part.record.noise_multiplier,
                "sample_rate": part.record.sample_rate,
                "steps_per_round": part.plan.steps,
                "declared_size": part.record.declared_size,
            }
            for name, part in setup.protections.items()
            if part.record is not None
        },
    }


def _attacker(setup: RunSetup, course: Course) -> dict[str, Any] | None:
    """Returns the greatest true positive rate of any membership attack, per false positive rate."""
    by_client = guarantees(setup, course)
    if not by_client:
        return None
    worst = max(by_client.values(), key=lambda guarantee: guarantee.epsilon)
    return {
        "meaning": "greatest share of members that any membership test finds at this false positive rate",
        "tpr_at_fpr": {str(rate): round(worst.attacker_tpr(rate), 4) for rate in FALSE_POSITIVE_RATES},
    }


def _trust(setup: RunSetup) -> dict[str, Any]:
    secure = setup.secure
    if secure is None:
        return {"secure_aggregation": "off: the server sees every client's update"}
    if secure.mode == "ideal":
        return {"secure_aggregation": "ideal: the ring sum without keys, for simulation; nothing is masked"}
    return {
        "secure_aggregation": "fedlearn-secagg/1: the server learns one sum per round and who is in it",
        "colluders": secure.parameters.colluders,
        "min_survivors": secure.parameters.min_survivors,
    }


def _not_covered(setup: RunSetup) -> list[str]:
    config = setup.experiment.config
    gaps = [
        "test metrics: computed by the simulation on held-out records, released without noise",
        "the choice of this configuration, and other runs on the same records: each spends its own ε",
        "a person with records at two sites: their ε add up",
    ]
    if config.data.declared_size is None:
        gaps.append("declared sizes: this simulation declares each client's true number of records")
    if config.data.standardise == "local":
        gaps.append("each client's standardisation constants stay with it, and are not noised")
    if not config.privacy.enabled:
        gaps.insert(0, "everything: this run has no differential privacy")
    return gaps
