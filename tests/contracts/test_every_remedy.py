"""What every registered remedy must hold; a newly registered one is covered without a new test."""

from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from fedlearn.crypto.noise import NoiseSource
from fedlearn.errors import DataError, ModelError, PrivacyError
from fedlearn.models import MODELS
from fedlearn.remedies import AUGMENTATIONS, INITIALISATIONS, PENALTIES, TUNINGS
from fedlearn.remedies.augmentation import Augmentations, Mixing, RecordView
from fedlearn.remedies.initialisation import check_digest, start
from fedlearn.training.objective import cross_entropy
from fedlearn.training.private import PrivateGradient
from fedlearn.training.record_privacy import RecordPrivacy
from fedlearn.training.vector import FlatModel

VOCABULARY, CLASSES = 7, 3
SHAPES = {"image": (2, 8, 8), "tabular": (6,), "text": (9,)}
MODEL_OF = {"image": "cnn", "tabular": "mlp", "text": "lstm"}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def records(kind: str, count: int = 5, seed: int = 1) -> Tensor:
    shape = (count, *SHAPES[kind])
    if kind == "text":
        return torch.randint(1, VOCABULARY, shape, generator=seeded(seed))
    return torch.randn(shape, generator=seeded(seed))


def model_for(kind: str) -> nn.Module:
    own = {"vocabulary": VOCABULARY} if kind == "text" else {}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model: nn.Module = MODELS.build(MODEL_OF[kind], own, shape=SHAPES[kind], classes=CLASSES)
    return model


AUGMENTED = [
    pytest.param(name, kind, id=f"{name}-{kind}")
    for name in AUGMENTATIONS
    for kind in sorted(AUGMENTATIONS.resolve(name).kinds)
]


def needed(part: Any) -> dict[str, Any]:
    """A value for every argument without a default: all of them are strengths."""
    parameters = inspect.signature(part).parameters.values()
    return {p.name: 0.3 for p in parameters if p.default is inspect.Parameter.empty}


