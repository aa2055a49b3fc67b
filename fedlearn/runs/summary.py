"""From the course of a run to its result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from fedlearn.experiment.setup import RunSetup
from fedlearn.experiment.stages import stage_of
from fedlearn.experiment.statistics import DECLARED, are_charged, are_declared
from fedlearn.privacy.account import Account
from fedlearn.privacy.accounting import ACCOUNTANT
from fedlearn.privacy.accounting import epsilon as epsilon_of
from fedlearn.privacy.distributed import DistributedGaussian
from fedlearn.privacy.guarantee import OUTSIDERS, PrivacyGuarantee, adversary_of
from fedlearn.runs.assessment import spread_of
from fedlearn.runs.execution import Course
from fedlearn.runs.manifest import manifest_of, peak_rss_mb
from fedlearn.runs.result import (
    Baseline,
    Baselines,
    Metrics,
    PrivacyEntry,
    Result,
    SecureAggregationEntry,
    Timing,
)
from fedlearn.runs.traffic import communication

Engine = Literal["inprocess", "flower", "sites"]
ADVERSARY = adversary_of("local")


def result_of(
    setup: RunSetup,
    course: Course,
    *,
    engine: Engine,
    setup_seconds: float,
    per_client: Mapping[str, Metrics],
    baselines: Baselines,
) -> Result:
    """Returns the result of a run that is over."""
    return Result(
        name=setup.experiment.config.name,
        engine=engine,
        rounds=course.completed,
        final=course.rounds[-1]["metrics"],
        spread=spread_of(per_client),
        per_client=dict(per_client),
        baselines=baselines,
        privacy=privacy_entries(setup, course),
        secure_aggregation=_secure_aggregation(setup, course),
        communication=communication(course.rounds),
        timing=_timing(course, setup_seconds),
        peak_rss_mb=peak_rss_mb(),
        manifest=manifest_of(setup.experiment),
        findings=_findings(setup),
    )


def absent(reason: str) -> Baseline:
    """Returns a baseline that was not computed, and why."""
    return Baseline(metrics=None, reason=reason)


def guarantees(setup: RunSetup, course: Course) -> dict[str, PrivacyGuarantee]:
    """Returns what each client's records were given, from the events that were executed."""
    return {name: _guarantee(setup, account) for name, account in course.accounts.items()}


def outsiders_guarantee(setup: RunSetup, course: Course) -> PrivacyGuarantee | None:
    """Returns what Poisson cohorts earn against those who see none of them; None where they earn nothing."""
    mechanism, sampling = setup.mechanism, setup.sampling
    if mechanism is None or not sampling.poisson or not course.completed:
        return None
    delta = setup.experiment.config.privacy.delta
    event = replace(sampling.amplified(mechanism.event()), steps=course.completed)
    return PrivacyGuarantee(
        epsilon=epsilon_of([event], delta=delta),
        delta=delta,
        unit="client",
        noise=mechanism.added_by,
        adversary=OUTSIDERS,
        accountant=ACCOUNTANT,
        scope=_scope(setup),
    )


def privacy_entries(setup: RunSetup, course: Course) -> list[PrivacyEntry]:
    """Returns one entry per client, and the overall one: the greatest, as units are disjoint.

    Poisson cohorts add one for outsiders, against whom alone they amplify.
    """
    by_client = guarantees(setup, course)
    entries = [_entry(name, part, _sigma(setup, name)) for name, part in by_client.items()]
    if by_client:
        worst = max(by_client.values(), key=lambda guarantee: guarantee.epsilon)
        entries.append(_entry("overall", worst, None))
    outside = outsiders_guarantee(setup, course)
    return entries if outside is None else [*entries, _entry("outsiders", outside, None)]


def _sigma(setup: RunSetup, name: str) -> float | None:
    event = setup.protections[name].event()
    return None if event is None else event.noise_multiplier


