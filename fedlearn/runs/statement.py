"""``privacy_statement.json``: what was promised, to whom, on which assumptions, and what is not covered.

Everything in it that is a number follows from events that the clients have signed (``receipts.json``), so
that ``fedlearn verify`` can recompute it without the run.
"""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from fedlearn.experiment.setup import RunSetup
from fedlearn.experiment.stages import stage_of
from fedlearn.experiment.statistics import DECLARED, are_charged, are_declared
from fedlearn.experiment.synthesis import synthesises
from fedlearn.privacy.accounting import ACCOUNTANT, epsilon_rdp
from fedlearn.privacy.guarantee import PrivacyGuarantee
from fedlearn.privacy.receipt import Receipt
from fedlearn.runs.execution import Course
from fedlearn.runs.summary import ADVERSARY, guarantees

FALSE_POSITIVE_RATES = (0.001, 0.01, 0.1)
PROTOCOL = "fedlearn-secagg/1"
RECORD_RULE = "greatest over clients: each record is at one client; a person at two composes both"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Lifetime(_Part):
    """What a client's records have spent over all runs, by its ledger at the end of this one."""

    epsilon: float
    budget: float
    delta: float
    ledger_head: str = Field(description="rows and digest of the last one")


class ClientStatement(_Part):
    """What one client's records were given."""

    client: str
    dataset: str = Field(description="the client's name of its records")
    unit: Literal["record", "client"]
    epsilon: float | None = Field(description="none: infinite, nothing is guaranteed")
    declared: str | None = Field(default=None, description="what this ε leaves out, as the run declares")
    delta: float
    epsilon_rdp: float | None = Field(description="the same events by Rényi DP: a cross-check, never smaller")
    noise: str = Field(description="who adds it")
    clip_norm: float | None = Field(description="L2 bound of one unit's contribution to one release")
    declared_size: int | None = Field(description="public number of records that rates and weights follow")
    events: list[dict[str, Any]] = Field(description="as executed, equal ones merged")
    randomness: Literal["os", "reproducible"] = Field(description="what keys the noise")
    lifetime: Lifetime | None = Field(description="over all runs; none without a ledger")
    signed: bool = Field(description="whether the client signed this; else it is the server's reckoning")


class Overall(_Part):
    """One number for the run, and the rule that gave it."""

    epsilon: float | None
    declared: str | None = Field(default=None, description="what this ε leaves out, as the run declares")
    delta: float
    rule: str
    attacker_tpr_at_fpr: dict[str, float] = Field(
        description="greatest share of members that any membership test finds at this false positive rate"
    )


class Trust(_Part):
    """Who is kept from learning what, and what must be true for it."""

    adversary: str
    secure_aggregation: str
    protocol: str | None = None
    clients: int | None = Field(default=None, description="in a cohort")
    colluders: int | None = Field(default=None, description="clients that may collude with the server")
    min_survivors: int | None = Field(default=None, description="fewest clients in a sum")
    roster: str = Field(description="SHA-256 of the clients' public keys, hex")


class Statement(_Part):
    """The privacy of one run."""

    schema_version: Literal[2] = 2
    run: str
    rounds: int
    unit: Literal["record", "client"] | None
    relation: Literal["add-remove"] = "add-remove"
    trust: Trust
    mechanism: str | None
    sampler: str | None
    accountant: str
    clipping: dict[str, str] | None = Field(
        default=None, description="layer: how its per-record gradients are clipped; none where they are not"
    )
    clients: list[ClientStatement]
    overall: Overall | None = Field(description="none without differential privacy")
    composition: str = Field(description="what is added up")
    not_covered: list[str]
    audit: dict[str, Any] | None = Field(
        default=None, description="what fedlearn audit found in this run's training"
    )

    def to_json(self) -> str:
        """Returns the file's text."""
        return self.model_dump_json(indent=2) + "\n"

    def countersigned(self) -> bytes:
        """Returns what clients sign: canonical JSON of everything but the audit, which comes later."""
        values = self.model_dump(mode="json", exclude={"audit"})
        return json.dumps(values, sort_keys=True, separators=(",", ":")).encode()


def statement_schema() -> dict[str, Any]:
    """Returns the JSON Schema of ``privacy_statement.json``."""
    schema: dict[str, Any] = json.loads(json.dumps(Statement.model_json_schema(mode="serialization")))
    return schema


