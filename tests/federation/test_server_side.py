"""The server's queue, its waiting for sites, its steering between rounds, and the way to a site's node."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fedlearn.cli.main import main
from fedlearn.cli.submit import follow
from fedlearn.errors import FedLearnError, RunDirectoryError, RunError, RunInterrupted, SitesMissing
from fedlearn.federation import failure
from fedlearn.federation.grid import GridTransport
from fedlearn.federation.provisioning.certificates import new_node_key, node_public
from fedlearn.federation.roster import Member
from fedlearn.federation.server import queue, superlink
from fedlearn.federation.server.attendance import Attendance
from fedlearn.federation.server.config import ServerConfig
from fedlearn.federation.server.newcomers import Newcomers, SitesCame
from fedlearn.federation.server.nodes import Nodes
from fedlearn.federation.server.steering import Steering
from fedlearn.rounds.transport import Lost, Message
from fedlearn.runs.progress import RoundReport
from tests.federation.fake_grid import Clock, FakeGrid
from tests.federation.sites import experiment, kits_in

SITES = ("oslo", "rome", "york")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    name = queue.submit(tmp_path / "runs", experiment())
    return tmp_path / "runs" / name


def attendance(run: Path, connected: Callable[[], Collection[str]], *, clock: Clock) -> Attendance:
    return Attendance(connected=connected, directory=run, seconds=60.0, clock=clock, sleep=clock.sleep)


def test_waiting_is_visible_and_ends_when_all_are_there(run: Path) -> None:
    clock, seen = Clock(), []

    def connected() -> set[str]:
        status = queue.read(run)
        seen.append((status.state, status.present, status.missing))
        return set(SITES[: int((clock.now - 1000) // 2) + 1])

    assert attendance(run, connected, clock=clock).wait(SITES, least=3) == SITES
    assert ("waiting", 1, ("rome", "york")) in seen
    assert ("waiting", 2, ("york",)) in seen
    assert queue.read(run).state == "running"


def test_at_the_deadline_enough_sites_begin_and_too_few_are_named(run: Path) -> None:
    clock = Clock()
    two = attendance(run, lambda: {"oslo", "york"}, clock=clock)
    assert two.wait(SITES, least=2) == ("oslo", "york")
    assert clock.now >= 1060
    with pytest.raises(SitesMissing, match=r"2 of at least 3 sites .* missing: rome"):
        two.wait(SITES, least=3)


def test_waiting_can_be_stopped(run: Path) -> None:
    queue.update(run, state="waiting")
    queue.ask_to_stop(run)
    with pytest.raises(RunInterrupted):
        attendance(run, set, clock=Clock()).wait(SITES, least=1)


def report(round: int, *, failure: str | None = None, dropped: dict[str, str] | None = None) -> RoundReport:
    return RoundReport(round=round, rounds=3, metrics={}, survivors=0, failure=failure, dropped=dropped or {})


def steering(run: Path, connected: Callable[[], Collection[str]], *others: str) -> Steering:
    return Steering(
        attendance=attendance(run, connected, clock=Clock()),
        sites=SITES,
        least=2,
        newcomers=Newcomers(members=[*SITES, *others], connected=connected),
    )


def test_a_round_that_went_well_is_followed_by_the_next(run: Path) -> None:
    steering(run, set).round_done(report(1))


def test_a_stop_is_heard_between_rounds_and_not_after_the_last(run: Path) -> None:
    queue.update(run, state="running")
    queue.ask_to_stop(run)
    with pytest.raises(RunInterrupted, match="after round 1 of 3"):
        steering(run, set).round_done(report(1))
    steering(run, set).round_done(report(3))


def test_a_failed_round_waits_for_sites(run: Path) -> None:
    steering(run, lambda: set(SITES)).round_done(report(1, failure="too few"))
    with pytest.raises(SitesMissing):
        steering(run, set).round_done(report(1, failure="too few"))


def test_a_site_that_came_late_is_let_in_between_rounds_and_not_after_the_last(run: Path) -> None:
    late = steering(run, lambda: {*SITES, "bern", "stranger"}, "bern", "cork")
    with pytest.raises(SitesCame):
        late.round_done(report(1))
    late.round_done(report(3))
    steering(run, lambda: set(SITES), "bern").round_done(report(1))


def test_a_round_that_sites_refuse_to_repeat_ends_the_run_with_advice(run: Path) -> None:
    with pytest.raises(RunError, match="redo_without_dp"):
        steering(run, set).round_done(report(1, failure="x", dropped={"oslo": "AlreadyAnswered"}))


def test_runs_are_carried_out_in_order_and_an_open_one_first(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    assert queue.next_run(runs) is None
    first, second = queue.submit(runs, experiment()), queue.submit(runs, experiment())
    assert first != second
    assert queue.next_run(runs) == first
    queue.update(runs / first, state="running")
    assert queue.next_run(runs) == first
    queue.update(runs / first, state="finished")
    assert queue.next_run(runs) == second
    queue.ask_to_stop(runs / second)
    assert queue.read(runs / second).state == "stopped"
    assert queue.next_run(runs) is None
    with pytest.raises(RunDirectoryError, match="nothing to stop"):
        queue.ask_to_stop(runs / second)


@pytest.mark.parametrize("content", ["", "{}", '{"state": "odd", "submitted": 1}', "[" * 10_000])
def test_a_damaged_status_is_said(run: Path, content: str) -> None:
    (run / queue.STATUS).write_text(content)
    with pytest.raises(RunDirectoryError, match="holds no run"):
        queue.read(run)


def test_following_ends_with_what_the_run_failed_with(run: Path) -> None:
    error = SitesMissing("2 of at least 3 sites were connected")
    failure.write(run, error)
    queue.update(run, state="failed", reason=str(error))
    with pytest.raises(SitesMissing, match="2 of at least 3"):
        follow(run, experiment(), quiet=True)


def test_following_a_stopped_run_is_an_error_too(run: Path) -> None:
    queue.ask_to_stop(run)
    with pytest.raises(RunError, match="was stopped"):
        follow(run, experiment(), quiet=True)


def test_following_waits_for_the_end(run: Path) -> None:
    ended = threading.Timer(0.2, lambda: queue.update(run, state="finished"))
    ended.start()
    follow(run, experiment(), quiet=True)
    ended.join()


@dataclass
class Node:
    node_id: int
    public_key: bytes


class NodeGrid(FakeGrid):
    def __init__(self, nodes: dict[int, bytes]) -> None:
        super().__init__(nodes=nodes)
        self.found = [Node(number, key) for number, key in nodes.items()]

    def get_nodes(self) -> list[Node]:
        return self.found


def test_a_site_is_the_node_with_its_key_whatever_it_calls_itself() -> None:
    lines = [node_public(new_node_key()) for _ in range(3)]
    members = {site: Member(key=b"k" * 32, node=line) for site, line in zip(SITES, lines, strict=True)}
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_public_key

    pem = load_ssh_public_key(lines[1].encode()).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    stranger = node_public(new_node_key()).encode()
    nodes = Nodes(NodeGrid({11: lines[0].encode(), 22: pem, 33: stranger, 44: b"junk"}), members)
    assert nodes.connected() == {"oslo": 11, "rome": 22}
    assert nodes.route("york") is None


def test_a_message_goes_to_its_sites_node_and_to_no_other() -> None:
    grid = FakeGrid(nodes=(1, 2))
    clock = Clock()
    route = {"oslo": 1, "rome": 2}
    transport = GridTransport(grid, addresses={}, route=route.get, clock=clock, sleep=clock.sleep)
    requests = [Message(client=site, body=b"x") for site in SITES]
    answers = {answer.client: answer for answer in transport.exchange(requests)}
    assert answers["york"] == Lost(client="york", reason="unreachable")
    assert isinstance(answers["oslo"], Message)
    assert {message.metadata.dst_node_id for message in grid.pushed} == {1, 2}


@pytest.fixture(scope="module")
def server_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return kits_in(tmp_path_factory.mktemp("kits") / "kits", sites=SITES).server / "server.toml"


def test_flowers_command_runs_in_the_servers_own_folder_and_its_refusal_is_said_without_a_frame(
    server_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    framed = "╭─ Error ─╮\n│ Permission denied: the state folder. │\n╰─────────╯\n"
    done = subprocess.CompletedProcess([], 1, stdout="", stderr=framed)
    asked: dict[str, Any] = {}

    def run(_: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
        asked.update(options)
        return done

    monkeypatch.setattr(subprocess, "run", run)
    state = server_file.parent / "state"
    state.mkdir(exist_ok=True)
    with pytest.raises(RunError, match=r"node keys: Permission denied: the state folder\.$"):
        superlink.register(ServerConfig.load(server_file), {})
    assert asked["cwd"].is_relative_to(state)


def test_the_operators_commands(
    server_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "small.toml"
    file.write_text(experiment().to_toml())
    config = ["--config", str(server_file)]
    assert main(["submit", str(file), "--detach", *config]) == 0
    name = capsys.readouterr().out.strip()
    assert name.startswith("small-")
    assert main(["runs", *config]) == 0
    assert "queued" in capsys.readouterr().out
    assert main(["runs", "--json", *config]) == 0
    assert f'"{name}"' in capsys.readouterr().out
    assert main(["stop", name, *config]) == 0
    assert main(["stop", name, *config]) == RunDirectoryError.exit_code
    assert main(["stop", "../escape", *config]) == RunDirectoryError.exit_code
    assert main(["server", "status", *config]) == 1
    assert "down" in capsys.readouterr().out


def test_a_wrong_experiment_is_refused_before_it_is_queued(
    server_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text("name = 'x'\nroundz = 3\n")
    assert main(["submit", str(file), "--config", str(server_file)]) == 2
    assert "Did you mean 'rounds'?" in capsys.readouterr().err


def test_every_error_of_a_federation_has_an_exit_code_of_its_own() -> None:
    from fedlearn import errors

    codes = [
        getattr(errors, name).exit_code for name in ("PolicyRefusal", "SitesMissing", "PreflightFailure")
    ]
    assert len({*codes, FedLearnError.exit_code, RunError.exit_code}) == 5