class TestEveryAugmentation:
    @pytest.mark.parametrize("name", AUGMENTATIONS)
    def test_it_views_or_mixes_and_says_for_which_kinds(self, name: str) -> None:
        part: Any = AUGMENTATIONS.build(name, {})
        assert isinstance(part, RecordView) != isinstance(part, Mixing)
        assert part.kinds
        assert part.kinds <= set(SHAPES)
        assert dataclasses.is_dataclass(type(part))
        chain = Augmentations.of([part])
        for kind in SHAPES.keys() - part.kinds:
            with pytest.raises(DataError, match=f"{type(part).__name__} is for .* these are {kind}"):
                chain.check_kind(kind)

    @pytest.mark.parametrize(("name", "kind"), AUGMENTED)
    def test_shape_and_dtype_stay_and_the_records_are_not_touched(self, name: str, kind: str) -> None:
        part, inputs = AUGMENTATIONS.build(name, {}), records(kind)
        before = inputs.clone()
        found = (
            part.view(inputs, seeded()) if isinstance(part, RecordView) else part.mix(inputs, seeded()).inputs
        )
        assert (found.shape, found.dtype) == (inputs.shape, inputs.dtype)
        assert torch.isfinite(found).all()
        assert torch.equal(inputs, before)

    @pytest.mark.parametrize(("name", "kind"), AUGMENTED)
    def test_the_generator_alone_decides(self, name: str, kind: str) -> None:
        part, inputs = AUGMENTATIONS.build(name, {}), records(kind, count=64)
        make = (
            (lambda g: part.view(inputs, g))
            if isinstance(part, RecordView)
            else (lambda g: part.mix(inputs, g).inputs)
        )
        assert torch.equal(make(seeded(3)), make(seeded(3)))
        assert not torch.equal(make(seeded(3)), make(seeded(4)))

    @pytest.mark.parametrize(("name", "kind"), AUGMENTED)
    def test_a_view_is_of_its_own_record(self, name: str, kind: str) -> None:
        """With the same random numbers, another record elsewhere in the batch changes no other view."""
        part, inputs = AUGMENTATIONS.build(name, {}), records(kind)
        if isinstance(part, Mixing):
            with pytest.raises(PrivacyError, match="mixes two records"):
                Augmentations.of([part]).check_record_privacy()
            return
        other = inputs.clone()
        other[2] = records(kind, seed=9)[2]
        one, two = part.view(inputs, seeded()), part.view(other, seeded())
        kept = [0, 1, 3, 4]
        assert torch.equal(one[kept], two[kept])

    @pytest.mark.parametrize(("name", "kind"), AUGMENTED)
    def test_several_views_of_a_record_count_as_one(self, name: str, kind: str) -> None:
        """With one record more, whatever it holds, the clipped sum moves by C at most."""
        part = AUGMENTATIONS.build(name, {})
        if isinstance(part, Mixing):
            return
        chain, bound = Augmentations.of([part], views=3), 0.05
        gradient = PrivateGradient(FlatModel(model_for(kind)), cross_entropy, views=3)
        targets = torch.tensor([0, 1, 2, 0, 1])
        views = chain.many(records(kind), seeded())
        assert views.shape == (5, 3, *SHAPES[kind])
        whole = gradient.clipped_sum(views, targets, max_grad_norm=bound)
        less = gradient.clipped_sum(views[:4], targets[:4], max_grad_norm=bound)
        assert (whole - less).norm() <= bound * (1 + 1e-5)
        assert (whole - less).norm() > 0.1 * bound

    @pytest.mark.parametrize(("name", "kind"), AUGMENTED)
    def test_a_private_step_over_views_runs(self, name: str, kind: str) -> None:
        part = AUGMENTATIONS.build(name, {})
        if isinstance(part, Mixing):
            return
        model = FlatModel(model_for(kind))
        privacy = RecordPrivacy(noise_multiplier=1.0, max_grad_norm=1.0, sample_rate=1.0, declared_size=5)
        views = Augmentations.of([part], views=2).many(records(kind), seeded())
        PrivateGradient(model, cross_entropy, views=2).write(
            views, torch.tensor([0, 1, 2, 0, 1]), privacy=privacy, noise=NoiseSource()
        )
        assert torch.isfinite(model.gradient).all()
        assert model.gradient.count_nonzero()


@pytest.mark.parametrize("name", PENALTIES)
class TestEveryPenalty:
    def test_it_adds_to_the_gradient_and_touches_nothing_else(self, name: str) -> None:
        part = PENALTIES.build(name, needed(PENALTIES.resolve(name)))
        params, anchor, gradient = (torch.randn(20, generator=seeded(i)) for i in range(3))
        kept, before = (params.clone(), anchor.clone()), gradient.clone()
        part.add_gradient(gradient, params, anchor)
        assert torch.equal(params, kept[0])
        assert torch.equal(anchor, kept[1])
        once = gradient - before
        assert torch.isfinite(once).all()
        assert once.count_nonzero()
        part.add_gradient(gradient, params, anchor)
        torch.testing.assert_close(gradient - before, 2 * once)

    def test_a_step_against_it_brings_its_centre_nearer(self, name: str) -> None:
        """Zero for those that know no other, the global parameters for those that do."""
        part = PENALTIES.build(name, needed(PENALTIES.resolve(name)))
        params, anchor, gradient = torch.full((4,), 2.0), torch.full((4,), 1.0), torch.zeros(4)
        part.add_gradient(gradient, params, anchor)
        assert ((params - 0.1 * gradient).abs() < params.abs()).all()


