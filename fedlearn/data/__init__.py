"""Records: which data sets there are, who holds which part, and what can be scarce about them.

Nothing here knows a model, a network or torch: arrays in, arrays out. Constants that
standardise a data set are public (published or clinical ranges), never computed from the
records, unless a function says ``local`` or takes federated sums.
"""

from __future__ import annotations

from fedlearn.registry import Registry

DATASETS = Registry(
    "data set",
    {
        "breast-cancer": "fedlearn.data.datasets.breast_cancer:breast_cancer",
        "digits": "fedlearn.data.datasets.digits:digits",
        "heart-disease": "fedlearn.data.datasets.heart_disease:heart_disease",
        "fashion-mnist": "fedlearn.data.datasets.fashion_mnist:fashion_mnist",
        "wisdm": "fedlearn.data.datasets.wisdm:wisdm",
        "adult": "fedlearn.data.datasets.adult:adult",
        "german-credit": "fedlearn.data.datasets.german_credit:german_credit",
        "shakespeare": "fedlearn.data.datasets.shakespeare:shakespeare",
    },
)
"""Word → loader ``(folder: Path | None, **own arguments) -> DataSet``."""

PARTITIONERS = Registry(
    "partitioner",
    {
        "iid": "fedlearn.data.partitions.iid:iid",
        "dirichlet": "fedlearn.data.partitions.dirichlet:dirichlet",
        "shards": "fedlearn.data.partitions.shards:shards",
        "quantity-skew": "fedlearn.data.partitions.quantity_skew:quantity_skew",
        "by-owner": "fedlearn.data.partitions.by_owner:by_owner",
    },
)
"""Word → function ``(labels, clients, *, rng, **own arguments) -> list of index arrays``."""

__all__ = ["DATASETS", "PARTITIONERS"]
