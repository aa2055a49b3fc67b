"""What is logged outside the run directory is public, whatever a round holds; every tracker keeps it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedlearn.cli.main import main
from fedlearn.errors import MissingExtra
from fedlearn.runs.progress import RoundReport, Silent
from fedlearn.runs.trackers import TRACKERS
from fedlearn.runs.trackers.tracked import Tracked, public_scalars

CLIENT = "hospital-of-saint-nobody"
PUBLIC = {"metrics", "epsilon", "survivors", "failure", "bytes_up", "bytes_down", "seconds"}

reports = st.builds(
    RoundReport,
    round=st.integers(1, 100),
    rounds=st.integers(1, 100),
    metrics=st.dictionaries(st.sampled_from(["accuracy", "loss"]), st.one_of(st.none(), st.floats())),
    survivors=st.integers(0, 1000),
    dropped=st.dictionaries(st.just(CLIENT), st.just(f"{CLIENT}: no answer")),
    failure=st.one_of(st.none(), st.just(f"{CLIENT} sent a wrong share")),
    epsilon=st.one_of(st.none(), st.floats(0, 10)),
    bytes_up=st.integers(0, 10**12),
    bytes_down=st.integers(0, 10**12),
    seconds=st.floats(0, 1e6),
)


class Kept:
    """A tracker that remembers."""

    def __init__(self) -> None:
        self.lines: list[tuple[int, dict[str, float]]] = []
        self.closed = False

    def log(self, scalars: Mapping[str, float], *, round: int) -> None:
        assert not self.closed
        self.lines.append((round, dict(scalars)))

    def close(self) -> None:
        self.closed = True


@given(reports)
def test_nothing_about_a_client_is_public(report: RoundReport) -> None:
    scalars = public_scalars(report)
    assert not any(CLIENT in name for name in scalars)
    assert all(type(value) is float and abs(value) < float("inf") for value in scalars.values())
    allowed = {"metric/accuracy", "metric/loss", "privacy/epsilon", "cohort/survivors", "cohort/failed"}
    allowed |= {"network/bytes_up", "network/bytes_down", "time/seconds"}
    assert set(scalars) <= allowed


def test_a_new_field_of_a_round_is_not_logged_by_itself() -> None:
    kept = {field.name for field in fields(RoundReport)} - PUBLIC
    plain = RoundReport(round=1, rounds=1, metrics={}, survivors=1)
    odd = {name: 424242 for name in kept - {"round", "rounds", "dropped", "declared"}}
    changed = RoundReport(**{**{f.name: getattr(plain, f.name) for f in fields(plain)}, **odd})
    assert public_scalars(changed) == public_scalars(plain)


def test_baselines_are_not_logged() -> None:
    kept = Kept()
    tracked = Tracked(Silent(), [kept])
    report = RoundReport(round=1, rounds=1, metrics={"accuracy": 0.5}, survivors=1)
    tracked.begin("the run", 1)
    tracked.round_done(report)
    tracked.end()
    tracked.begin("local only", 1)
    tracked.round_done(report)
    tracked.end()
    assert [round for round, _ in kept.lines] == [1]
    assert kept.closed


@pytest.fixture(params=sorted(TRACKERS))
def tracker(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    # MLflow's store of plain files, which it keeps but does not develop: a database takes seconds to make.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    return str(request.param)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_every_tracker_keeps_the_scalars_and_no_client(tracker: str, tmp_path: Path) -> None:
    built = TRACKERS.build(tracker, {}, directory=tmp_path / "runs" / "a", name="a-run")
    tracked = Tracked(Silent(), [built])
    for number in (1, 2):
        tracked.round_done(
            RoundReport(
                round=number,
                rounds=2,
                metrics={"accuracy": 0.5 * number, "auc": None},
                survivors=3,
                dropped={CLIENT: "no answer in time"},
                failure=f"{CLIENT} was late",
                epsilon=0.25 * number,
            )
        )
    tracked.end()
    kept = b"".join(str(path).encode() + path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert CLIENT.encode() not in kept
    assert b"metric/accuracy" in kept
    assert b"privacy/epsilon" in kept
    assert b"auc" not in kept


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_event_files_read_back(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    built = TRACKERS.build("tensorboard", {}, directory=tmp_path, name="a")
    for number in (1, 2):
        built.log({"metric/accuracy": 0.5 * number}, round=number)
    built.close()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(point.step, point.value) for point in events.Scalars("metric/accuracy")] == [(1, 0.5), (2, 1.0)]


@pytest.mark.parametrize(("name", "library"), [("tensorboard", "tensorboard"), ("mlflow", "mlflow")])
def test_a_missing_library_names_its_extra(
    name: str, library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in [*sys.modules, library]:
        if module.partition(".")[0] == library or module.startswith("torch.utils.tensorboard"):
            monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra, match=rf"pip install 'fedlearn\[{name}\]'"):
        TRACKERS.build(name, {}, directory=tmp_path, name="a")


def test_an_unknown_tracker_is_refused_before_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    argv = ["simulate", "simulations/quickstart.toml", "--out", str(out), "--log", "tensorbord"]
    assert main(argv) == 2
    assert "Did you mean 'tensorboard'" in capsys.readouterr().err
    assert not out.exists()
