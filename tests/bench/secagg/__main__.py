"""Prints the figures of the chosen groups as they are measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tests.bench import secagg
from tests.bench.figure import Figure, show_groups
from tests.bench.secagg import against_flower, client, server, simulated

GROUPS: dict[str, Callable[[], Iterator[Figure]]] = {
    "aes": client.aes,
    "mask": client.masking,
    "quantise": client.quantise,
    "memory-client": client.memory,
    "memory-server": server.memory,
    "unmask-100": server.unmask_100,
    "unmask-1000": server.unmask_1000,
    "unmask-10M": server.unmask_ten_million,
    "unmask-300-lost": server.unmask_1000_of_which_300_lost,
    "simulated": simulated.session,
    "flower-step": against_flower.step_and_upload,
    "flower-session": against_flower.protocol,
}


if __name__ == "__main__":
    show_groups(secagg.__doc__, GROUPS)
