"""The numbers that an experiment commits to, all from public values."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.data import TensorDataset

from fedlearn.config import ExperimentConfig
from fedlearn.errors import ConfigError, PrivacyError, TargetUnreachable
from fedlearn.experiment import Experiment
from fedlearn.experiment.cohorts import cohort_size
from fedlearn.experiment.enrolment import Enrolment
from fedlearn.experiment.population import ClientData, Population
from fedlearn.experiment.protections import check_delta, protections
from fedlearn.experiment.sums import secure_sum
from fedlearn.experiment.weights import weights
from fedlearn.privacy.accounting import epsilon

NOTHING = TensorDataset(torch.zeros(1, 1), torch.zeros(1, dtype=torch.int64))


def population(*declared: int) -> Population:
    """Returns clients that declare these sizes; each holds one record, which nothing may depend on."""
    clients = {
        f"client-{number}": ClientData(train=NOTHING, test=None, size=1, declared_size=size)
        for number, size in enumerate(declared)
    }
    return Population(clients=clients, test=None)


def config(**sections: Any) -> ExperimentConfig:
    return ExperimentConfig.from_dict(sections)


FIVE = population(100, 200, 300, 400, 50)


class TestWeights:
    def test_by_declared_size_over_the_largest(self) -> None:
        assert list(weights(config(), FIVE).values()) == [0.25, 0.5, 0.75, 1.0, 0.125]

    def test_uniform(self) -> None:
        assert set(weights(config(aggregation={"weights": "uniform"}), FIVE).values()) == {1.0}


class TestCohortSize:
    @pytest.mark.parametrize(
        ("fraction", "clients", "size"),
        [(1.0, 5, 5), (0.5, 5, 3), (0.1, 5, 1), (0.3, 5, 2), (0.5, 3, 2), (0.01, 3, 1), (0.25, 10, 3)],
    )
    def test_halves_go_up_and_nobody_is_nobody(self, fraction: float, clients: int, size: int) -> None:
        assert cohort_size(config(cohort={"fraction": fraction}), population(*[1] * clients)) == size

    @pytest.mark.parametrize("fraction", [0.05, 0.1, 0.25, 0.35, 0.5, 0.65, 0.95, 1.0])
    @pytest.mark.parametrize("clients", [1, 5, 10])
    def test_cohorts_have_the_size_that_the_ring_is_proved_for(self, fraction: float, clients: int) -> None:
        values = {
            "data": {"dataset": "breast-cancer", "partition": {"clients": clients}},
            "cohort": {"fraction": fraction},
        }
        made = Experiment.from_dict(values)
        assert len(made.cohort(0)) == cohort_size(made.config, made.population)


class TestSecureSum:
    def test_none_unless_asked_for(self) -> None:
        assert secure_sum(config(), FIVE, Enrolment.of(FIVE.clients).roster, dimension=3) is None

    def test_everything_is_made_for_the_cohort(self) -> None:
        ten = population(*range(100, 1100, 100))
        enrolment = Enrolment.of(ten.clients)
        wanted = config(
            cohort={"fraction": 0.6},
            secure_aggregation={"enabled": True, "mode": "ideal", "value_range": 4.0, "modulus_bits": 16},
        )
        made = secure_sum(wanted, ten, enrolment.roster, dimension=3)
        assert made is not None
        assert (made.mode, made.parameters.clients, made.encoding.clients) == ("ideal", 6, 6)
        assert (made.encoding.value_range, made.encoding.modulus_bits) == (4.0, 16)
        assert dict(made.weights) == weights(wanted, ten)
        assert made.roster is enrolment.roster

    def test_settings_reach_the_session(self) -> None:
        wanted = {"enabled": True, "colluders": 2, "min_survivors": 8, "fractional_bits": 10}
        ten = population(*[5] * 10)
        made = secure_sum(
            config(secure_aggregation=wanted), ten, Enrolment.of(ten.clients).roster, dimension=3
        )
        assert made is not None
        assert (made.parameters.colluders, made.parameters.min_survivors) == (2, 8)
        assert made.encoding.fractional_bits == 10

    def test_too_few_clients_are_refused(self) -> None:
        three = population(1, 1, 1)
        with pytest.raises(ConfigError, match="clients=3 must be at least colluders"):
            secure_sum(
                config(secure_aggregation={"enabled": True}),
                three,
                Enrolment.of(three.clients).roster,
                dimension=3,
            )

    def test_a_sum_that_could_overflow_is_refused(self) -> None:
        wanted = {"enabled": True, "modulus_bits": 16, "fractional_bits": 14}
        with pytest.raises(ConfigError, match="the sum would overflow the ring"):
            secure_sum(
                config(secure_aggregation=wanted), FIVE, Enrolment.of(FIVE.clients).roster, dimension=3
            )


class TestEnrolment:
    def test_each_client_has_its_own_key_and_the_roster_its_public_half(self) -> None:
        enrolment = Enrolment.of(FIVE.clients)
        assert dict(enrolment.roster.members) == {name: key.public for name, key in enrolment.keys.items()}
        assert len(set(enrolment.roster.members.values())) == 5

    def test_keys_are_fresh(self) -> None:
        assert Enrolment.of(FIVE.clients).roster.members != Enrolment.of(FIVE.clients).roster.members


class TestProtections:
    def test_without_dp_the_plan_alone(self) -> None:
        made = protections(config(training={"batch_size": 50}), FIVE, None)
        assert [part.plan.steps for part in made.values()] == [2, 4, 6, 8, 1]
        assert [part.weight for part in made.values()] == [0.25, 0.5, 0.75, 1.0, 0.125]
        assert all(part.record is None and part.secure is None for part in made.values())

    def test_noise_that_is_given_is_used(self) -> None:
        private = {"enabled": True, "noise_multiplier": 1.25, "max_grad_norm": 0.7, "delta": 1e-4}
        made = protections(config(privacy=private, training={"batch_size": 20}), FIVE, None)
        for name, part in made.items():
            assert part.record is not None
            assert (part.record.noise_multiplier, part.record.max_grad_norm) == (1.25, 0.7)
            assert part.record.declared_size == FIVE.clients[name].declared_size
            assert part.record.sample_rate == part.plan.sample_rate == 20 / part.record.declared_size

    def test_noise_is_calibrated_to_each_client_s_own_epsilon_over_all_rounds(self) -> None:
        rounds = 5
        private = {"enabled": True, "epsilon": 2.0, "delta": 1e-4}
        made = protections(
            config(privacy=private, training={"batch_size": 20}, rounds=rounds), population(100, 400), None
        )
        multipliers = []
        for part in made.values():
            event = part.event()
            assert event is not None
            assert 1.9 < epsilon([event] * rounds, delta=1e-4) <= 2.0
            multipliers.append(event.noise_multiplier)
        assert multipliers[0] > multipliers[1], "a smaller client is sampled more often and needs more noise"

    def test_protections_say_which_sum_they_are_for(self) -> None:
        wanted = config(secure_aggregation={"enabled": True})
        made = secure_sum(wanted, FIVE, Enrolment.of(FIVE.clients).roster, dimension=3)
        assert all(part.secure is made for part in protections(wanted, FIVE, made).values())

    def test_delta_must_forbid_the_publication_of_a_record(self) -> None:
        private = {"enabled": True, "noise_multiplier": 1.0, "delta": 0.0025}
        with pytest.raises(PrivacyError) as caught:
            protections(config(privacy=private), population(399, 400), None)
        assert str(caught.value) == (
            "privacy.delta=0.0025 allows the publication of one of client 'client-1''s 400 records;"
            " it must be below 0.0025"
        )
        check_delta(config(privacy=private).privacy, "client-0", 399)

    def test_an_epsilon_that_no_noise_meets_is_refused(self) -> None:
        private = {"enabled": True, "epsilon": 1e-9, "delta": 1e-6}
        with pytest.raises(TargetUnreachable):
            protections(config(privacy=private, rounds=100), population(100), None)

    def test_a_target_that_is_switched_on_by_hand_but_missing_is_refused(self) -> None:
        wanted = config()
        without = wanted.model_copy(update={"privacy": wanted.privacy.model_copy(update={"enabled": True})})
        with pytest.raises(PrivacyError, match=r"neither privacy\.epsilon nor privacy\.noise_multiplier"):
            protections(without, population(100), None)
