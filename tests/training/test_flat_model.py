"""A model as one flat vector: views, copies, gradients that come home, and layers that are refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fedlearn.errors import ModelError
from fedlearn.training.vector import FlatModel, refuse_running_statistics


def small() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


class TestViews:
    def test_values_hold_the_parameters_in_order(self) -> None:
        module = small()
        flat = torch.cat([p.detach().reshape(-1).clone() for p in module.parameters()])
        model = FlatModel(module)
        assert torch.equal(model.values, flat)
        assert model.dimension == len(flat) == 3 * 4 + 4 + 4 * 2 + 2

    def test_parameters_and_buffers_share_memory_both_ways(self) -> None:
        model = FlatModel(small())
        model.values.fill_(2.0)
        assert all((parameter == 2).all() for parameter in model.module.parameters())
        with torch.no_grad():
            next(model.module.parameters())[0, 0] = 7.0
        assert model.values[0] == 7.0
        for parameter in model.module.parameters():
            assert parameter.grad is not None
            parameter.grad.fill_(3.0)
        assert (model.gradient == 3).all()

    def test_autograd_writes_into_the_gradient_buffer(self) -> None:
        model, twin = FlatModel(small()), small()
        inputs = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
        for module in (model.module, twin):
            module(inputs).square().sum().backward()
        wanted = torch.cat([p.grad.reshape(-1) for p in twin.parameters() if p.grad is not None])
        assert torch.equal(model.gradient, wanted)
        assert model.gather_gradient() is model.gradient
        assert torch.equal(model.gradient, wanted)

    def test_a_gradient_that_lies_elsewhere_is_brought_home(self) -> None:
        model = FlatModel(small())
        parameters = list(model.module.parameters())
        parameters[0].grad = torch.ones_like(parameters[0])
        parameters[1].grad = None
        model.gradient.fill_(5.0)
        gathered = model.gather_gradient()
        assert gathered[:12].tolist() == [1.0] * 12
        assert gathered[12:16].tolist() == [0.0] * 4
        assert gathered[16:].tolist() == [5.0] * 10
        assert all(p.grad is not None and p.grad._is_view() for p in parameters)

    def test_frozen_parameters_stay_outside(self) -> None:
        module = small()
        module[0].requires_grad_(False)
        model = FlatModel(module)
        assert model.dimension == 4 * 2 + 2

    def test_tied_parameters_count_once(self) -> None:
        first, second = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
        second.weight = first.weight
        model = FlatModel(nn.Sequential(first, second))
        assert model.dimension == 9
        model.values.zero_()
        assert not second.weight.count_nonzero()

    def test_a_parameter_that_is_not_contiguous_keeps_its_values(self) -> None:
        module = nn.Linear(3, 2, bias=False)
        module.weight = nn.Parameter(torch.arange(6.0).reshape(3, 2).T)
        model = FlatModel(module)
        assert module.weight.tolist() == [[0, 2, 4], [1, 3, 5]]
        assert model.values.tolist() == [0, 2, 4, 1, 3, 5]


class TestCopies:
    @settings(max_examples=20)
    @given(st.lists(st.floats(width=32), min_size=26, max_size=26))
    def test_load_and_params_round_trip_bit_by_bit(self, values: list[float]) -> None:
        model = FlatModel(small())
        vector = np.array(values, np.float32)
        model.load(vector)
        assert model.params().tobytes() == vector.tobytes()

    def test_params_is_a_copy(self) -> None:
        model = FlatModel(small())
        copy = model.params()
        copy[:] = 9.0
        assert not (model.values == 9).any()

    def test_a_read_only_vector_loads_without_a_warning(self) -> None:
        model = FlatModel(small())
        vector = np.frombuffer(np.ones(26, np.float32).tobytes(), np.float32)
        model.load(vector)
        assert (model.values == 1).all()

    def test_a_vector_of_another_length_does_not_load(self) -> None:
        with pytest.raises(ValueError, match="could not broadcast"):
            FlatModel(small()).load(np.ones(25, np.float32))


class WithNorm(nn.Module):
    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(2, 2), norm)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.body(inputs)
        return outputs


class TestRefusals:
    @pytest.mark.parametrize(
        ("norm", "named", "instead"),
        [
            (nn.BatchNorm1d(64), "BatchNorm1d(64)", "nn.GroupNorm(32, 64)"),
            (nn.BatchNorm2d(24), "BatchNorm2d(24)", "nn.GroupNorm(8, 24)"),
            (nn.BatchNorm3d(7), "BatchNorm3d(7)", "nn.GroupNorm(1, 7)"),
            (nn.SyncBatchNorm(6), "SyncBatchNorm(6)", "nn.GroupNorm(2, 6)"),
            (nn.BatchNorm1d(16, track_running_stats=False), "BatchNorm1d(16)", "nn.GroupNorm(16, 16)"),
            (nn.InstanceNorm1d(12, track_running_stats=True), "InstanceNorm1d(12)", "nn.GroupNorm(4, 12)"),
        ],
    )
    def test_running_statistics_are_refused_with_the_layer_and_the_fix(
        self, norm: nn.Module, named: str, instead: str
    ) -> None:
        with pytest.raises(ModelError) as caught:
            FlatModel(WithNorm(norm))
        assert f"layer 'body.1' is {named}" in str(caught.value)
        assert f"use {instead}" in str(caught.value)

    def test_a_root_that_is_refused_is_called_root(self) -> None:
        with pytest.raises(ModelError, match=r"layer '\(root\)' is BatchNorm1d\(4\)"):
            refuse_running_statistics(nn.BatchNorm1d(4))

    @pytest.mark.parametrize(
        "norm", [nn.GroupNorm(1, 2), nn.LayerNorm(2), nn.InstanceNorm1d(2), nn.Dropout()], ids=str
    )
    def test_norms_within_a_record_are_welcome(self, norm: nn.Module) -> None:
        FlatModel(WithNorm(norm))

    def test_a_lazy_layer_is_refused_until_it_has_seen_a_batch(self) -> None:
        module = nn.Sequential(nn.LazyLinear(2))
        with pytest.raises(ModelError, match=r"parameter '0\.weight' has no shape yet; call the model"):
            FlatModel(module)
        module(torch.zeros(1, 3))
        assert FlatModel(module).dimension == 3 * 2 + 2

    def test_a_model_without_trainable_parameters_is_refused(self) -> None:
        with pytest.raises(ModelError, match="Flatten has no trainable parameter"):
            FlatModel(nn.Flatten())

    @pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
    def test_another_dtype_is_refused_by_name(self, dtype: torch.dtype) -> None:
        module = small()
        module[2].to(dtype)
        with pytest.raises(ModelError, match=rf"parameter '2\.weight' is {dtype}; make it torch\.float32"):
            FlatModel(module)


class TestReleasedGradients:
    def test_they_are_those_that_are_added_to_zeros(self) -> None:
        model, inputs = FlatModel(small()), torch.randn(5, 3, generator=torch.Generator().manual_seed(1))
        gradients = []
        for release in (model.gradient.zero_, model.release_gradient, model.release_gradient):
            release()
            model.module(inputs).square().sum().backward()
            gradients.append(model.gather_gradient().clone())
        assert all(torch.equal(gradients[0], gradient) for gradient in gradients[1:])

    def test_a_sparse_one_is_gathered_too(self) -> None:
        model = FlatModel(nn.Embedding(3, 2, sparse=True))
        model.release_gradient()
        model.module(torch.tensor([1, 1])).sum().backward()
        assert model.gather_gradient().tolist() == [0, 0, 2, 2, 0, 0]

    def test_a_parameter_without_one_has_zeros(self) -> None:
        model = FlatModel(small())
        model.gradient.fill_(3.0)
        model.release_gradient()
        assert not model.gather_gradient().any()

    @pytest.mark.parametrize("factor", [-0.1, -1e-3, 0.7])
    @pytest.mark.parametrize(
        ("module", "inputs"),
        [
            (nn.Sequential(nn.Linear(37, 19), nn.Tanh(), nn.Linear(19, 3)), torch.randn(11, 37)),
            (nn.Conv1d(3, 5, 2), torch.randn(11, 3, 9)),
            (nn.Embedding(5, 3), torch.tensor([4, 1, 1])),
            (nn.Embedding(5, 3, sparse=True), torch.tensor([4, 1, 1])),
        ],
        ids=["linear", "convolution", "embedding", "sparse"],
    )
    def test_each_moves_its_parameter_as_the_flat_one_does(
        self, module: nn.Module, inputs: Tensor, factor: float
    ) -> None:
        model = FlatModel(module)
        started = model.values.clone()
        model.release_gradient()
        model.module(inputs).square().sum().backward()
        model.move(factor)
        assert torch.equal(model.values, started.add(model.gather_gradient(), alpha=factor))

    def test_a_parameter_without_one_stays(self) -> None:
        model = FlatModel(small())
        started = model.values.clone()
        model.release_gradient()
        model.move(-1.0)
        assert torch.equal(model.values, started)
