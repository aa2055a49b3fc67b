"""Attacks on an experiment, played through the protocol as it runs, next to no protection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from fedlearn._types import Vector
from fedlearn.attacks import ATTACKS
from fedlearn.attacks.scene import Attack, Scene, Trained, Transcript, Wiretap
from fedlearn.errors import ConfigError
from fedlearn.experiment import Experiment
from fedlearn.experiment.enrolment import Enrolment
from fedlearn.experiment.setup import RunSetup
from fedlearn.privacy.account import Account
from fedlearn.runs.attack_report import AttackReport
from fedlearn.runs.execution import Execution
from fedlearn.runs.progress import Silent
from fedlearn.simulation.inprocess import in_one_process

_RUN = "attacked"


def attack(
    experiment: Experiment, name: str, *, arguments: Mapping[str, object] | None = None, seed: int = 0
) -> AttackReport:
    """Runs one attack on an experiment as it is configured.

    Args:
      experiment: the victim, protections included.
      name: a registered attack, or ``"package.module:Name"``.
      arguments: the attack's own arguments.
      seed: of the attacker's choices; the protections keep their own randomness.

    Raises:
      UnknownName: no such attack.
      ConfigError: an argument that it does not take, or an experiment that it does not fit.
    """
    if experiment.local_rule.remembers or experiment.config.model.local_layers:
        raise ConfigError(
            f"algorithm.name={experiment.config.algorithm.name!r} or model.local_layers: attacks read one"
            " update of the whole model; attack the same experiment with 'fedavg' and no local layers"
        )
    if experiment.compressor is not None:
        raise ConfigError(
            f"compression.name={experiment.config.compression.name!r}: attacks read whole updates, which leak"
            " more; attack the same experiment without it"
        )
    chosen: Attack = ATTACKS.build(name, arguments or {})
    scene = Scene(experiment=experiment, play=play, train=train)
    return chosen.run(scene, rng=np.random.default_rng(seed))


def play(experiment: Experiment, params: Vector) -> Transcript:
    """Runs round 0 from the given parameters and returns what its server saw.

    Under secure aggregation vectors are masked, also where the experiment leaves the keys out (``ideal``).
    """
    secure = experiment.config.secure_aggregation.model_dump()
    experiment = replace(
        experiment, config=experiment.config.with_settings(secure_aggregation={**secure, "mode": "masked"})
    )
    enrolment = Enrolment.of(experiment.population.clients)
    setup = RunSetup(experiment=experiment, run=_RUN, roster=enrolment.roster)
    wiretap = Wiretap(in_one_process(setup, enrolment))
    model = np.concatenate([params, experiment.initial_constants])
    outcome = setup.server(wiretap, strict=True).run_round(model, experiment.cohort(0), round=0)
    ring = setup.secure
    received = {
        client: vector.astype(np.float64) if ring is None else ring.encoding.decode(vector)
        for client, vector in wiretap.vectors.items()
    }
    return Transcript(received=received, aggregate=outcome.update)


def train(experiment: Experiment) -> Trained:
    """Runs all rounds and returns the model."""
    enrolment = Enrolment.of(experiment.population.clients)
    setup = RunSetup(experiment=experiment, run=_RUN, roster=enrolment.roster)
    transport = in_one_process(setup, enrolment)
    execution = Execution(setup, transport, directory=None, progress=Silent(), strict=True)
    course = execution.run(execution.begin())
    delta = experiment.config.privacy.delta
    by_record = [] if experiment.config.privacy.unit == "client" else list(course.accounts.values())
    most = max(by_record, key=lambda account: account.epsilon(delta=delta), default=Account())
    return Trained(params=course.model, epsilon=course.epsilon(delta), delta=delta, events=most.events)
