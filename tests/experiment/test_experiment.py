"""An experiment: what it refuses before loading, own objects, and what its seed decides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from fedlearn.data.records import DataSet, Records
from fedlearn.errors import ConfigError, DataError, ModelError, UnknownName
from fedlearn.experiment import Experiment
from fedlearn.experiment import experiment as module_under_test
from fedlearn.remedies.penalties.proximal import Proximal
from fedlearn.training.metrics import accuracy
from fedlearn.training.objective import mean_squared_error

SMALL: dict[str, Any] = {
    "data": {"dataset": "breast-cancer", "partition": {"clients": 10}},
    "model": {"name": "logistic"},
}


def experiment(objects: dict[str, Any] | None = None, **sections: Any) -> Experiment:
    return Experiment.from_dict({**SMALL, **sections}, **objects or {})


def tensors(count: int = 5, features: int = 3) -> TensorDataset:
    generator = torch.Generator().manual_seed(count)
    return TensorDataset(
        torch.randn(count, features, generator=generator), torch.randint(2, (count,), generator=generator)
    )


CLIENTS = {"b": tensors(6), "a": tensors(5)}


def own_metric(targets: np.ndarray[Any, Any], probabilities: np.ndarray[Any, Any]) -> float:
    return float(len(targets))


def text_data(folder: Path | None = None) -> DataSet:
    rng = np.random.default_rng(0)
    records = Records(inputs=rng.integers(9, size=(20, 5)), targets=rng.integers(2, size=20))
    return DataSet(
        name="text",
        records=records,
        classes=2,
        shape=(5,),
        kind="text",
        licence="none",
        source="drawn",
        vocabulary=9,
    )


def open_model(**arguments: Any) -> nn.Module:
    return nn.Linear(3, 2)


class TestRefusals:
    @pytest.mark.parametrize(
        ("sections", "hint"),
        [
            (
                {"data": {"dataset": "breast-cancr"}},
                "data set 'breast-cancr' is not known. Did you mean 'breast-",
            ),
            ({"data": {"partition": {"kind": "dirichle"}}}, "Did you mean 'dirichlet'"),
            ({"model": {"name": "logistc"}}, "model 'logistc' is not known. Did you mean 'logistic'"),
            ({"training": {"optimizer": "sdg"}}, "Did you mean 'sgd'"),
            ({"training": {"schedule": "cosin"}}, "Did you mean 'cosine'"),
            ({"training": {"loss": "cross-entropi"}}, "Did you mean 'cross-entropy'"),
            ({"algorithm": {"name": "fedavgg"}}, "Did you mean 'fedavg"),
            ({"aggregation": {"name": "weighted-meen"}}, "Did you mean 'weighted-mean'"),
            ({"metrics": ["acuracy"]}, "Did you mean 'accuracy'"),
            ({"model": {"name": "no_such_module:Net"}}, "'no_such_module:Net' cannot be imported"),
        ],
        ids=lambda value: str(value)[:40],
    )
    def test_an_unknown_name_is_answered_with_the_nearest(self, sections: dict[str, Any], hint: str) -> None:
        with pytest.raises(UnknownName) as caught:
            experiment(**sections)
        assert hint in str(caught.value)

    @pytest.mark.parametrize(
        ("sections", "line"),
        [
            (
                {"data": {"dataset": "digits", "arguments": {"x": 1}}},
                "data set 'digits' takes no argument 'x'",
            ),
            ({"model": {"name": "mlp", "arguments": {"hiden": [8]}}}, "Did you mean 'hidden'"),
            ({"model": {"name": "mlp", "arguments": {"shape": [8]}}}, "takes no argument 'shape'"),
            (
                {"algorithm": {"name": "fedprox", "arguments": {"nu": 1.0}}},
                "algorithm 'fedprox' takes no argument",
            ),
            ({"algorithm": {"name": "fedprox", "arguments": {"mu": -1.0}}}, "mu=-1.0"),
            ({"aggregation": {"name": "krum", "arguments": {"byzantin": 1}}}, "Did you mean 'byzantine'"),
            (
                {"data": {"partition": {"kind": "dirichlet", "arguments": {"alfa": 1}}}},
                "Did you mean 'alpha'",
            ),
            (
                {"data": {"partition": {"kind": "iid", "arguments": {"clients": 3}}}},
                "takes no argument 'clients'",
            ),
        ],
        ids=lambda value: str(value)[:40],
    )
    def test_an_argument_that_a_part_does_not_take(self, sections: dict[str, Any], line: str) -> None:
        with pytest.raises(ConfigError) as caught:
            experiment(**sections)
        assert line in str(caught.value)

    @pytest.mark.parametrize("name", ["median", "trimmed-mean", "krum"])
    def test_aggregators_that_need_single_updates_exclude_secure_aggregation(self, name: str) -> None:
        experiment(aggregation={"name": name})
        with pytest.raises(ConfigError) as caught:
            experiment(aggregation={"name": name}, secure_aggregation={"enabled": True})
        assert f"aggregation.name='{name}' needs each client's update in the clear" in str(caught.value)
        assert "use 'weighted-mean'" in str(caught.value)

    def test_cohorts_of_any_size_exclude_secure_aggregation(self) -> None:
        poisson = {"sampling": "poisson", "fraction": 0.5}
        with pytest.raises(
            ConfigError, match=r"cohort\.sampling='poisson' draws cohorts of any size.*use 'fixed'"
        ):
            experiment(cohort=poisson, secure_aggregation={"enabled": True})
        experiment(cohort=poisson)
        experiment(cohort={**poisson, "fraction": 1.0}, secure_aggregation={"enabled": True})

    def test_a_test_set_needs_clients(self) -> None:
        with pytest.raises(ConfigError, match="test is given without clients"):
            experiment({"test": tensors()})

    def test_nothing_is_loaded_to_find_mistakes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def loaded(*arguments: object, **more: object) -> None:
            raise AssertionError("the data set was loaded")

        monkeypatch.setattr(module_under_test, "load_data_set", loaded)
        made = experiment()
        with pytest.raises(AssertionError, match="was loaded"):
            _ = made.population


class TestWaysIn:
    def test_file_text_and_mapping_make_the_same(self, tmp_path: Path) -> None:
        made = experiment()
        path = tmp_path / "experiment.toml"
        path.write_text(made.to_toml(), encoding="utf-8")
        assert Experiment.from_toml(path).config == made.config
        assert Experiment.from_toml_text(made.to_toml()).config == made.config
        assert Experiment(config=made.config).digest == made.digest

    def test_settings_lie_over_the_file(self, tmp_path: Path) -> None:
        path = tmp_path / "experiment.toml"
        path.write_text(experiment().to_toml(), encoding="utf-8")
        assert Experiment.from_toml(path, settings=["rounds=77"]).config.rounds == 77

    def test_own_objects_come_with_any(self, tmp_path: Path) -> None:
        path = tmp_path / "experiment.toml"
        path.write_text("", encoding="utf-8")
        for made in (
            Experiment.from_toml(path, clients=CLIENTS, model=nn.Linear(3, 2)),
            Experiment.from_toml_text("", clients=CLIENTS, model=nn.Linear(3, 2)),
            Experiment.from_dict({}, clients=CLIENTS, model=nn.Linear(3, 2)),
        ):
            assert list(made.population.clients) == ["a", "b"]
            assert made.has_objects
        assert not experiment().has_objects

    def test_the_digest_follows_every_key_and_no_default_s_spelling(self) -> None:
        plain = Experiment.from_dict({})
        assert Experiment.from_dict({"rounds": 10}).digest == plain.digest
        assert Experiment.from_dict({"rounds": 11}).digest != plain.digest
        assert len(plain.digest) == 64


class TestParts:
    def test_the_recipe_is_the_configuration_s(self) -> None:
        recipe = experiment(
            rounds=7,
            training={"learning_rate": 0.3, "momentum": 0.5, "weight_decay": 0.1, "loss": "mse"},
            algorithm={"name": "fedprox", "arguments": {"mu": 0.25}},
        ).recipe
        assert (recipe.learning_rate, recipe.momentum, recipe.weight_decay) == (0.3, 0.5, 0.1)
        assert (recipe.rounds, recipe.penalties) == (7, (Proximal(strength=0.25),))
        assert recipe.loss is mean_squared_error

    def test_metrics_by_name_by_path_and_by_object(self) -> None:
        named = experiment(metrics=["accuracy", f"{own_metric.__module__}:own_metric"])
        assert named.metric_functions == {"accuracy": accuracy, "own_metric": own_metric}
        assert experiment({"metrics": {"mine": own_metric}}).metric_functions == {"mine": own_metric}

    def test_two_metrics_of_one_name_keep_their_paths(self) -> None:
        paths = ["fedlearn.training.metrics:accuracy", "accuracy"]
        assert list(experiment(metrics=paths).metric_functions) == paths

    def test_an_own_loss_goes_first(self) -> None:
        assert experiment({"loss": mean_squared_error}).recipe.loss is mean_squared_error

    def test_parts_and_population_are_made_once(self) -> None:
        made = experiment()
        for name in ("population", "algorithm", "aggregator", "recipe", "initial_params"):
            assert getattr(made, name) is getattr(made, name)


class TestModels:
    def test_the_seed_alone_decides_the_initial_vector(self) -> None:
        mlp = {"name": "mlp"}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            one = experiment(model=mlp, seed=1).initial_params
            torch.manual_seed(1)
            again = experiment(model=mlp, seed=1).initial_params
            before = torch.get_rng_state()
            other = experiment(model=mlp, seed=2).initial_params
            assert torch.equal(before, torch.get_rng_state())
        assert one.tobytes() == again.tobytes()
        assert one.tobytes() != other.tobytes()
        assert one.dtype == np.float32

    def test_a_registered_model_takes_shape_classes_and_vocabulary_from_the_data(self) -> None:
        assert experiment().build_model().dimension == 30 * 2 + 2
        made = Experiment.from_dict(
            {"model": {"name": "logistic", "arguments": {"classes": 4}}}, clients=CLIENTS
        )
        assert made.build_model().dimension == 3 * 4 + 4

    def test_own_data_without_classes_say_what_is_missing(self) -> None:
        with pytest.raises(
            ConfigError, match=r"model 'logistic' needs the argument 'classes': arguments = \{"
        ):
            Experiment.from_dict({"model": {"name": "logistic"}}, clients=CLIENTS)

    def test_an_own_model_with_open_arguments_is_asked_for_classes_when_it_is_built(self) -> None:
        made = Experiment.from_dict({"model": {"name": f"{__name__}:open_model"}}, clients=CLIENTS)
        with pytest.raises(ConfigError, match=r"needs model\.arguments\.classes with data given as objects"):
            made.build_model()

    def test_a_text_s_vocabulary_is_the_model_s_unless_it_says_another(self) -> None:
        def tokens(**arguments: Any) -> int:
            model = {"name": "lstm", "arguments": {"embedding": 3, "hidden": 4, **arguments}}
            data = {"dataset": f"{__name__}:text_data", "partition": {"clients": 2}}
            module = Experiment.from_dict({"data": data, "model": model}).build_model().module
            return len(dict(module.named_parameters())["body.embedding.weight"])

        assert tokens() == 9
        assert tokens(vocabulary=12) == 12

    def test_own_text_says_how_many_tokens_there_are(self) -> None:
        text = TensorDataset(torch.randint(9, (4, 5)), torch.randint(2, (4,)))
        lstm = {"name": "lstm", "arguments": {"classes": 2, "vocabulary": 9, "embedding": 3, "hidden": 4}}
        model = Experiment.from_dict({"model": lstm}, clients={"a": text}).build_model()
        assert dict(model.module.named_parameters())["body.embedding.weight"].shape == (9, 3)

    def test_an_own_module_is_copied_with_its_weights(self) -> None:
        module = nn.Linear(3, 2)
        made = experiment({"model": module})
        model = made.build_model()
        assert torch.equal(model.values[:6], module.weight.detach().flatten())
        model.values.zero_()
        assert module.weight.detach().abs().sum() > 0
        assert made.build_model().values[:6].abs().sum() > 0

    def test_an_own_builder_is_called_under_the_seed(self) -> None:
        made = experiment({"model": lambda: nn.Linear(3, 2)})
        assert torch.equal(made.build_model().values, made.build_model().values)

    @pytest.mark.parametrize(
        ("model", "error", "line"),
        [
            (lambda: 1 / 0, ConfigError, "the model could not be built: ZeroDivisionError: division by zero"),
            (lambda: "net", ConfigError, "model gave a str; give an nn.Module or a callable that builds one"),
            (lambda: nn.BatchNorm1d(4), ModelError, "is BatchNorm1d(4)"),
            (nn.Flatten(), ModelError, "Flatten has no trainable parameter"),
        ],
        ids=["raises", "another-type", "batchnorm", "no-parameters"],
    )
    def test_a_model_that_cannot_be_trained(self, model: Any, error: type[Exception], line: str) -> None:
        with pytest.raises(error) as caught:
            experiment({"model": model}).build_model()
        assert line in str(caught.value)

    def test_an_error_of_ours_in_a_builder_stays_what_it_is(self) -> None:
        def builder() -> nn.Module:
            raise DataError("no vocabulary")

        with pytest.raises(DataError, match="no vocabulary"):
            experiment({"model": builder}).build_model()


class TestCohorts:
    def test_everybody_by_default(self) -> None:
        made = experiment()
        assert made.cohort(0) == made.cohort(5) == tuple(sorted(made.population.clients))

    @pytest.mark.parametrize(("fraction", "count"), [(0.01, 1), (0.14, 1), (0.25, 3), (0.5, 5), (0.99, 10)])
    def test_a_fixed_number_of_distinct_clients_sorted(self, fraction: float, count: int) -> None:
        made = experiment(cohort={"fraction": fraction})
        for round in range(3):
            cohort = made.cohort(round)
            assert len(set(cohort)) == len(cohort) == count
            assert list(cohort) == sorted(cohort)
            assert all(type(name) is str for name in cohort)

    @pytest.mark.parametrize("sampling", ["fixed", "poisson"])
    def test_seed_and_round_alone_decide(self, sampling: str) -> None:
        def drawn(seed: int) -> list[tuple[str, ...]]:
            made = experiment(seed=seed, cohort={"fraction": 0.5, "sampling": sampling})
            return [made.cohort(round) for round in (3, 0, 1, 2)]

        assert drawn(0) == drawn(0)
        assert drawn(0) != drawn(1)
        assert len(set(drawn(0))) > 1

    @pytest.mark.parametrize("sampling", ["fixed", "poisson"])
    def test_each_client_takes_part_as_often(self, sampling: str) -> None:
        """500 rounds, share 0.3 of 10: each client's count within 5.5 σ (false alarm 4e-7 over all)."""
        made = experiment(cohort={"fraction": 0.3, "sampling": sampling})
        counts = dict.fromkeys(made.population.clients, 0)
        sizes = []
        for round in range(500):
            cohort = made.cohort(round)
            sizes.append(len(cohort))
            for name in cohort:
                counts[name] += 1
        assert max(abs(count - 150) for count in counts.values()) < 5.5 * (500 * 0.3 * 0.7) ** 0.5
        assert (len(set(sizes)) == 1) is (sampling == "fixed")