def _guarantee(setup: RunSetup, account: Account) -> PrivacyGuarantee:
    delta = setup.experiment.config.privacy.delta
    return PrivacyGuarantee(
        epsilon=account.epsilon(delta=delta),
        delta=delta,
        unit=setup.experiment.config.privacy.unit,
        relation="add-remove",
        noise=setup.experiment.config.privacy.noise,
        adversary=_adversary(setup),
        accountant=ACCOUNTANT,
        scope=_scope(setup),
    )


def _adversary(setup: RunSetup) -> str:
    """Returns against whom ε holds; where the cohort shares the noise, against few of its members only."""
    noise = setup.experiment.config.privacy.noise
    colluders = 0 if setup.secure is None else setup.secure.parameters.colluders
    return adversary_of(noise, colluders=colluders)


def _scope(setup: RunSetup) -> str:
    """Returns which releases ε covers, and the word for one that it does not."""
    config = setup.experiment.config
    before = [stage_of(stage.run) for stage in setup.stages]
    training = " and ".join([*before, "training, all rounds of this run"])
    if are_charged(config):
        return f"standardisation statistics and {training}"
    return f"{training}; {DECLARED}" if are_declared(config) else training


def _entry(client: str, guarantee: PrivacyGuarantee, noise_multiplier: float | None) -> PrivacyEntry:
    return PrivacyEntry(
        client=client,
        unit=guarantee.unit,
        epsilon=guarantee.epsilon,
        delta=guarantee.delta,
        relation=guarantee.relation,
        noise=guarantee.noise,
        noise_multiplier=noise_multiplier,
        adversary=guarantee.adversary,
        accountant=guarantee.accountant,
        scope=guarantee.scope,
    )


def _secure_aggregation(setup: RunSetup, course: Course) -> SecureAggregationEntry:
    dropouts = sum(len(entry["dropped"]) for entry in course.rounds)
    secure = setup.secure
    if secure is None:
        return SecureAggregationEntry(mode="off", dropouts=dropouts, failed_rounds=course.failed)
    return SecureAggregationEntry(
        mode=secure.mode,
        protocol="fedlearn-secagg/1" if secure.mode == "masked" else None,
        bytes_up_per_parameter=secure.encoding.modulus_bits / 8,
        trips_per_round=_trips_per_round(course),
        dropouts=dropouts,
        failed_rounds=course.failed,
        clients=secure.parameters.clients,
        colluders=secure.parameters.colluders,
        min_survivors=secure.parameters.min_survivors,
    )


def _trips_per_round(course: Course) -> float | None:
    # Rounds of a checkpoint that an older version wrote do not say.
    trips = [entry["trips"] for entry in course.rounds if "trips" in entry]
    return sum(trips) / len(trips) if trips else None


def _findings(setup: RunSetup) -> list[str]:
    """Returns what the owner of the run should know about its records and its parameters."""
    found = [str(finding) for finding in setup.experiment.population.findings]
    if setup.kept.split.names:
        names = ", ".join(setup.kept.split.names)
        found.append(f"{names} stay at each client: model.safetensors has their initial values")
    if setup.secure is not None and setup.secure.parameters.caution:
        found.append(f"secure aggregation: {setup.secure.parameters.caution}")
    if isinstance(setup.mechanism, DistributedGaussian):
        found.append(f"shared noise: {setup.mechanism.summary}")
    return found


def _timing(course: Course, setup_seconds: float) -> Timing:
    seconds = sum(entry["seconds"] for entry in course.rounds)
    updates = sum(entry["survivors"] for entry in course.rounds)
    simulated = [
        entry["simulated_seconds"] for entry in course.rounds if entry.get("simulated_seconds") is not None
    ]
    return Timing(
        setup_s=round(setup_seconds, 3),
        first_round_s=round(course.rounds[0]["seconds"], 3),
        rounds_s=round(seconds, 3),
        client_updates=updates,
        client_updates_per_s=round(updates / seconds, 2) if seconds > 0 else 0.0,
        simulated_s=round(sum(simulated), 3) if simulated else None,
    )
