"""How the updates of a cohort become one: weighted mean, and means that outvote a few bad clients.

A linear aggregator works on a sum that secure aggregation reveals. The others need each
client's update in clear, hold them all until the end of the round, and say so in ``linear``.
"""

from __future__ import annotations

from fedlearn.registry import Registry

AGGREGATORS = Registry(
    "aggregator",
    {
        "weighted-mean": "fedlearn.aggregators.weighted_mean:WeightedMean",
        "median": "fedlearn.aggregators.median:Median",
        "trimmed-mean": "fedlearn.aggregators.trimmed_mean:TrimmedMean",
        "krum": "fedlearn.aggregators.krum:Krum",
    },
)
"""Word → class of an aggregator."""

__all__ = ["AGGREGATORS"]
