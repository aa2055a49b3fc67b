"""Whole runs whose noise the cohort shares: what they compute, charge, survive and refuse."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file

from fedlearn.cli.table import summary_lines
from fedlearn.crypto.noise import NoiseSource
from fedlearn.errors import ConfigError, FedLearnError, PrivacyError, RunError, RunInterrupted
from fedlearn.experiment import Experiment
from fedlearn.experiment.enrolment import Enrolment
from fedlearn.experiment.setup import RunSetup
from fedlearn.experiment.statistics import DECLARED
from fedlearn.privacy.accounting import epsilon
from fedlearn.privacy.cohort_noise import CohortNoise
from fedlearn.rounds.checkpoint import Checkpoint
from fedlearn.runs.execution import Execution
from fedlearn.runs.progress import RoundReport, Silent
from fedlearn.runs.result import Result
from fedlearn.simulation import simulate
from fedlearn.simulation.inprocess import in_one_process

Make = Callable[..., Experiment]
MASKED = {"enabled": True, "mode": "masked", "colluders": 1}
IDEAL = {"enabled": True, "mode": "ideal", "colluders": 1}
SHARED = {"enabled": True, "noise": "distributed", "epsilon": 2.0, "delta": 1e-3}
ONE_STEP = {"learning_rate": 0.5}
FEDERATED = {
    "dataset": "breast-cancer",
    "partition": {"kind": "iid", "clients": 5},
    "standardise": "federated",
}


@pytest.fixture
def shared(experiment: Make) -> Make:
    """Returns a maker of small experiments under shared noise; keywords replace sections."""

    def make(**sections: Any) -> Experiment:
        defaults = {"privacy": SHARED, "secure_aggregation": IDEAL, "training": ONE_STEP}
        return experiment(**{**defaults, **sections})

    return make


def model_of(directory: Path) -> NDArray[np.float32]:
    arrays = load_file(directory / "model.safetensors")
    return np.concatenate([arrays[name].ravel() for name in sorted(arrays)])


class Interrupted(Silent):
    def __init__(self, after: int) -> None:
        self._left = after

    def begin(self, name: str, rounds: int) -> None:
        del name, rounds

    def round_done(self, report: RoundReport) -> None:
        self._left -= 1
        if self._left == 0:
            raise KeyboardInterrupt


class TestWhatIsComputed:
    @pytest.mark.parametrize("data", [FEDERATED, {**FEDERATED, "standardise": "public"}])
    def test_masked_and_ideal_give_the_same_bits(self, shared: Make, data: Any, tmp_path: Path) -> None:
        for section in (MASKED, IDEAL):
            one = shared(secure_aggregation=section, data=data, reproducible_noise=True)
            simulate(one, out=tmp_path / str(section["mode"]))
        np.testing.assert_array_equal(model_of(tmp_path / "masked"), model_of(tmp_path / "ideal"))

    def test_without_clipping_and_nearly_without_noise_it_is_gradient_descent_on_all_records(
        self, shared: Make, tmp_path: Path
    ) -> None:
        nearly_none = {**SHARED, "epsilon": None, "noise_multiplier": 1e-4, "max_grad_norm": 100.0}
        simulate(shared(privacy=nearly_none), out=tmp_path / "shared")
        simulate(shared(privacy={}, secure_aggregation={}), out=tmp_path / "plain")
        np.testing.assert_allclose(model_of(tmp_path / "shared"), model_of(tmp_path / "plain"), atol=1e-3)
        assert np.abs(model_of(tmp_path / "plain")).max() > 0.05

    def test_the_server_takes_the_step_with_its_own_optimizer(self, shared: Make, tmp_path: Path) -> None:
        with_momentum = {"name": "fedavgm", "arguments": {"momentum": 0.5}}
        once = shared(reproducible_noise=True)
        simulate(once, out=tmp_path / "plain")
        simulate(shared(algorithm=with_momentum, reproducible_noise=True), out=tmp_path / "momentum")
        assert not np.array_equal(model_of(tmp_path / "plain"), model_of(tmp_path / "momentum"))

    def test_the_model_carries_the_constants_of_all_clients_together(
        self, shared: Make, tmp_path: Path
    ) -> None:
        declared = {**SHARED, "statistics": "declared"}
        one = shared(data=FEDERATED, privacy=declared)
        simulate(one, out=tmp_path / "run")
        arrays = load_file(tmp_path / "run" / "model.safetensors")
        inputs = one.population.pooled()[:][0].numpy()
        np.testing.assert_allclose(arrays["center"], inputs.mean(axis=0), atol=1e-4)
        np.testing.assert_allclose(arrays["spread"], np.maximum(inputs.std(axis=0), 0.1), atol=1e-4)

    def test_charged_constants_are_near_them(self, shared: Make, tmp_path: Path) -> None:
        generous = {**SHARED, "epsilon": 12.0, "statistics_epsilon": 10.0, "statistics_norm": 30.0}
        one = shared(data=FEDERATED, privacy=generous)
        simulate(one, out=tmp_path / "run")
        arrays = load_file(tmp_path / "run" / "model.safetensors")
        inputs = one.population.pooled()[:][0].numpy()
        np.testing.assert_allclose(arrays["center"], inputs.mean(axis=0), atol=0.5)

    def test_local_noise_standardises_by_all_clients_too(self, shared: Make, tmp_path: Path) -> None:
        local = {**SHARED, "noise": "local"}
        one = shared(data=FEDERATED, privacy=local)
        result = simulate(one, out=tmp_path / "run")
        assert result.epsilon is not None
        assert result.epsilon <= 2.0
        setup = RunSetup(experiment=one, run="check", roster=Enrolment.of(one.population.clients).roster)
        assert setup.statistics is not None
        assert setup.statistics.secure is not None
        noise = setup.statistics.secure.noise
        assert noise is not None
        assert noise.part_stddev == noise.noise_multiplier * noise.sensitivity


class TestWhatIsCharged:
    def _executed(
        self, one: Experiment, monkeypatch: pytest.MonkeyPatch
    ) -> tuple[Execution, RunSetup, Counter[float]]:
        """Runs an experiment; counts the parts of noise that were drawn, by their stddev."""
        drawn: Counter[float] = Counter()
        part = CohortNoise.part

        def counted(noise: CohortNoise, total: NDArray[Any], source: NoiseSource) -> NDArray[np.int64]:
            before = source.draws
            steps = part(noise, total, source)
            drawn[noise.part_stddev] += source.draws - before
            return steps

        monkeypatch.setattr(CohortNoise, "part", counted)
        enrolment = Enrolment.of(one.population.clients)
        setup = RunSetup(experiment=one, run="small-0", roster=enrolment.roster)
        transport = in_one_process(setup, enrolment)
        execution = Execution(setup, transport, directory=None, progress=Silent(), strict=True)
        course = execution.run(execution.begin())
        for name, client in transport.clients.items():  # type: ignore[attr-defined]
            assert client.releases.account().events == course.accounts[name].events
            assert course.accounts[name].steps == 4
        return execution, setup, drawn

    def test_every_part_that_was_drawn_is_charged_once_and_nothing_else_is(
        self, shared: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _, setup, drawn = self._executed(shared(data=FEDERATED), monkeypatch)
        assert setup.secure is not None
        assert setup.secure.noise is not None
        assert setup.statistics is not None
        assert setup.statistics.secure is not None
        assert setup.statistics.secure.noise is not None
        assert drawn == {
            setup.secure.noise.part_stddev: 5 * 3,
            setup.statistics.secure.noise.part_stddev: 5,
        }

    def test_statistics_and_training_together_spend_what_was_agreed(
        self, shared: Make, tmp_path: Path
    ) -> None:
        one = shared(data=FEDERATED)
        result = simulate(one, out=tmp_path / "run")
        setup = RunSetup(experiment=one, run="check", roster=Enrolment.of(one.population.clients).roster)
        name = next(iter(setup.protections))
        training = setup.protections[name].event()
        statistics = setup.statistics_protections[name].event()
        assert training is not None
        assert statistics is not None
        assert result.epsilon == pytest.approx(epsilon([statistics, *[training] * 3], delta=1e-3))
        assert result.epsilon is not None
        assert 1.99 <= result.epsilon <= 2.0
        assert epsilon([statistics], delta=1e-3) == pytest.approx(2.0 / 3.0, rel=1e-2)

    def test_a_poisson_sample_is_amplified_at_the_common_rate(self, shared: Make) -> None:
        sampled = shared(training={"learning_rate": 0.5, "sample_rate": 0.1, "local_steps": 1})
        roster = Enrolment.of(sampled.population.clients).roster
        for part in RunSetup(experiment=sampled, run="check", roster=roster).protections.values():
            event = part.event()
            assert event is not None
            assert (event.sample_rate, event.steps) == (0.1, 1)

    def test_declared_statistics_stand_beside_every_epsilon(self, shared: Make, tmp_path: Path) -> None:
        declared = {**SHARED, "statistics": "declared"}
        result = simulate(shared(data=FEDERATED, privacy=declared), out=tmp_path / "run")
        assert all(DECLARED in entry.scope for entry in result.privacy)
        table = summary_lines(result)
        place = next(number for number, line in enumerate(table) if "ε =" in line)
        assert DECLARED in table[place + 1]
        statement = json.loads((tmp_path / "run" / "privacy_statement.json").read_text())
        assert all(entry["declared"] == DECLARED for entry in statement["clients"])
        assert statement["overall"]["declared"] == DECLARED
        assert any(DECLARED in gap for gap in statement["not_covered"])
        rounds = (tmp_path / "run" / "rounds.jsonl").read_text().splitlines()
        assert all(json.loads(line)["declared"] == DECLARED for line in rounds)

    def test_charged_statistics_are_named_in_the_scope(self, shared: Make, tmp_path: Path) -> None:
        result = simulate(shared(data=FEDERATED), out=tmp_path / "run")
        assert all("standardisation statistics and training" in entry.scope for entry in result.privacy)
        assert all(DECLARED not in entry.scope for entry in result.privacy)
        assert all("at most 1 of the clients collude" in entry.adversary for entry in result.privacy)


class TestWhatIsSurvived:
    def test_the_statistics_are_released_once_also_when_a_run_is_taken_up_again(
        self, shared: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        one = shared(data=FEDERATED, reproducible_noise=True)
        whole = simulate(one, out=tmp_path / "whole")
        with pytest.raises(RunInterrupted):
            simulate(one, out=tmp_path / "cut", progress=Interrupted(after=1))

        def again(*arguments: object, **options: object) -> None:
            raise AssertionError("the statistics are asked for again")

        monkeypatch.setattr(RunSetup, "statistics_server", again)
        resumed = simulate(one, out=tmp_path / "cut", resume=True)
        assert resumed.privacy == whole.privacy
        np.testing.assert_array_equal(model_of(tmp_path / "cut"), model_of(tmp_path / "whole"))

    def test_a_run_cut_off_between_statistics_and_training_keeps_both_constants_and_charge(
        self, shared: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        one = shared(data=FEDERATED)

        def cut(execution: Execution, course: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(Execution, "_round", cut)
            with pytest.raises(RunInterrupted, match="0 of 3 rounds"):
                simulate(one, out=tmp_path / "cut")
        kept = Checkpoint.load(tmp_path / "cut" / "checkpoint" / "state.safetensors").record["constants"]
        resumed = simulate(one, out=tmp_path / "cut", resume=True)
        arrays = load_file(tmp_path / "cut" / "model.safetensors")
        np.testing.assert_array_equal(np.concatenate([arrays["center"], arrays["spread"]]), np.float32(kept))
        assert resumed.rounds == 3
        assert resumed.epsilon is not None
        assert 1.99 <= resumed.epsilon <= 2.0

    def test_clients_that_vanish_are_not_in_the_sum_and_the_others_are_charged(
        self, shared: Make, tmp_path: Path
    ) -> None:
        seven = {**FEDERATED, "standardise": "public", "partition": {"kind": "iid", "clients": 7}}
        result = simulate(
            shared(data=seven, secure_aggregation=MASKED, faults={"dropout": 0.15, "step": "input"}, seed=3),
            out=tmp_path / "run",
        )
        assert result.secure_aggregation.dropouts > 0
        assert result.secure_aggregation.failed_rounds < 3
        spent = sorted(entry.epsilon for entry in result.privacy)
        # A client that was lost before it gave anything spent nothing in that round, and signs for it.
        assert 1.99 <= spent[-1] <= 2.0
        assert spent[0] < 1.99

    def test_statistics_below_the_floor_train_nothing_and_stay_charged(
        self, shared: Make, tmp_path: Path
    ) -> None:
        lossy = shared(data=FEDERATED, faults={"dropout": 0.9, "step": "unmask"}, secure_aggregation=MASKED)
        with pytest.raises(RunError, match="were not released"):
            simulate(lossy, out=tmp_path / "run")
        record = Checkpoint.load(tmp_path / "run" / "checkpoint" / "state.safetensors").record
        assert record["rounds"] == []
        assert record["constants"] is None
        assert all(len(account["events"]) == 1 for account in record["accounts"].values())


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("sections", "kind", "named"),
        [
            ({"training": {"local_steps": 2}}, PrivacyError, "steers its own client"),
            ({"training": {"epochs": 3}}, PrivacyError, "3 local steps"),
            ({"training": {"sample_rate": 0.1}}, PrivacyError, "10 local steps"),
            ({"secure_aggregation": {}}, ConfigError, "protects nobody by itself"),
            ({"secure_aggregation": {**IDEAL, "modulus_bits": 16}}, ConfigError, "ring of 2"),
            ({"secure_aggregation": {**IDEAL, "fractional_bits": 8}}, ConfigError, "fractional_bits"),
            ({"training": {"batch_size": 8, "local_steps": 1}}, ConfigError, "training.sample_rate"),
            ({"training": {"momentum": 0.9}}, ConfigError, "fedavgm"),
            ({"training": {"optimizer": "adam"}}, ConfigError, "fedadam"),
            ({"training": {"weight_decay": 0.1}}, ConfigError, "weight_decay=0.1"),
            ({"aggregation": {"weights": "uniform"}}, ConfigError, "every record alike"),
            ({"privacy": {**SHARED, "statistics_epsilon": 0.5}}, ConfigError, "leave it out"),
            ({"data": FEDERATED, "privacy": {**SHARED, "statistics_epsilon": 2.0}}, PrivacyError, "nothing"),
            (
                {"data": FEDERATED, "privacy": {**SHARED, "epsilon": None, "noise_multiplier": 1.0}},
                PrivacyError,
                "statistics_epsilon is missing",
            ),
            (
                {
                    "data": FEDERATED,
                    "privacy": {**SHARED, "noise": "local"},
                    "secure_aggregation": {},
                },
                ConfigError,
                "one noisy sum",
            ),
        ],
    )
    def test_before_anything_is_loaded(
        self, shared: Make, sections: dict[str, Any], kind: type[FedLearnError], named: str
    ) -> None:
        with pytest.raises(kind, match=named):
            shared(**sections)

    def test_images_have_no_features_to_standardise(self, shared: Make) -> None:
        digits = shared(data={**FEDERATED, "dataset": "digits"}, model={"name": "cnn"})
        with pytest.raises(FedLearnError, match="rows of real features"):
            digits.build_model()

    def test_a_result_reads_back(self, shared: Make, tmp_path: Path) -> None:
        result = simulate(shared(data=FEDERATED), out=tmp_path / "run")
        assert Result.load(tmp_path / "run").privacy == result.privacy
