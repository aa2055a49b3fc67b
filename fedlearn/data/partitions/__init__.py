"""Partitioners: how records are divided among clients.

Each is a function ``(labels, clients, *, rng, **own arguments) -> list of index arrays``,
labels of shape (n,) int64: one int64 array of indices per client, disjoint and complete.
One that also takes ``owners``, shape (n,) str, is given the natural client of each record.
"""
