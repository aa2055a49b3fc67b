"""Worker processes of a simulation: one per core, all of one program's memory, fed by short orders.

A worker is forked, so that it has the data, the model and every object of the experiment without
copying or pickling any of them. Vectors move through shared memory; a message between processes
says which clients are next, or which are done.
"""

from __future__ import annotations

from fedlearn.simulation.workers.pool import WorkerPool

__all__ = ["WorkerPool"]
