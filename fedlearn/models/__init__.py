"""Model builders: ``(shape, classes, **own arguments) -> torch.nn.Module``.

A built model maps a batch ``(n, *shape)`` to logits ``(n, classes)``; two classes have two
logits, so that one loss and one metric serve every classifier. The autoencoder alone
returns a reconstruction, and says so in its ``output`` attribute.

Every model here can be trained with per-record clipping: no layer mixes the records of a
batch (GroupNorm or LayerNorm, never BatchNorm), every trainable layer is one that Opacus
computes per-record gradients for, and the state is the parameters and nothing else.

Weights are drawn from PyTorch's default generator at the time of building; whoever builds
decides the seed (``torch.random.fork_rng()`` and ``torch.manual_seed``).
"""

from __future__ import annotations

from fedlearn.registry import Registry

MODELS = Registry(
    "model",
    {
        "logistic": "fedlearn.models.logistic:logistic",
        "mlp": "fedlearn.models.mlp:mlp",
        "cnn": "fedlearn.models.cnn:cnn",
        "tanh-cnn": "fedlearn.models.tanh_cnn:tanh_cnn",
        "resnet-gn": "fedlearn.models.resnet_gn:resnet_gn",
        "lstm": "fedlearn.models.lstm:lstm",
        "transformer": "fedlearn.models.transformer:transformer",
        "autoencoder": "fedlearn.models.autoencoder:autoencoder",
    },
)
"""Word → builder of a model."""

__all__ = ["MODELS"]
