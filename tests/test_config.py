"""The configuration: every key documented, no typo silent, and a file that comes back as it was."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fedlearn.config import ExperimentConfig, PrivacyConfig, Section, TrainingConfig, keys
from fedlearn.errors import ConfigError

FULL: dict[str, Any] = {
    "name": "hospitals-1.0",
    "rounds": 3,
    "seed": 2**63 - 1,
    "metrics": ["auc", "my.module:metric"],
    "data": {
        "dataset": "breast-cancer",
        "declared_size": {"client-0": 100, "client-1": 50},
        "partition": {"kind": "dirichlet", "clients": 2, "arguments": {"alpha": 0.5}},
    },
    "training": {"sample_rate": 0.05, "local_steps": 4},
    "privacy": {"enabled": True, "epsilon": 3, "delta": 1e-6},
}


def refusal(values: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        ExperimentConfig.from_dict(values)
    return str(caught.value)


def at(key: str, value: Any) -> dict[str, Any]:
    """Returns nested tables that hold one value at a dotted key."""
    for name in reversed(key.split(".")):
        value = {name: value}
    assert isinstance(value, dict)
    return value


class TestKeys:
    def test_every_key_has_one_sentence(self) -> None:
        for key, field in keys():
            assert field.description, key
            assert not field.description.endswith("."), key

    def test_every_key_has_a_default_so_that_an_empty_file_is_an_experiment(self) -> None:
        assert ExperimentConfig.from_toml_text("") == ExperimentConfig()
        assert not [key for key, field in keys() if field.is_required()]

    def test_dotted_keys_are_distinct_and_lead_to_the_fields(self) -> None:
        listed = dict(keys())
        assert len(listed) == len(list(keys()))
        assert {"name", "privacy.epsilon", "data.partition.clients"} <= listed.keys()
        assert listed["privacy.epsilon"] is PrivacyConfig.model_fields["epsilon"]

    def test_a_section_s_keys_alone(self) -> None:
        assert [key for key, _ in keys(PrivacyConfig)] == list(PrivacyConfig.model_fields)

    def test_sections_are_frozen_and_refuse_unknown_keys(self) -> None:
        for section in Section.__subclasses__():
            assert section.model_config["frozen"]
            assert section.model_config["extra"] == "forbid"
            assert section.__doc__
        with pytest.raises(ValidationError, match="frozen"):
            ExperimentConfig().privacy.enabled = True  # type: ignore[misc]  # what is refused


class TestMistakes:
    @pytest.mark.parametrize(
        ("key", "hint"),
        [
            ("round", "round is not a key. Did you mean 'rounds'?"),
            ("privacy.epsilom", "privacy.epsilom is not a key. Did you mean 'epsilon'?"),
            ("data.partition.client", "data.partition.client is not a key. Did you mean 'clients'?"),
            ("privacy.zzz", "privacy.zzz is not a key. Known here: enabled, unit, noise, epsilon"),
            ("zzz", "zzz is not a key. Known here: name, rounds"),
        ],
    )
    def test_an_unknown_key_is_answered_with_the_nearest(self, key: str, hint: str) -> None:
        assert refusal(at(key, 1)).startswith(hint)

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("rounds", 0),
            ("rounds", 10**6 + 1),
            ("rounds", 3.0),
            ("rounds", "3"),
            ("rounds", True),
            ("seed", -1),
            ("seed", 2**63),
            ("name", ""),
            ("name", "../outside"),
            ("name", ".hidden"),
            ("name", "a" * 65),
            ("metrics", []),
            ("metrics", "accuracy"),
            ("reproducible_noise", 1),
            ("data.test_fraction", 0.0),
            ("data.test_fraction", 1.0),
            ("data.standardise", "global"),
            ("data.declared_size", "many"),
            ("data.declared_size", {"client-0": 1.5}),
            ("data.partition.clients", 0),
            ("training.learning_rate", 0.0),
            ("training.learning_rate", float("nan")),
            ("training.learning_rate", float("inf")),
            ("training.momentum", 1.0),
            ("training.batch_size", 0),
            ("training.sample_rate", 0.0),
            ("training.sample_rate", 1.5),
            ("cohort.fraction", 0.0),
            ("cohort.deadline_seconds", 0),
            ("privacy.epsilon", 0.0),
            ("privacy.epsilon", float("inf")),
            ("privacy.delta", 1.0),
            ("privacy.max_grad_norm", -1.0),
            ("secure_aggregation.modulus_bits", 24),
            ("secure_aggregation.min_survivors", 3),
            ("secure_aggregation.dropout", 0.5),
            ("secure_aggregation.colluders", 0),
            ("faults.dropout", 1.0),
            ("faults.step", "later"),
            ("baselines.local", "yes"),
        ],
    )
    def test_a_value_out_of_range_or_of_another_type_is_named(self, key: str, value: Any) -> None:
        line = refusal(at(key, value))
        assert line.startswith(key), line
        assert "\n" not in line

    def test_the_value_and_the_bound_are_in_the_line(self) -> None:
        assert refusal({"rounds": 0}) == "rounds=0 should be greater than or equal to 1"

    def test_a_value_where_a_table_belongs_is_named(self) -> None:
        assert refusal({"privacy": 3}).startswith("privacy=3 should be")

    def test_all_mistakes_are_told_at_once(self) -> None:
        line = refusal({"rounds": 0, "privacy": {"epsilom": 1}, "training": {"momentum": 2.0}})
        assert [part.split("=")[0].split(" ")[0] for part in line.split("; ")] == [
            "rounds",
            "training.momentum",
            "privacy.epsilom",
        ]

    @pytest.mark.parametrize(
        ("one", "other"), [("batch_size", "sample_rate"), ("epochs", "local_steps")], ids=str
    )
    def test_alternatives_exclude_each_other(self, one: str, other: str) -> None:
        line = refusal({"training": {one: 1, other: 1}})
        assert line == f"training: {one} and {other} exclude each other: give one"
        TrainingConfig.model_validate({one: 1})
        TrainingConfig.model_validate({other: 1})

    @pytest.mark.parametrize("privacy", [{}, {"epsilon": 1.0, "noise_multiplier": 1.0}])
    def test_privacy_needs_exactly_one_target(self, privacy: dict[str, float]) -> None:
        line = refusal({"privacy": {"enabled": True, **privacy}})
        assert line == "privacy: give exactly one of epsilon and noise_multiplier"

    @pytest.mark.parametrize("unit", ["both", ["record", "client"]])
    def test_two_units_of_privacy_are_refused_with_the_reason(self, unit: object) -> None:
        line = refusal({"privacy": {"enabled": True, "epsilon": 1.0, "unit": unit}})
        assert line.startswith("privacy.unit: one of 'record' and 'client'")
        assert "a client-level guarantee covers each of its records" in line

    def test_a_target_may_stand_by_while_privacy_is_off(self) -> None:
        config = ExperimentConfig.from_dict({"privacy": {"epsilon": 1.0}})
        assert not config.privacy.enabled


class TestToml:
    def test_a_whole_experiment_comes_back_equal(self) -> None:
        config = ExperimentConfig.from_dict(FULL)
        assert ExperimentConfig.from_toml_text(config.to_toml()) == config

    def test_the_text_is_complete_but_for_keys_without_a_value(self) -> None:
        config = ExperimentConfig()
        written = tomllib.loads(config.to_toml())
        assert written == config.model_dump(exclude_none=True)
        assert "epsilon" not in written["privacy"]
        assert written["privacy"]["delta"] == 1e-5

    @given(
        rounds=st.integers(1, 10**6),
        rate=st.floats(min_value=5e-324, max_value=1e308),
        epsilon=st.floats(min_value=1e-300, max_value=1e300),
        sizes=st.dictionaries(st.text(st.characters(codec="utf-8")), st.integers(1, 10**9), max_size=3),
    )
    def test_numbers_and_names_survive_the_file(
        self, rounds: int, rate: float, epsilon: float, sizes: dict[str, int]
    ) -> None:
        config = ExperimentConfig.from_dict(
            {
                "rounds": rounds,
                "training": {"learning_rate": rate},
                "privacy": {"epsilon": epsilon},
                "data": {"declared_size": sizes},
            }
        )
        assert ExperimentConfig.from_toml_text(config.to_toml()) == config

    def test_a_file_is_read_as_its_text(self, tmp_path: Path) -> None:
        path = tmp_path / "experiment.toml"
        path.write_text('name = "ε"', encoding="utf-8")
        with pytest.raises(ConfigError, match="name='ε'"):
            ExperimentConfig.from_toml(path)
        path.write_text(ExperimentConfig.from_dict(FULL).to_toml(), encoding="utf-8")
        assert ExperimentConfig.from_toml(path) == ExperimentConfig.from_dict(FULL)

    def test_a_missing_file_is_named_with_the_reason(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"absent\.toml cannot be read: No such file or directory"):
            ExperimentConfig.from_toml(tmp_path / "absent.toml")

    def test_a_folder_is_no_file(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
            ExperimentConfig.from_toml(tmp_path)

    def test_bytes_that_are_no_text_are_placed(self, tmp_path: Path) -> None:
        path = tmp_path / "experiment.toml"
        path.write_bytes(b'name = "\xff"')
        with pytest.raises(ConfigError, match=r"experiment\.toml is not UTF-8 text at byte 8"):
            ExperimentConfig.from_toml(path)

    def test_a_syntax_error_is_placed(self, tmp_path: Path) -> None:
        path = tmp_path / "experiment.toml"
        path.write_text("rounds = \n", encoding="utf-8")
        with pytest.raises(ConfigError, match=r"experiment\.toml is not valid TOML: .*line 1"):
            ExperimentConfig.from_toml(path)
        with pytest.raises(ConfigError, match="the experiment is not valid TOML"):
            ExperimentConfig.from_toml_text("=")


class TestSettings:
    def test_settings_lie_over_the_file(self) -> None:
        config = ExperimentConfig.from_toml_text(
            "rounds = 3\n[privacy]\ndelta = 1e-6\n",
            settings=["rounds=7", "privacy.epsilon = 2.5", "model.name=cnn", 'metrics=["auc"]'],
        )
        assert (config.rounds, config.privacy.epsilon, config.privacy.delta) == (7, 2.5, 1e-6)
        assert (config.model.name, config.metrics) == ("cnn", ["auc"])

    def test_a_bare_word_is_a_string_and_a_toml_value_is_what_it_says(self) -> None:
        settings = ["data.folder=/mnt/a=b", 'name="quoted"', "privacy.enabled=false"]
        config = ExperimentConfig.from_toml_text("", settings=settings)
        assert (config.data.folder, config.name, config.privacy.enabled) == ("/mnt/a=b", "quoted", False)

    def test_the_last_setting_wins(self) -> None:
        assert ExperimentConfig.from_toml_text("", settings=["rounds=1", "rounds=2"]).rounds == 2

    @pytest.mark.parametrize(
        ("setting", "line"),
        [
            ("rounds", "setting 'rounds' must read key=value"),
            ("=3", "is not a key"),
            ("privacy.epsilom=3", "privacy.epsilom is not a key. Did you mean 'epsilon'?"),
            ("rounds.x=3", "rounds.x is not a key: 'rounds' holds a value, not a table"),
            ("rounds=many", "rounds='many' should be a valid integer"),
        ],
    )
    def test_a_mistake_in_a_setting_reads_like_one_in_the_file(self, setting: str, line: str) -> None:
        with pytest.raises(ConfigError) as caught:
            ExperimentConfig.from_toml_text("rounds = 2", settings=[setting])
        assert line in str(caught.value)

    def test_with_settings_replaces_and_validates_anew(self) -> None:
        config = ExperimentConfig.from_dict(FULL)
        assert config.with_settings(rounds=9).rounds == 9
        assert config.with_settings(privacy={"enabled": False}).privacy == PrivacyConfig()
        assert config.rounds == 3
        with pytest.raises(ConfigError, match="rounds=0"):
            config.with_settings(rounds=0)
