"""The common work with Opacus as a tutorial uses it: an engine for each client, ε after each of its rounds.

One process, one thread; prints one RESULT line with client updates per second of processor time.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings

import torch
from opacus import PrivacyEngine
from torch.utils.data import DataLoader, TensorDataset

from tests.bench.peers import PEERS

sys.path.insert(0, str(PEERS))
import fl_common as common  # type: ignore[import-not-found]  # a peer's script, found by its path

CLIENTS = 12


def train(model: torch.nn.Module, records: TensorDataset) -> float:
    """One client's round; returns its ε."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    engine = PrivacyEngine(accountant="rdp")
    private, optimizer, loader = engine.make_private(
        module=model,
        optimizer=optimizer,
        data_loader=DataLoader(records, batch_size=10),
        noise_multiplier=1.0,
        max_grad_norm=1.0,
    )
    for inputs, targets in loader:
        if len(inputs):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(private(inputs), targets)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return float(engine.get_epsilon(1e-5))


def main() -> None:
    """Trains some clients in turn, the first of them untimed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", choices=["mlp", "cnn"], required=True)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    draw = torch.Generator().manual_seed(0)
    records = TensorDataset(
        torch.randn(60, 1, 28, 28, generator=draw), torch.randint(0, 10, (60,), generator=draw)
    )
    taken = []
    for _ in range(CLIENTS + 2):
        model = common.make_model(arguments.model)
        started = time.process_time()
        train(model, records)
        taken.append(time.process_time() - started)
    seconds = sum(taken[2:]) / CLIENTS
    print(
        "RESULT " + json.dumps({"engine": "opacus", "updates_per_cpu_s": round(1 / seconds, 3)}), flush=True
    )


if __name__ == "__main__":
    main()
