"""The sites of a federation on one machine, as forks of one process: for trying.

Each is what ``fedlearn site run`` is, with an agent and a SuperNode of its own; but torch, Flower and the
reader of the data set are imported once, not once per process. The parent loads the records of
one site and drops them, which imports whatever loading takes.

``python -m fedlearn.federation.site.siblings SITE.toml…``
"""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Iterable
from pathlib import Path
from types import FrameType

from fedlearn.federation.forks import Forked, fork, fork_command, preload
from fedlearn.federation.site import journal
from fedlearn.federation.site.config import SiteConfig
from fedlearn.federation.site.run_site import run_site

LOG = "log.txt"
PRELOADED = (
    "fedlearn.cli.site",
    "fedlearn.federation.site.run_agent",
    "fedlearn.training.private",
    "fedlearn.federation.hurried",
    "flwr.supernode.cli",
    "flwr.supernode.start_client_internal",
)


def command(files: Iterable[Path]) -> list[str]:
    """Returns the command line that runs the sites with these settings."""
    return [sys.executable, "-m", "fedlearn.federation.site.siblings", *map(str, files)]


def main(files: list[str]) -> int:
    """Runs all sites until SIGTERM."""
    warm_up(Path(files[0]))
    sites = [_start(Path(file)) for file in files]

    def end(number: int, frame: FrameType | None) -> None:
        for site in sites:
            site.send_signal(signal.SIGTERM)

    signal.signal(signal.SIGTERM, end)
    for site in sites:
        site.wait()
    return 0


def warm_up(file: Path) -> None:
    """Imports what sites need, and loads the records of one."""
    import torch

    from fedlearn.federation.site.data import SiteData

    torch.set_num_threads(1)  # a pool of threads would not survive a fork
    preload(PRELOADED)
    logging.getLogger("flwr").propagate = False  # some library has given the root logger a handler
    SiteData(SiteConfig.load(file))


def _start(file: Path) -> Forked:
    def run() -> None:
        journal.start()
        run_site(SiteConfig.load(file), file=file, start=fork_command)

    with (file.parent / LOG).open("ab") as output:
        return fork(run, output=output)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