def statement_of(setup: RunSetup, course: Course) -> Statement:
    """Returns the statement; an experiment without privacy gets one that says so."""
    by_client = guarantees(setup, course)
    clients = [_client(setup, course, name, by_client[name]) for name in sorted(by_client)]
    return Statement(
        run=setup.run,
        rounds=course.completed,
        unit=clients[0].unit if clients else None,
        trust=_trust(setup, by_client),
        mechanism=_mechanism(clients),
        sampler=_sampler(clients),
        accountant=ACCOUNTANT,
        clipping=_clipping(setup),
        clients=clients,
        overall=overall_of(list(by_client.values()), declared=_declared(setup)),
        composition=_composition(setup),
        not_covered=_not_covered(setup),
    )


def _clipping(setup: RunSetup) -> dict[str, str] | None:
    privacy = setup.experiment.config.privacy
    if not privacy.enabled or privacy.unit != "record":
        return None
    from fedlearn.training.clip_rules import rules_of  # with Opacus, which was needed to get here

    rules = rules_of(setup.experiment.build_model().module, setup.experiment.config.training.clipping)
    return {layer or "model": rule for layer, rule in rules.items()}


def overall_of(by_client: list[PrivacyGuarantee], *, declared: str | None = None) -> Overall | None:
    """Returns the guarantee of the run: the weakest of any client's records; None without any."""
    if not by_client:
        return None
    worst = max(by_client, key=lambda guarantee: guarantee.epsilon)
    return Overall(
        epsilon=finite(worst.epsilon),
        declared=declared,
        delta=worst.delta,
        rule=RECORD_RULE if worst.unit == "record" else "greatest over clients: each is a unit of its own",
        attacker_tpr_at_fpr={str(rate): round(worst.attacker_tpr(rate), 6) for rate in FALSE_POSITIVE_RATES},
    )


def receipts_of(setup: RunSetup, course: Course) -> dict[str, Any]:
    """Returns ``receipts.json``: what the clients signed, and the keys by which it verifies."""
    return {
        "schema": 1,
        "run": setup.run,
        "roster": {name: key.hex() for name, key in setup.roster.members.items()},
        "receipts": {
            name: {"body": signed.body.decode(), "signature": signed.signature.hex()}
            for name, signed in sorted(course.receipts.signed.items())
        },
        "witnesses": {
            name: {
                "statement": witness.statement,
                "of": list(witness.of),
                "signature": witness.signature.hex(),
            }
            for name, witness in sorted(course.witnesses.items())
        },
    }


def roster_digest(members: dict[str, str]) -> str:
    """Returns SHA-256 over client ids and their public keys in hex, in order; hex."""
    return hashlib.sha256(json.dumps(sorted(members.items())).encode()).hexdigest()


def finite(epsilon: float) -> float | None:
    """Returns ε as JSON has it: null where it is infinite."""
    return epsilon if math.isfinite(epsilon) else None


def _client(setup: RunSetup, course: Course, name: str, guarantee: PrivacyGuarantee) -> ClientStatement:
    protection, account = setup.protections[name], course.accounts[name]
    receipt = course.receipts.opened.get(name)
    return ClientStatement(
        client=name,
        # A real site has a name of its own for its records.
        dataset=setup.experiment.dataset_id if receipt is None else receipt.dataset,
        unit=guarantee.unit,
        epsilon=finite(guarantee.epsilon),
        declared=_declared(setup),
        delta=guarantee.delta,
        epsilon_rdp=finite(epsilon_rdp(account.events, delta=guarantee.delta)),
        noise=guarantee.noise,
        clip_norm=finite(protection.clip_norm),
        declared_size=setup.experiment.population.clients[name].declared_size,
        events=[event.to_dict() for event in account.events],
        randomness="reproducible" if setup.experiment.config.reproducible_noise else "os",
        lifetime=None if receipt is None else lifetime_of(receipt),
        signed=receipt is not None,
    )


def lifetime_of(receipt: Receipt) -> Lifetime | None:
    """Returns what a receipt says of all runs."""
    kept = receipt.lifetime
    if kept is None:
        return None
    return Lifetime(epsilon=kept.epsilon, budget=kept.budget, delta=kept.delta, ledger_head=str(kept.head))


