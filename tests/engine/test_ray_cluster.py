"""Runs on a Ray cluster of two nodes on this machine: who lives where, and what a dead node does."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedlearn.errors import DataError, WorkerLost
from fedlearn.experiment import Experiment
from fedlearn.federation.launch import run_flower
from fedlearn.runs.progress import RoundReport
from fedlearn.runs.result import Result
from fedlearn.simulation import simulate
from tests.engine.flower_runs import MASKED, PLAIN, Rounds, assert_same_model, left_running

pytestmark = [
    pytest.mark.engine,
    # Ray leaves files of its cluster open when it starts nodes, and says so of itself.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]

NODE = {"num_cpus": 1, "object_store_memory": 100 * 2**20}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """Yields a cluster of two nodes, which runs join."""
    from ray.cluster_utils import Cluster

    # Ray's sockets need a short path, and pytest's own are long.
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        monkeypatch.setenv("RAY_TMPDIR", folder)
        started = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
        try:
            started.add_node(**NODE)
            monkeypatch.setenv("RAY_ADDRESS", started.address)
            yield started
        finally:
            started.shutdown()
    assert left_running() == []


def homes(run: Path) -> dict[str, list[str]]:
    """Node → the clients that lived there."""
    entries = json.loads((run / "flower" / "residents.json").read_text())
    return {entry["node"]: entry["clients"] for entry in entries}


@pytest.mark.usefixtures("cluster")
def test_clients_on_two_nodes_give_the_model_of_one_process(tmp_path: Path) -> None:
    for text in (PLAIN, MASKED):
        experiment = Experiment.from_toml_text(text)
        out = tmp_path / experiment.config.name
        rounds = Rounds()
        run_flower(experiment, out / "cluster", progress=rounds)
        simulate(experiment, out=out / "inprocess")
        assert_same_model(out / "cluster", out / "inprocess")
        assert [report.survivors for report in rounds.reports] == [5, 5, 5]
        assert sorted(homes(out / "cluster").values()) == [
            ["client-0", "client-2", "client-4"],
            ["client-1", "client-3"],
        ]


@pytest.mark.usefixtures("cluster")
def test_data_that_a_node_lacks_is_named_with_the_node(tmp_path: Path) -> None:
    text = PLAIN.replace('"breast-cancer"', '"tests.engine.elsewhere:records"')
    with pytest.raises(DataError, match=r"host-0 on node [0-9.]+ \(\w{8}\): .* are not on this machine"):
        run_flower(Experiment.from_toml_text(text), tmp_path / "run")


def test_a_node_that_dies_ends_the_run_by_name_and_resuming_needs_it_no_more(
    tmp_path: Path, cluster: object
) -> None:
    experiment = Experiment.from_toml_text(PLAIN.replace("rounds = 3", "rounds = 40"))
    (doomed,) = cluster.worker_nodes  # type: ignore[attr-defined]  # Ray's cluster is untyped

    class Killing(Rounds):
        def round_done(self, report: RoundReport) -> None:
            super().round_done(report)
            if len(self.reports) == 2:
                cluster.remove_node(doomed, allow_graceful=False)  # type: ignore[attr-defined]

    with pytest.raises(WorkerLost, match=rf"{doomed.node_id[:8]}\) has ended, .*client-\d, .*--resume"):
        run_flower(experiment, tmp_path / "run", progress=Killing())
    assert doomed.node_id in homes(tmp_path / "run")
    run_flower(experiment, tmp_path / "run", resume=True)
    assert doomed.node_id not in homes(tmp_path / "run")
    assert Result.load(tmp_path / "run").rounds == 40
    simulate(experiment, out=tmp_path / "inprocess")
    assert_same_model(tmp_path / "run", tmp_path / "inprocess")