@pytest.fixture
def public(tmp_path: Path) -> dict[str, dict[str, Any]]:
    """Arguments under which each initialisation finds the weights of one and the same model."""
    state = {name: value.contiguous() for name, value in model_for("image").state_dict().items()}
    state = {name: torch.full_like(value, 0.5) for name, value in state.items()}
    path = tmp_path / "model.safetensors"
    save_file(state, path)
    known = {"file": str(path), "folder": str(tmp_path)}
    return {
        name: {
            key: known[key]
            for key in inspect.signature(INITIALISATIONS.resolve(name)).parameters
            if key in known
        }
        for name in INITIALISATIONS
    }


@pytest.mark.parametrize("name", INITIALISATIONS)
class TestEveryInitialisation:
    def test_it_starts_a_model_of_the_same_names(self, name: str, public: dict[str, dict[str, Any]]) -> None:
        model, weights = model_for("image"), INITIALISATIONS.build(name, public[name]).weights()
        start(model, weights)
        assert all(bool((p == 0.5).all()) for p in model.parameters())
        assert weights.source
        assert len(weights.sha256) == 64
        check_digest(weights, weights.sha256)

    def test_another_shape_names_the_layer_and_changes_nothing(
        self, name: str, public: dict[str, dict[str, Any]]
    ) -> None:
        other: nn.Module = MODELS.build("cnn", {}, shape=SHAPES["image"], classes=CLASSES + 1)
        before = [p.detach().clone() for p in other.parameters()]
        weights = INITIALISATIONS.build(name, public[name]).weights()
        with pytest.raises(ModelError, match=r"head\.weight is \(3, 32\) there and \(4, 32\) in the model"):
            start(other, weights)
        assert all(torch.equal(a, b) for a, b in zip(before, other.parameters(), strict=True))
        start(other, weights, part="body")
        assert bool((other.get_parameter("body.0.weight") == 0.5).all())


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("name", TUNINGS)
class TestEveryTuning:
    def test_the_model_begins_as_it_was_and_something_is_trained(self, name: str, kind: str) -> None:
        tuning, plain = self._tuning(name), model_for(kind)
        inputs = records(kind)
        wanted = plain(inputs)
        tuned = self._applied(tuning, plain)
        torch.testing.assert_close(tuned(inputs), wanted)
        assert any(p.requires_grad for p in tuned.parameters())

    def test_its_whole_state_makes_the_untuned_model_do_the_same(self, name: str, kind: str) -> None:
        """After training has moved everything that is trained."""
        tuning, inputs = self._tuning(name), records(kind)
        tuned = FlatModel(self._applied(tuning, model_for(kind)))
        tuned.load(np.random.default_rng(0).normal(scale=0.3, size=tuned.dimension).astype(np.float32))
        plain = model_for(kind)
        plain.load_state_dict(tuning.whole_state(tuned.module))
        torch.testing.assert_close(plain(inputs), tuned.module(inputs), rtol=1e-4, atol=1e-4)

    def test_what_is_trained_is_clipped_and_the_rest_stays(self, name: str, kind: str) -> None:
        tuned = FlatModel(self._applied(self._tuning(name), model_for(kind)))
        frozen = [p.detach().clone() for p in tuned.module.parameters() if not p.requires_grad]
        total = PrivateGradient(tuned, cross_entropy).clipped_sum(
            records(kind), torch.tensor([0, 1, 2, 0, 1]), max_grad_norm=0.1
        )
        assert total.shape == (tuned.dimension,)
        assert 0 < total.norm() <= 5 * 0.1 * (1 + 1e-5)
        still = [p for p in tuned.module.parameters() if not p.requires_grad]
        assert all(torch.equal(a, b) for a, b in zip(frozen, still, strict=True))

    def _tuning(self, name: str) -> Any:
        if name == "peft-lora":
            pytest.importorskip("peft", reason="needs the extra 'peft'")
        return TUNINGS.build(name, {})

    def _applied(self, tuning: Any, model: nn.Module) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(1)
            tuned: nn.Module = tuning.apply(model)
        return tuned
