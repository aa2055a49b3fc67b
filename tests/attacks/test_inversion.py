"""Inversion: what the algebra says, and what masks do and do not hide."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from fedlearn.attacks.gradient_matching import GradientMatching
from fedlearn.attacks.imprint import Imprint, SumImprint
from fedlearn.attacks.linear_inversion import FirstLayer, SumInversion, UpdateInversion, ratios
from fedlearn.attacks.pictures import pictures_of
from fedlearn.attacks.recovery import best_psnr, blind_psnr, nearest, range_of
from fedlearn.attacks.scene import Attack
from fedlearn.errors import ConfigError
from tests.attacks.scenes import scene, victim

MASKED = {"enabled": True, "mode": "masked"}


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_a_row_of_the_gradient_over_its_bias_is_the_record() -> None:
    record, slopes = np.array([0.25, -1.0, 3.0]), np.array([0.5, 0.0, -2.0])
    found = ratios(np.outer(slopes, record), slopes, (3,))
    np.testing.assert_allclose(found.numpy(), np.tile(record, (2, 1)), rtol=1e-6)


def test_peak_signal_to_noise_ratio_by_hand() -> None:
    truth, near = torch.tensor([[0.0, 1.0]]), torch.tensor([[0.1, 0.9]])
    assert best_psnr(truth, near, low=0.0, high=1.0) == pytest.approx([20.0], abs=1e-4)
    assert best_psnr(truth, truth, low=0.0, high=1.0) == [120.0]
    assert blind_psnr(truth, torch.tensor([[0.0, 0.0], [1.0, 1.0]])) == pytest.approx([6.0206], abs=1e-4)


def test_candidates_that_are_not_finite_are_guesses_like_others() -> None:
    wild = torch.tensor([[float("nan"), float("inf")]])
    truth = torch.tensor([[0.0, 1.0]])
    assert nearest(truth, wild, low=0.0, high=1.0).tolist() == truth.tolist()


def test_the_nearest_candidate_is_chosen_for_each_record() -> None:
    truth = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    found = nearest(truth, torch.tensor([[0.9, 0.1], [0.1, 0.8]]), low=0.0, high=1.0)
    torch.testing.assert_close(found, torch.tensor([[0.1, 0.8], [0.9, 0.1]]))


def test_images_are_kept_beside_what_came_out() -> None:
    truth = torch.stack([torch.zeros(1, 2, 3), torch.ones(1, 2, 3)])
    [black, white] = pictures_of(truth, 1 - truth, [0.0, 0.0], low=0.0, high=1.0)
    assert (black.truth, black.found) == (white.found, white.truth)
    image = Image.open(io.BytesIO(base64.b64decode(white.truth)))
    assert (image.size, image.getextrema()) == ((3, 2), (255, 255))
    assert pictures_of(torch.zeros(1, 4), torch.zeros(1, 4), [0.0], low=0.0, high=1.0) == []


@pytest.mark.parametrize("inputs", [torch.zeros(3, 2), torch.zeros(3, 2, dtype=torch.int64)])
def test_records_without_a_range_are_refused(inputs: Tensor) -> None:
    with pytest.raises(ConfigError, match="no range of values"):
        range_of(inputs)


@pytest.mark.parametrize("attack", [UpdateInversion(), GradientMatching(steps=20), Imprint()])
def test_a_masked_update_is_noise(attack: Attack) -> None:
    report = attack.run(scene(victim(secure_aggregation=MASKED)), rng=rng())
    assert report.details["recovered"] == 0
    assert report.value < report.null


def test_the_sum_of_masked_updates_still_gives_records_away() -> None:
    report = SumInversion().run(scene(victim(secure_aggregation=MASKED)), rng=rng())
    assert report.details["recovered"] > 0


def test_noise_that_the_cohort_shares_hides_what_the_sum_is_made_of() -> None:
    shared = {"enabled": True, "noise": "distributed", "epsilon": 8.0, "delta": 1e-3}
    step = {"learning_rate": 1.0, "local_steps": 1}
    shown = scene(victim(privacy=shared, secure_aggregation=MASKED, training=step))
    report = SumInversion().run(shown, rng=rng())
    assert report.value < report.null


def test_the_sum_of_masked_updates_still_carries_an_imprint() -> None:
    report = SumImprint(records=4).run(scene(victim(secure_aggregation=MASKED)), rng=rng())
    assert report.details["recovered"] >= 0.5 * report.details["records"]


def test_imprint_recovers_most_of_a_batch() -> None:
    report = Imprint(records=8).run(scene(victim()), rng=rng())
    assert report.details["recovered"] >= 0.75 * report.details["records"]


def test_a_convolution_is_not_read_off_but_matched() -> None:
    network = victim(model={"name": "cnn", "arguments": {"classes": 3}})
    with pytest.raises(ConfigError, match="begins with Conv2d"):
        UpdateInversion().run(scene(network), rng=rng())
    with pytest.raises(ConfigError, match="begins with Conv2d"):
        Imprint().run(scene(network), rng=rng())
    assert GradientMatching().run(scene(network), rng=rng()).value > 20


def test_the_imprint_needs_two_linear_layers() -> None:
    flat = victim(model={"name": "logistic", "arguments": {"classes": 3}})
    with pytest.raises(ConfigError, match="two Linear layers"):
        Imprint().run(scene(flat), rng=rng())


def test_the_first_layer_lies_where_the_flat_vector_has_it() -> None:
    experiment = victim()
    layer = FirstLayer.of(experiment, torch.zeros(1, 8, 8))
    weight, bias = layer.split(experiment.initial_params)
    first = next(iter(experiment.build_model().module.parameters()))
    np.testing.assert_array_equal(weight, first.detach().numpy())
    assert bias.shape == (128,)
