"""Registers node keys by Flower's own command, all in one process: importing it takes longer than it.

``python -m fedlearn.federation.server.register_nodes CONNECTION SITE.pub…``; a known key is fine.
"""

from __future__ import annotations

import sys
from pathlib import Path

KNOWN = "already in use"


def main(arguments: list[str]) -> int:
    """Returns 0 if every key is registered afterwards."""
    from click.testing import CliRunner
    from flwr.cli.app import app
    from typer.main import get_command

    connection, *keys = arguments
    flower, runner = get_command(app), CliRunner()
    for key in keys:
        done = runner.invoke(flower, ["supernode", "register", key, connection, "--name", Path(key).stem])
        if done.exit_code and KNOWN not in done.output:
            sys.stderr.write(done.output)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
