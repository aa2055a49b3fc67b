"""Augmentations by hand answers and properties; what holds for all is in the contract suite."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fedlearn.errors import ConfigError, DataError
from fedlearn.remedies.augmentation import Augmentations
from fedlearn.remedies.augmentations.crop import Crop
from fedlearn.remedies.augmentations.flip import Flip
from fedlearn.remedies.augmentations.mixup import Mixup
from fedlearn.remedies.augmentations.noise import Noise
from fedlearn.remedies.augmentations.shift import Shift
from fedlearn.remedies.augmentations.token_dropout import TokenDropout


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def moved(image: Tensor, down: int, right: int) -> Tensor:
    """The same shift written pixel by pixel."""
    height, width = image.shape[-2:]
    rows = [min(max(row - down, 0), height - 1) for row in range(height)]
    columns = [min(max(column - right, 0), width - 1) for column in range(width)]
    return image[..., rows, :][..., columns]


@given(st.integers(0, 2**32), st.integers(1, 3), st.integers(1, 3))
def test_every_shift_is_one_of_those_allowed(seed: int, pixels: int, channels: int) -> None:
    images = torch.randn(4, channels, 6, 5, generator=seeded(seed))
    views = Shift(pixels=pixels).view(images, seeded(seed))
    allowed = range(-pixels, pixels + 1)
    for image, view in zip(images, views, strict=True):
        assert any(torch.equal(view, moved(image, down, right)) for down in allowed for right in allowed)


def test_all_shifts_come_up_alike() -> None:
    """Nine shifts of a single bright pixel, 9000 draws: a count off by 6 deviations has odds below 1e-8."""
    images = torch.zeros(9000, 1, 5, 5)
    images[:, :, 2, 2] = 1.0
    counts = Shift(pixels=1).view(images, seeded()).sum(dim=(0, 1))[1:4, 1:4]
    assert counts.sum() == 9000
    assert (counts - 1000).abs().max() < 6 * (9000 * 1 / 9 * 8 / 9) ** 0.5


def test_a_shift_as_wide_as_the_image_is_refused() -> None:
    with pytest.raises(DataError, match="shift of 4 pixels on images of 4 × 9"):
        Shift(pixels=4).view(torch.zeros(1, 1, 4, 9), seeded())


def test_flips_are_coins() -> None:
    images = torch.arange(4.0).expand(4000, 1, 2, 4)
    views = Flip(probability=0.25).view(images, seeded())
    mirrored = (views == images.flip(3)).flatten(1).all(dim=1)
    assert torch.equal(views[~mirrored], images[~mirrored])
    assert abs(mirrored.float().mean().item() - 0.25) < 6 * (0.25 * 0.75 / 4000) ** 0.5


def test_a_crop_shows_a_part_of_the_ramp_it_is_cut_from() -> None:
    """A window of a linear ramp is a linear ramp: narrower by its side, within the image's values."""
    ramp = torch.linspace(0, 1, 32).expand(200, 1, 32, 32)
    views = Crop(least=0.5).view(ramp, seeded())
    slopes = (views[:, 0, 16, 20] - views[:, 0, 16, 12]) / (ramp[0, 0, 0, 20] - ramp[0, 0, 0, 12])
    assert (slopes >= 0.5 - 1e-4).all()
    assert (slopes <= 1.0 + 1e-4).all()
    assert slopes.std() > 0.1
    assert (views >= 0).all()
    assert (views <= 1).all()


def test_noise_has_its_stddev() -> None:
    views = Noise(stddev=0.5).view(torch.ones(100, 400), seeded()) - 1.0
    assert views.std().item() == pytest.approx(0.5, rel=0.02)
    assert abs(views.mean().item()) < 6 * 0.5 / 200


def test_dropped_tokens_are_a_tenth_and_become_the_replacement() -> None:
    texts = torch.full((100, 200), 5)
    views = TokenDropout(rate=0.1, replacement=3).view(texts, seeded())
    assert set(views.flatten().tolist()) == {3, 5}
    assert abs((views == 3).float().mean().item() - 0.1) < 6 * (0.1 * 0.9 / 20000) ** 0.5


def test_mixup_mixes_with_its_partner_by_its_share() -> None:
    inputs = torch.randn(50, 2, 3, generator=seeded())
    mixed = Mixup(alpha=1.0).mix(inputs, seeded(2))
    share = mixed.share.view(-1, 1, 1)
    torch.testing.assert_close(mixed.inputs, share * inputs + (1 - share) * inputs[mixed.partners])
    assert sorted(mixed.partners.tolist()) == list(range(50))


@pytest.mark.parametrize(("alpha", "variance"), [(1.0, 1 / 12), (0.2, 0.25 / 1.4)])
def test_shares_have_the_variance_of_beta(alpha: float, variance: float) -> None:
    """Var Beta(α, α) = 1 / (4 (2α + 1)); its estimate from 40,000 is off by far less than 3 %."""
    share = Mixup(alpha=alpha).mix(torch.zeros(40_000, 1), seeded()).share
    assert share.var().item() == pytest.approx(variance, rel=0.03)
    assert share.mean().item() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(
    "build",
    [
        lambda: Shift(pixels=0),
        lambda: Flip(probability=1.5),
        lambda: Crop(least=0.0),
        lambda: Noise(stddev=-1.0),
        lambda: Mixup(alpha=0.0),
        lambda: TokenDropout(rate=1.0),
        lambda: TokenDropout(replacement=-1),
        lambda: Augmentations.of([], views=2),
        lambda: Augmentations.of([object()]),
        lambda: Augmentations.of([Mixup(), Mixup()]),
    ],
)
def test_what_makes_no_sense_is_refused(build: object) -> None:
    with pytest.raises(ConfigError):
        build()  # type: ignore[operator]
