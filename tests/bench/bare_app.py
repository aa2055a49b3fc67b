"""Bare Flower trips through a running federation: the measure that its rounds are held against.

A ServerApp that sends bytes to every node, waits for the echoes with the polling of our transport, and
writes the seconds of each trip.
"""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MessageType, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

from fedlearn.federation.bundle import write_bundle
from fedlearn.federation.server import superlink
from fedlearn.federation.server.config import ServerConfig
from tests.deployment.machines import PATIENCE

SITES = 5

server = ServerApp()
client = ClientApp()


def main(grid: Grid, context: Context) -> None:
    """Makes the trips and writes their seconds."""
    while len(nodes := list(grid.get_node_ids())) < SITES:
        time.sleep(0.1)
    taken = []
    for number in range(int(str(context.run_config["trips"]))):
        vector = np.random.default_rng(number).random(int(str(context.run_config["floats"])), np.float32)
        array = Array(dtype="<f4", shape=(len(vector),), stype="raw", data=vector.tobytes())
        content = RecordDict({"vectors": ArrayRecord({"0": array})})
        started = time.perf_counter()
        waiting = set(grid.push_messages([Message(content, node, MessageType.QUERY) for node in nodes]))
        while waiting:
            waiting -= {reply.metadata.reply_to_message_id for reply in grid.pull_messages(waiting)}
            time.sleep(0.1)
        taken.append(time.perf_counter() - started)
    Path(str(context.run_config["out"])).write_text(json.dumps(taken))


def echo(message: Message, context: Context) -> Message:
    """Sends back what came."""
    return Message(message.content, reply_to=message)


server.main()(main)
client.query()(echo)


def run(server_file: Path, out: Path, *, floats: int, trips: int) -> list[float]:
    """Returns the seconds of each trip, on the federation whose server has these settings."""
    config = ServerConfig.load(server_file)
    bundle = write_bundle(
        out.parent / "app",
        experiment_toml="",
        run_dir=out.parent,
        server_app="tests.bench.bare_app:server",
        client_app="tests.bench.bare_app:client",
        more={"out": str(out), "floats": str(floats), "trips": str(trips)},
    )
    environment = superlink.environment(config)
    command = [superlink.FLWR, "run", str(bundle), superlink.CONNECTION, "--stream"]
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:  # the server may still be starting
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if out.exists():
            times: list[float] = json.loads(out.read_text())
            return times
        time.sleep(1.0)
    raise SystemExit(f"no bare trip was made: {done.stdout[-500:]} {done.stderr[-500:]}")