def _declared(setup: RunSetup) -> str | None:
    return DECLARED if are_declared(setup.experiment.config) else None


def _composition(setup: RunSetup) -> str:
    rounds = "those of failed and repeated rounds and of stragglers too"
    training = f"all releases of training in this run, {rounds}"
    statistics = ["the standardisation statistics"] if are_charged(setup.experiment.config) else []
    before = [*statistics, *(f"all releases of {stage_of(stage.run)}" for stage in setup.stages)]
    return ", ".join([*before, f"and {training}"]) if before else training


def _trust(setup: RunSetup, by_client: dict[str, PrivacyGuarantee]) -> Trust:
    secure = setup.secure
    adversary = next((guarantee.adversary for guarantee in by_client.values()), ADVERSARY)
    roster = roster_digest({name: key.hex() for name, key in setup.roster.members.items()})
    if secure is None:
        seen = "off: the server sees every client's update"
        return Trust(adversary=adversary, secure_aggregation=seen, roster=roster)
    ideal = "ideal: the ring sum without keys, for simulation; nothing is masked"
    return Trust(
        adversary=adversary,
        secure_aggregation=ideal
        if secure.mode == "ideal"
        else "masked: the server learns one sum per round and who is in it",
        protocol=PROTOCOL if secure.mode == "masked" else None,
        clients=secure.parameters.clients,
        colluders=secure.parameters.colluders,
        min_survivors=secure.parameters.min_survivors,
        roster=roster,
    )


_MECHANISMS = {
    ("record", "local"): "DP-SGD in each client: clipped gradient sums with Gaussian noise, in every step",
    (
        "record",
        "distributed",
    ): "one clipped gradient sum per client and round, integer noise shared by the cohort",
    ("client", "central"): "clipped updates, Gaussian noise on their sum by the server",
    ("client", "distributed"): "clipped updates, integer noise shared by the cohort",
}


def _mechanism(clients: list[ClientStatement]) -> str | None:
    if not clients:
        return None
    found = {(client.unit, client.noise) for client in clients}
    return "; ".join(_MECHANISMS.get(kind, f"{kind[1]} noise per {kind[0]}") for kind in sorted(found))


def _sampler(clients: list[ClientStatement]) -> str | None:
    if not clients:
        return None
    rates = {event.get("sample_rate", 1.0) for client in clients for event in client.events}
    sampled = any(rate < 1 for rate in rates)
    return "Poisson: each unit enters each step by its own secret coin" if sampled else "none is claimed"


def _not_covered(setup: RunSetup) -> list[str]:
    config = setup.experiment.config
    gaps = [
        "test metrics: computed by the simulation on held-out records, released without noise",
        "the choice of this configuration, and other runs on the same records: each spends its own ε",
        "a person with records at two sites: their ε add up",
    ]
    if setup.experiment.known is None:
        gaps.append("who holds what: the simulation counts records and labels exactly, for its report")
    if config.data.declared_size is None:
        gaps.append("declared sizes: this simulation declares each client's true number of records")
    if config.data.standardise == "local":
        gaps.append("each client's standardisation constants stay with it, and are not noised")
    if are_declared(config):
        gaps.insert(0, f"{DECLARED}: exact sums over the records of all clients")
    if synthesises(config) and not config.privacy.enabled:
        gaps.insert(
            0,
            "records that synthetic ones resemble: they come from a generator that was trained without"
            " privacy, and every client was sent it",
        )
    if config.personalisation.enabled:
        gaps.append(
            "each client's own model: it does not leave the client, so no ε is spent on it; towards someone"
            " whom a client gives it to, its records are not protected"
        )
    if config.personalisation.keep_models:
        gaps.append("whoever gets this run's folder: it holds the clients' own models, for this simulation")
    if setup.kept.split.names:
        gaps.append(
            "layers that stay at each client: made by the same noised steps under differential privacy per"
            " record, and given to nobody"
        )
    if config.reproducible_noise:
        gaps.insert(
            0, "anything against one who knows the seed: the noise is reproducible, for simulation only"
        )
    if not config.privacy.enabled:
        gaps.insert(0, "everything: this run has no differential privacy")
    return gaps
