"""Channels last: for which models, the same numbers, and every way back to the usual format."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from fedlearn.training.memory_format import channels_last, prefers_channels_last

IMAGES = torch.randn(5, 3, 8, 6, generator=torch.Generator().manual_seed(1))


def convolving(*middle: nn.Module, channels: int = 3) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return nn.Sequential(
            nn.Conv2d(channels, 4, 3), *middle, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(24, 2)
        )


class Viewing(nn.Module):
    """A model that looks at how memory lies, as many do."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3)

    def forward(self, images: Tensor) -> Tensor:
        outputs: Tensor = self.convolution(images)
        return outputs.view(len(images), -1)


class Striding(Viewing):
    """A model that reads memory as it lies, whatever the shape says."""

    def forward(self, images: Tensor) -> Tensor:
        outputs: Tensor = self.convolution(images)
        return outputs.as_strided((len(images), outputs[0].numel()), (outputs[0].numel(), 1))


class TestFormat:
    @pytest.mark.parametrize("channels", [1, 3])
    def test_the_same_images_with_the_strides_of_channels_last(self, channels: int) -> None:
        images = IMAGES[:, :channels].contiguous()
        moved = channels_last(images)
        assert torch.equal(moved, images)
        assert moved.stride() == (8 * 6 * channels, 1, 6 * channels, channels)

    def test_images_of_one_channel_are_not_copied(self) -> None:
        images = IMAGES[:, :1].contiguous()
        assert channels_last(images).data_ptr() == images.data_ptr()

    def test_an_image_of_one_channel_cut_from_a_larger_one_is_right_too(self) -> None:
        assert torch.equal(channels_last(IMAGES[:, :1]), IMAGES[:, :1])

    @pytest.mark.parametrize("shape", [(5,), (5, 3), (5, 3, 4), (5, 3, 4, 4, 4)])
    def test_what_is_no_image_stays_as_it_is(self, shape: tuple[int, ...]) -> None:
        records = torch.zeros(shape)
        assert channels_last(records) is records

    def test_a_model_answers_as_before(self) -> None:
        model = convolving()
        torch.testing.assert_close(model(channels_last(IMAGES)), model(IMAGES), rtol=1e-5, atol=1e-6)


class TestChoice:
    @pytest.mark.parametrize(
        ("model", "takes"),
        [
            (convolving(), True),
            (convolving(nn.Dropout(0.5)), True),
            (convolving(nn.GroupNorm(2, 4)), False),
            (convolving(nn.Conv2d(4, 4, 1, groups=4)), False),
            (nn.Sequential(nn.Flatten(), nn.Linear(144, 2)), False),
            (Viewing(), False),
            (Striding(), False),
        ],
        ids=["plain", "dropout", "normalised", "grouped", "no convolution", "views", "strides"],
    )
    def test_it_follows_from_the_model(self, model: nn.Module, takes: bool) -> None:
        before = torch.get_rng_state()
        assert prefers_channels_last(model, IMAGES) is takes
        assert torch.equal(before, torch.get_rng_state())
        assert model.training

    def test_not_for_records_that_are_no_images(self) -> None:
        assert not prefers_channels_last(convolving(), torch.zeros(2, 3, 4))
        assert not prefers_channels_last(convolving(), torch.zeros(2, 3, 8, 6, dtype=torch.uint8))
