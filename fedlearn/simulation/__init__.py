"""Simulations: a whole federation in one process, with what it is compared with."""

from __future__ import annotations

from fedlearn.simulation.simulate import simulate

__all__ = ["simulate"]
