"""Remedies for scarce data: parts that an experiment composes under ``[remedies]``.

Views of records (augmentation), terms on the parameters (penalties), weights to start from
(initialisations) and which of them are trained (tunings). Each is a frozen value of one file; what a
remedy may not be combined with is checked where the experiment is made, with the reason.
"""

from __future__ import annotations

from fedlearn.registry import Registry

AUGMENTATIONS = Registry(
    "augmentation",
    {
        "shift": "fedlearn.remedies.augmentations.shift:Shift",
        "flip": "fedlearn.remedies.augmentations.flip:Flip",
        "crop": "fedlearn.remedies.augmentations.crop:Crop",
        "noise": "fedlearn.remedies.augmentations.noise:Noise",
        "mixup": "fedlearn.remedies.augmentations.mixup:Mixup",
        "token-dropout": "fedlearn.remedies.augmentations.token_dropout:TokenDropout",
    },
)
"""Word → augmentation: ``view`` of each record by itself, or a mixture of two."""

PENALTIES = Registry(
    "penalty",
    {
        "l1": "fedlearn.remedies.penalties.l1:L1",
        "l2": "fedlearn.remedies.penalties.l2:L2",
        "proximal": "fedlearn.remedies.penalties.proximal:Proximal",
    },
)
"""Word → penalty: a term of the objective that depends on no record."""

INITIALISATIONS = Registry(
    "initialisation",
    {
        "safetensors": "fedlearn.remedies.initialisations.safetensors_file:SafetensorsFile",
        "hugging-face": "fedlearn.remedies.initialisations.hugging_face:HuggingFaceFolder",
    },
)
"""Word → initialisation: public weights by the names of the model's parameters."""

TUNINGS = Registry(
    "tuning",
    {
        "all": "fedlearn.remedies.tunings.everything:Everything",
        "head": "fedlearn.remedies.tunings.head:Head",
        "lora": "fedlearn.remedies.tunings.lora:LoRA",
        "peft-lora": "fedlearn.remedies.tunings.peft_lora:PeftLoRA",
    },
)
"""Word → tuning: which parameters are trained, and so travel."""

__all__ = ["AUGMENTATIONS", "PENALTIES", "INITIALISATIONS", "TUNINGS"]
