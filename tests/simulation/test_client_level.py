"""Client-level privacy from configuration to statement: executed is charged, masked is ideal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedlearn.crypto.noise import NoiseSource
from fedlearn.errors import (
    BudgetExhausted,
    ConfigError,
    DeltaTooLarge,
    NonLinearAggregator,
    RingTooSmall,
    SamplerMismatch,
    SecureAggregationNeeded,
    TargetUnreachable,
    UnboundedWeights,
)
from fedlearn.experiment import Experiment
from fedlearn.experiment.enrolment import Enrolment
from fedlearn.experiment.setup import RunSetup
from fedlearn.privacy.accounting import epsilon
from fedlearn.runs.execution import Course, Execution
from fedlearn.runs.progress import Silent
from fedlearn.simulation import simulate
from fedlearn.simulation.inprocess import in_one_process
from fedlearn.simulation.residents import Residents
from tests.simulation.test_simulate import model_of

Make = Callable[..., Experiment]
EIGHT = {"dataset": "breast-cancer", "partition": {"kind": "iid", "clients": 8}}
CENTRAL = {"enabled": True, "unit": "client", "noise": "central", "noise_multiplier": 2.0, "delta": 1e-3}
SHARED = {**CENTRAL, "noise": "distributed"}
RING = {"enabled": True, "mode": "ideal", "modulus_bits": 16}
UNIFORM = {"weights": "uniform"}
MODES: dict[str, dict[str, Any]] = {
    "central": {"privacy": CENTRAL},
    "central, adaptive": {"privacy": {**CENTRAL, "clip_quantile": 0.5}},
    "central, masked": {"privacy": CENTRAL, "secure_aggregation": {"enabled": True}},
    "distributed": {"privacy": SHARED, "secure_aggregation": RING},
    "distributed, masked": {"privacy": SHARED, "secure_aggregation": {**RING, "mode": "masked"}},
    "distributed, adaptive": {
        "privacy": {**SHARED, "clip_quantile": 0.5},
        "secure_aggregation": {**RING, "mode": "masked"},
    },
}


def setup_of(made: Experiment) -> tuple[RunSetup, Enrolment]:
    enrolment = Enrolment.of(made.population.clients)
    return RunSetup(experiment=made, run="small-0", roster=enrolment.roster), enrolment


def run(made: Experiment) -> tuple[RunSetup, Residents, Course]:
    setup, enrolment = setup_of(made)
    transport = in_one_process(setup, enrolment)
    execution = Execution(setup, transport, directory=None, progress=Silent(), strict=True)
    assert isinstance(transport.clients, Residents)
    return setup, transport.clients, execution.run(execution.begin())


class TestEveryMode:
    @pytest.mark.parametrize("mode", sorted(MODES))
    def test_what_is_executed_is_what_is_charged(self, experiment: Make, mode: str) -> None:
        setup, clients, course = run(experiment(data=EIGHT, aggregation=UNIFORM, **MODES[mode]))
        mechanism = setup.mechanism
        assert mechanism is not None
        for name, client in clients.items():
            assert setup.protections[name].mechanism is mechanism, "client and server hold one value"
            assert client.releases.account().events == course.accounts[name].events
            assert course.accounts[name].epsilon(delta=1e-3) == epsilon([mechanism.event()] * 3, delta=1e-3)
        assert np.isfinite(course.state.params).all()

    @pytest.mark.parametrize("mode", sorted(MODES))
    def test_each_round_draws_the_noise_that_it_is_charged(
        self, experiment: Make, mode: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sources: list[NoiseSource] = []

        def noted(*use: object) -> Callable[[int], NoiseSource]:
            del use

            def source(round: int) -> NoiseSource:
                sources.append(NoiseSource())
                return sources[-1]

            return source

        for module in ("clients", "setup"):
            monkeypatch.setattr(f"fedlearn.experiment.{module}.noise_of", noted)
        setup, clients, course = run(experiment(data=EIGHT, aggregation=UNIFORM, **MODES[mode]))
        assert setup.mechanism is not None
        blocks = 1 + setup.mechanism.sums.bits
        adders = 1 if setup.mechanism.added_by == "central" else len(clients)
        assert sum(source.draws for source in sources) == course.completed * blocks * adders

    def test_the_result_says_unit_noise_and_against_whom(self, experiment: Make, tmp_path: Path) -> None:
        made = experiment(data=EIGHT, aggregation=UNIFORM, **MODES["distributed"])
        result = simulate(made, out=tmp_path / "run")
        overall = result.privacy[-1]
        assert (overall.client, overall.unit, overall.noise) == ("overall", "client", "distributed")
        assert overall.adversary.startswith("the server, every other client")
        assert overall.adversary.endswith("while at most 1 of the clients collude with them")
        assert any("expected to wrap" in finding for finding in result.findings)
        central = simulate(experiment(data=EIGHT, aggregation=UNIFORM, privacy=CENTRAL), out=tmp_path / "c")
        assert "but not the server" in central.privacy[-1].adversary

    def test_an_epsilon_is_met_and_kept(self, experiment: Make) -> None:
        for mode, secure in ((CENTRAL, {}), (SHARED, RING)):
            privacy = {**mode, "noise_multiplier": None, "epsilon": 4.0}
            made = experiment(data=EIGHT, aggregation=UNIFORM, privacy=privacy, secure_aggregation=secure)
            setup, enrolment = setup_of(made)
            transport = in_one_process(setup, enrolment)
            execution = Execution(setup, transport, directory=None, progress=Silent(), strict=True)
            course = execution.run(execution.begin())
            assert 3.9 < course.accounts["client-0"].epsilon(delta=1e-3) <= 4.0
            with pytest.raises(BudgetExhausted, match=r"of 4 at δ 0\.001"):
                execution.run(execution.begin())

    def test_the_clipping_norm_moves_and_outlives_a_restart(self, experiment: Make, tmp_path: Path) -> None:
        privacy = {**CENTRAL, "clip_quantile": 0.5, "clip_norm": 50.0}
        made = experiment(data=EIGHT, aggregation=UNIFORM, privacy=privacy, reproducible_noise=True)
        simulate(made, out=tmp_path / "run")
        resumed = simulate(made, out=tmp_path / "run", resume=True)
        assert resumed.rounds == 3
        _, _, course = run(made)
        assert course.clip_norm is not None
        assert course.clip_norm != 50.0


def test_masked_and_ideal_give_the_same_bits(experiment: Make, tmp_path: Path) -> None:
    privacy = {**SHARED, "clip_quantile": 0.5}
    for mode in ("masked", "ideal"):
        made = experiment(
            data=EIGHT,
            aggregation=UNIFORM,
            privacy=privacy,
            secure_aggregation={**RING, "mode": mode},
            reproducible_noise=True,
        )
        simulate(made, out=tmp_path / mode)
    np.testing.assert_array_equal(model_of(tmp_path / "masked"), model_of(tmp_path / "ideal"))


POISSON = {"fraction": 0.5, "sampling": "poisson"}


class TestPoissonCohorts:
    def test_outsiders_get_a_line_of_their_own(self, experiment: Make, tmp_path: Path) -> None:
        made = experiment(data=EIGHT, aggregation=UNIFORM, privacy=CENTRAL, cohort=POISSON)
        result = simulate(made, out=tmp_path / "run")
        outside = result.privacy[-1]
        assert outside.client == "outsiders"
        assert "sees no cohort, neither the server nor any client" in outside.adversary
        unsampled = epsilon([setup_of(made)[0].protections["client-0"].event()] * 3, delta=1e-3)  # type: ignore[list-item]
        assert outside.epsilon < unsampled

    def test_the_seed_does_not_tell_the_cohort(self, experiment: Make) -> None:
        made = experiment(data=EIGHT, aggregation=UNIFORM, privacy=CENTRAL, cohort=POISSON)
        one, other = setup_of(made)[0], setup_of(made)[0]
        rounds = range(12)
        assert [one.cohort(r) for r in rounds] == [one.cohort(r) for r in rounds], "drawn once"
        assert [one.cohort(r) for r in rounds] != [other.cohort(r) for r in rounds]
        assert [one.cohort(r) for r in rounds] != [made.cohort(r) for r in rounds]

    def test_fixed_cohorts_have_none(self, experiment: Make, tmp_path: Path) -> None:
        made = experiment(data=EIGHT, aggregation=UNIFORM, privacy=CENTRAL, cohort={"fraction": 0.5})
        result = simulate(made, out=tmp_path / "run")
        assert result.privacy[-1].client == "overall"

    def test_noise_for_outsiders_alone_is_less(self, experiment: Make) -> None:
        target = {**CENTRAL, "noise_multiplier": None, "epsilon": 4.0}
        everyone, outsiders = (
            setup_of(
                experiment(
                    data=EIGHT,
                    aggregation=UNIFORM,
                    privacy={**target, "against": against},
                    cohort={"fraction": 0.2, "sampling": "poisson"},
                )
            )[0]
            for against in ("everyone", "outsiders")
        )
        assert outsiders.mechanism is not None
        assert everyone.mechanism is not None
        assert outsiders.mechanism.event().noise_multiplier < everyone.mechanism.event().noise_multiplier
        assert outsiders.protections["client-0"].budget is None, "clients count what they spend against all"


REFUSALS: dict[str, tuple[type[Exception], str, dict[str, Any]]] = {
    "no secure aggregation": (
        SecureAggregationNeeded,
        "secure_aggregation.enabled=false",
        {"privacy": SHARED, "aggregation": UNIFORM},
    ),
    "an aggregator that is not linear": (
        NonLinearAggregator,
        "use 'weighted-mean'",
        {"privacy": CENTRAL, "aggregation": {"name": "median", "weights": "uniform"}},
    ),
    "weights by true sizes": (UnboundedWeights, "set aggregation.weights='uniform'", {"privacy": CENTRAL}),
    "amplification of fixed cohorts": (
        SamplerMismatch,
        "set cohort.sampling='poisson'",
        {"privacy": {**CENTRAL, "against": "outsiders"}, "aggregation": UNIFORM},
    ),
    "amplification of records": (
        SamplerMismatch,
        "amplifies nothing",
        {"privacy": {"enabled": True, "noise_multiplier": 1.0, "against": "outsiders"}},
    ),
    "local noise for clients": (
        ConfigError,
        "set privacy.noise='central' or 'distributed'",
        {"privacy": {**CENTRAL, "noise": "local"}, "aggregation": UNIFORM},
    ),
    "central noise for records": (
        ConfigError,
        "no records to clip",
        {"privacy": {"enabled": True, "noise_multiplier": 1.0, "noise": "central"}},
    ),
    "a resolution beside the mechanism's": (
        ConfigError,
        "leave it out",
        {"privacy": SHARED, "aggregation": UNIFORM, "secure_aggregation": {**RING, "fractional_bits": 4}},
    ),
    "statistics charged per record": (
        ConfigError,
        "for each record, not for each client",
        {
            "privacy": CENTRAL,
            "aggregation": UNIFORM,
            "data": {**EIGHT, "standardise": "federated"},
            "secure_aggregation": {"enabled": True},
        },
    ),
}


@pytest.mark.parametrize("case", sorted(REFUSALS))
def test_parts_that_break_the_guarantee_are_refused_before_anything_is_loaded(
    experiment: Make, case: str
) -> None:
    error, message, sections = REFUSALS[case]
    with pytest.raises(error, match=message):
        experiment(**{"data": EIGHT, **sections})


class TestNumbersThatCannotBe:
    """Refused when the run is set up: nothing is trained, nothing charged."""

    def refused(self, experiment: Make, **sections: Any) -> None:
        setup, _ = setup_of(experiment(data=EIGHT, aggregation=UNIFORM, **sections))
        _ = setup.protections

    def test_delta_of_one_over_the_clients(self, experiment: Make) -> None:
        with pytest.raises(
            DeltaTooLarge, match=r"delta=0.125 allows .* one of 8 clients; it must be below 0.125"
        ):
            self.refused(experiment, privacy={**CENTRAL, "delta": 0.125})

    def test_a_target_that_no_noise_meets(self, experiment: Make) -> None:
        target = {**CENTRAL, "noise_multiplier": None, "epsilon": 1e-5, "delta": 1e-9}
        with pytest.raises(TargetUnreachable, match="is out of reach of 3 steps"):
            self.refused(experiment, privacy=target)

    def test_a_ring_that_leaves_no_signal(self, experiment: Make) -> None:
        with pytest.raises(RingTooSmall, match=r"raise secure_aggregation\.modulus_bits to 32"):
            self.refused(experiment, privacy={**SHARED, "noise_multiplier": 900.0}, secure_aggregation=RING)


def test_declared_sizes_bound_the_weights(experiment: Make) -> None:
    sizes = {f"client-{n}": 30 + 4 * n for n in range(8)}
    made = experiment(data={**EIGHT, "declared_size": sizes}, privacy=CENTRAL)
    setup, _, course = run(made)
    assert setup.mechanism is not None
    assert max(part.weight for part in setup.protections.values()) == 1.0
    assert setup.mechanism.sums.expected_weight == pytest.approx(sum(sizes.values()) / 58)
    assert course.completed == 3


def test_a_fixed_schedule_is_calibrated_to_the_busiest_client(experiment: Make) -> None:
    target = {**CENTRAL, "noise_multiplier": None, "epsilon": 4.0}
    _, _, course = run(
        experiment(data=EIGHT, aggregation=UNIFORM, privacy=target, cohort={"fraction": 0.25}, rounds=6)
    )
    spent = max(account.epsilon(delta=1e-3) for account in course.accounts.values())
    assert 3.9 < spent <= 4.0
