"""A model of Hugging Face's: its saved folder starts it, and LoRA trains it under record-level privacy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from fedlearn.experiment import Experiment
from fedlearn.simulation.simulate import simulate

pytestmark = pytest.mark.slow  # importing transformers alone takes seconds


def tiny() -> Any:
    transformers = pytest.importorskip("transformers", reason="needs the extra 'peft'")
    config = transformers.DistilBertConfig(
        vocab_size=20,
        dim=16,
        n_layers=1,
        n_heads=2,
        hidden_dim=32,
        max_position_embeddings=12,
        num_labels=2,
        dropout=0.0,
        attention_dropout=0.0,
        seq_classif_dropout=0.0,
    )
    return transformers.DistilBertForSequenceClassification(config)


class Wrapped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.model = tiny()

    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.model(input_ids=tokens).logits
        return logits


def clients() -> dict[str, TensorDataset]:
    random = torch.Generator().manual_seed(0)
    return {
        name: TensorDataset(
            torch.randint(20, (12, 8), generator=random), torch.randint(2, (12,), generator=random)
        )
        for name in ("a", "b", "c")
    }


@pytest.mark.parametrize("tuning", ["lora", "peft-lora"])
def test_a_saved_folder_starts_it_and_only_its_adapters_and_head_are_trained(
    tmp_path: Path, tuning: str
) -> None:
    if tuning == "peft-lora":
        pytest.importorskip("peft", reason="needs the extra 'peft'")
    saved = tiny()
    saved.save_pretrained(tmp_path / "public")
    arguments = {"rank": 2, "layers": ["q_lin", "v_lin"], "head": "model.classifier"}
    made = Experiment.from_dict(
        {
            "rounds": 1,
            "training": {"batch_size": 4, "learning_rate": 0.1},
            "remedies": {
                "initial": {
                    "name": "hugging-face",
                    "arguments": {"folder": str(tmp_path / "public"), "prefix": "model."},
                },
                "tuning": {"name": tuning, "arguments": arguments},
            },
            "privacy": {"enabled": True, "epsilon": 8.0, "delta": 1e-2},
        },
        model=Wrapped,
        clients=clients(),
    )
    # Two layers of 16 × 16, each changed by 2 · 2 · 16 numbers; a head of 16 · 2 + 2.
    assert made.initial_params.size == 2 * 64 + 34
    result = simulate(made, out=tmp_path / "run", workers=1)
    assert result.epsilon is not None
    assert result.epsilon <= 8.0
    before, after = saved.state_dict(), load_file(tmp_path / "run" / "model.safetensors")
    assert {name.removeprefix("model.") for name in after} == set(before)
    changed = {name for name in before if not torch.equal(before[name], after[f"model.{name}"])}
    kept = "distilbert.transformer.layer.0.attention"
    assert changed == {
        f"{kept}.q_lin.weight",
        f"{kept}.v_lin.weight",
        "classifier.weight",
        "classifier.bias",
    }
