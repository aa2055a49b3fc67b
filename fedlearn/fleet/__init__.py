"""How fast the clients of a simulation are, and when they can be reached: a trace, or a distribution.

A fleet is asked about one client at a time and keeps nothing of the others, so that a population of 10⁶
takes no memory. What it says is decided by its arguments alone.
"""

from __future__ import annotations

from fedlearn.fleet.distribution import DrawnFleet
from fedlearn.fleet.pace import Fleet, Pace, Window
from fedlearn.fleet.trace import TraceFleet, read_trace

__all__ = ["DrawnFleet", "Fleet", "Pace", "TraceFleet", "Window", "read_trace"]
