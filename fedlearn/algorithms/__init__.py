"""What the server does with the aggregate: frozen values with ``init(params)`` and ``step(state, update)``.

``update`` is the aggregate of local − global, so the plain algorithm adds it. An algorithm
knows no client, message or privacy mechanism; the aggregate it gets may be masked, clipped
and noised, and it need not know. ``proximal`` is the one wish that each has for the clients:
the weight of a pull towards the global parameters in their objective. One that asks more of them
has a ``local`` rule (:mod:`fedlearn.algorithms.local_rule`).
"""

from __future__ import annotations

from fedlearn.registry import Registry

ALGORITHMS = Registry(
    "algorithm",
    {
        "fedavg": "fedlearn.algorithms.fedavg:FedAvg",
        "fedprox": "fedlearn.algorithms.fedprox:FedProx",
        "fedavgm": "fedlearn.algorithms.fedavgm:FedAvgM",
        "fedadam": "fedlearn.algorithms.fedadam:FedAdam",
        "fedyogi": "fedlearn.algorithms.fedyogi:FedYogi",
        "fedadagrad": "fedlearn.algorithms.fedadagrad:FedAdagrad",
        "scaffold": "fedlearn.algorithms.scaffold:Scaffold",
        "feddyn": "fedlearn.algorithms.feddyn:FedDyn",
    },
)
"""Word → class of an algorithm."""

__all__ = ["ALGORITHMS"]
