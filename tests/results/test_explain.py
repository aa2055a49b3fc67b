"""Attributions are right, and what is released over clients is charged and hidden as it says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from fedlearn.cli.main import main
from fedlearn.crypto.noise import NoiseSource
from fedlearn.errors import BudgetExhausted, ConfigError, ModelError, TooFewClients
from fedlearn.experiment.ledgers import LedgerFolder
from fedlearn.models import MODELS
from fedlearn.privacy.accounting import epsilon
from fedlearn.privacy.events import SampledGaussianEvent
from fedlearn.results.explain.attribution import attributions, importance
from fedlearn.results.explain.private import private_importance, together
from tests.results.runs import TABLE, a_run

VECTORS = {f"client-{number}": np.array([0.7, 0.2, 0.1]) for number in range(5)}


def test_a_linear_model_is_explained_exactly() -> None:
    layer = nn.Linear(3, 2)
    inputs = torch.randn(6, 3)
    found = attributions(layer, inputs)
    wanted = layer.weight[torch.from_numpy(found.classes)] * inputs
    np.testing.assert_allclose(found.values, wanted.detach().numpy(), atol=1e-6)
    assert found.gap < 1e-5


@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_attributions_add_up_to_the_logit(name: str) -> None:
    torch.manual_seed(5)
    shape = (1, 8, 8) if name == "cnn" else (6,)
    model = MODELS.build(name, {}, shape=shape, classes=3).eval()
    inputs = torch.randn(4, *shape)
    found = attributions(model, inputs)
    with torch.no_grad():
        rise = (model(inputs) - model(torch.zeros_like(inputs))).numpy()
    wanted = rise[np.arange(4), found.classes]
    np.testing.assert_allclose(found.values.reshape(4, -1).sum(axis=1), wanted, atol=0.05)


@pytest.mark.parametrize("name", ["lstm", "transformer"])
def test_a_text_is_explained_by_position(name: str) -> None:
    torch.manual_seed(5)
    model = MODELS.build(name, {"vocabulary": 9}, shape=(7,), classes=9).eval()
    found = attributions(model, torch.randint(9, (3, 7)))
    assert found.values.shape == (3, 7)
    assert np.isfinite(found.values).all()


def test_what_gives_no_one_class_is_refused() -> None:
    with pytest.raises(ModelError, match="have no one class to explain"):
        attributions(nn.Identity(), torch.zeros(2, 3, 4))


def test_importance_of_nothing_is_nothing() -> None:
    assert importance(np.zeros((4, 3))).tolist() == [0, 0, 0]


def test_the_command_ranks_inputs_and_writes_a_page(
    table_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", str(table_run), "--records", "40", "--top", "3", "--out", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    told = json.loads((tmp_path / "explanation.json").read_text())
    best = told["names"][int(np.argmax(told["shares"]))]
    assert lines[0].startswith(best)
    assert sum(told["shares"]) == pytest.approx(1)
    assert told["guarantee"] is None
    html = (tmp_path / "explanation.html").read_text()
    assert best in html
    assert "the shares are exact" in html
    assert "default-src 'none'" in html


def test_pictures_get_a_map_per_class(image_run: Path, tmp_path: Path) -> None:
    assert main(["explain", str(image_run), "--records", "30", "--out", str(tmp_path)]) == 0
    told = json.loads((tmp_path / "explanation.json").read_text())
    html = (tmp_path / "explanation.html").read_text()
    assert html.count("<img") == 1 + len(told["by_class"])
    assert 'alt="Map of the share of each pixel: all classes"' in html


def test_a_private_explanation_states_what_it_spends(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    privacy = {"enabled": True, "epsilon": 3.0, "delta": 1e-3}
    run = a_run(tmp_path / "run", TABLE, privacy=privacy)
    assert (
        main(["explain", str(run), "--epsilon", "1.0", "--delta", "1e-3", "--records", "16", "--json"]) == 0
    )
    told = json.loads(capsys.readouterr().out)
    alone, both = told["guarantee"], told["together"]
    assert 0.95 <= alone["epsilon"] <= 1.0
    assert (alone["unit"], alone["delta"]) == ("client", 1e-3)
    assert both["unit"] == "record"
    assert 3.0 < both["epsilon"] <= 3.0 + 2.0
    assert told["records"] is None
    assert told["directions"] is None
    assert told["by_class"] == {}
    assert told["stddev"] > 0
    html = (run / "explanation.html").read_text()
    assert "this explanation by itself" in html
    assert "training and explanation together" in html


def test_noise_is_calibrated_and_its_spread_is_as_stated() -> None:
    released = [
        private_importance(VECTORS, epsilon=8.0, delta=1e-3, noise=NoiseSource.reproducible_from(seed))
        for seed in range(400)
    ]
    first = released[0]
    assert first.stddev == pytest.approx(first.event.noise_multiplier / 5)
    assert epsilon((first.event,), delta=1e-3) <= 8.0
    # The largest share lies far enough above the cut at 0 for its noise to be seen whole.
    values = np.array([entry.shares[0] for entry in released])
    assert np.mean(values) == pytest.approx(0.7, abs=5 * first.stddev / 20)
    assert np.std(values) == pytest.approx(first.stddev, rel=0.2)


def test_a_client_moves_the_sum_by_no_more_than_the_norm() -> None:
    """The largest vector there is, against none: through the release, with the same noise."""
    wild = {**VECTORS, "odd": np.array([1e9, -1e9, np.inf])}
    calm = {**VECTORS, "odd": np.zeros(3)}
    found = [
        private_importance(vectors, epsilon=50.0, delta=1e-3, noise=NoiseSource.reproducible_from(1)).shares
        for vectors in (wild, calm)
    ]
    assert np.linalg.norm(found[0] - found[1]) * 6 <= 1.0 + 1e-3


def test_record_level_cost_is_that_of_half_the_noise() -> None:
    released = private_importance(VECTORS, epsilon=1.0, delta=1e-3, noise=NoiseSource())
    spent = SampledGaussianEvent(noise_multiplier=2.0, sample_rate=0.1, steps=10)
    both = together(released, {"a": (spent,), "b": ()})
    assert both is not None
    half = SampledGaussianEvent(
        noise_multiplier=released.event.noise_multiplier / 2, sample_rate=1.0, steps=1
    )
    assert both.epsilon == pytest.approx(epsilon((spent, half), delta=1e-3))
    assert together(released, {}) is None


def folder_with(tmp_path: Path, allowed: float) -> LedgerFolder:
    tmp_path.mkdir(exist_ok=True)
    (tmp_path / "policy.toml").write_text(
        f'[datasets.breast-cancer]\nepsilon = {allowed}\ndelta = 1e-3\nunit = "client"\n'
    )
    return LedgerFolder(tmp_path)


def test_ledgers_are_charged_before_anything_is_released(tmp_path: Path) -> None:
    folder = folder_with(tmp_path / "ledgers", 1.5)
    keys = folder.enrolment(VECTORS).keys
    with folder.opened(keys) as ledgers:
        released = private_importance(
            VECTORS,
            epsilon=1.0,
            delta=1e-3,
            noise=NoiseSource(),
            ledgers=ledgers,
            run="r",
            dataset="breast-cancer",
        )
        for ledger in ledgers.values():
            assert ledger.epsilon("breast-cancer") == pytest.approx(released.guarantee.epsilon)
            assert ledger.reserved() == []
        noise = NoiseSource()
        with pytest.raises(BudgetExhausted):
            private_importance(
                VECTORS,
                epsilon=1.0,
                delta=1e-3,
                noise=noise,
                ledgers=ledgers,
                run="r",
                dataset="breast-cancer",
            )
        assert noise.draws == 0
        assert all(ledger.reserved() == [] for ledger in ledgers.values())


def test_one_client_is_no_average() -> None:
    with pytest.raises(TooFewClients, match="needs at least 2"):
        private_importance({"a": np.ones(2)}, epsilon=1.0, delta=1e-3, noise=NoiseSource())


@pytest.mark.parametrize(
    "argv",
    [
        ["--epsilon", "1"],
        ["--delta", "1e-3"],
        ["--ledger", "x"],
        ["--epsilon", "1", "--delta", "1e-3", "--data", "digits"],
        ["--records", "0"],
        ["--seed", "-1"],
        ["--top", "0"],
        ["--epsilon", "1", "--delta", "2"],
        ["--epsilon", "1", "--delta", "1e-3", "--records", "0"],
        ["--epsilon", "-1", "--delta", "1e-3"],
    ],
)
def test_what_does_not_go_together_is_one_line(
    table_run: Path, argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", str(table_run), *argv]) == ConfigError.exit_code
    assert capsys.readouterr().err.count("\n") == 1
