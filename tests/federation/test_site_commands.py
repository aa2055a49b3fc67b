"""A site's own records, its preflight, its status and its log; and what the relay imports."""

from __future__ import annotations

import itertools
import json
import logging
import os
import re
import ssl
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from fedlearn.cli.main import main
from fedlearn.config import DevicesConfig
from fedlearn.errors import ClockSkew, ConfigError, DataError, PreflightFailure, UnknownClient, UnsafeFile
from fedlearn.federation import hurried, preflight
from fedlearn.federation.environment import party_environment
from fedlearn.federation.private_files import read_signing_key
from fedlearn.federation.provisioning import keys
from fedlearn.federation.provisioning.keys import read_request
from fedlearn.federation.provisioning.kits import Kits
from fedlearn.federation.site import journal, link, standing
from fedlearn.federation.site.config import LEDGER, LimitsSection, SiteConfig
from fedlearn.federation.site.data import SiteData, population_of
from fedlearn.federation.site.participation import device_of
from fedlearn.federation.site.preflight import check_site
from fedlearn.federation.site.run_agent import open_agent
from fedlearn.training.devices import Device
from tests.federation.sites import experiment, kits_in

HERE = Path(__file__).parents[2]


@pytest.fixture
def config(tmp_path: Path) -> SiteConfig:
    return SiteConfig.load(kits_in(tmp_path / "kits").site("client-1") / "site.toml")


def changed(config: SiteConfig, **data: object) -> SiteConfig:
    return config.model_copy(update={"data": config.data.model_copy(update=data)})


def test_all_records_are_the_sites_own_unless_it_says_otherwise(config: SiteConfig) -> None:
    own = SiteData(changed(config, share="own", declared_size=400)).held(experiment())
    dealt = SiteData(config).held(experiment())
    assert own.declared_size == 400
    assert own.size > 3 * dealt.size
    assert own.test is not None
    assert own.size + len(own.test) == 569  # type: ignore[arg-type]


def test_a_site_must_declare_its_size(config: SiteConfig) -> None:
    with pytest.raises(ConfigError, match="declared_size is missing"):
        SiteData(changed(config, share="own")).held(experiment())


def test_a_site_that_is_dealt_nothing_says_so(config: SiteConfig) -> None:
    stranger = config.model_copy(update={"site": "stranger"})
    with pytest.raises(DataError, match="site 'stranger' gets none"):
        SiteData(stranger).held(experiment())


def test_others_records_are_elsewhere(config: SiteConfig) -> None:
    data = SiteData(config)
    mine = data.held(experiment())
    population = population_of({"client-0": 70, "client-1": 80}, data.schema, held={"client-1": mine})
    assert population.clients["client-1"] is mine
    assert (population.clients["client-0"].size, population.clients["client-0"].declared_size) == (0, 70)
    assert population.shape == (30,)


def test_preflight_says_what_to_mend(config: SiteConfig) -> None:
    findings = {finding.what: finding for finding in check_site(config)}
    assert findings["keys"].ok
    assert "version 1" in findings["roster"].detail
    assert "30" in findings["data"].detail
    assert "ε ≤ 4" in findings["policy"].detail
    assert not findings["server"].ok
    assert "cannot be reached" in findings["server"].detail
    config.path(config.key).chmod(0o644)
    mended = {finding.what: finding for finding in check_site(config)}
    assert not mended["keys"].ok
    assert "chmod 600" in mended["keys"].detail


class Stopped(BaseHTTPRequestHandler):
    """A server whose clock stands still."""

    def date_time_string(self, timestamp: float | None = None) -> str:
        return "Sun, 06 Nov 1994 08:49:37 GMT"

    def do_HEAD(self) -> None:  # as http.server wants it
        self.send_response(403)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Says nothing."""


@pytest.fixture
def stopped(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The address of that server, and the authority that it is to be believed by."""
    kits = kits_in(tmp_path / "federation")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(kits.server / "server.pem", kits.server / "server.key")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Stopped)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"127.0.0.1:{server.server_address[1]}", kits.server / "ca.crt"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_clock_is_compared_with_the_servers(stopped: tuple[str, Path]) -> None:
    address, ca = stopped
    assert preflight.clock(address, ca=ca, now=lambda: 784111777.0 + 20) == "20 s from the server's"
    with pytest.raises(ClockSkew, match="NTP"):
        preflight.clock(address, ca=ca)


def test_a_folder_too_deep_for_sockets_is_told_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "deep" / ("x" * 80)
    quickstart = str(HERE / "simulations" / "quickstart.toml")
    assert main(["up", quickstart, "--keep", str(folder)]) == ConfigError.exit_code
    assert "at most 100 are taken; choose a folder with a shorter one" in capsys.readouterr().err
    assert not list(folder.rglob("*.log")) + list(folder.rglob("log.txt"))


def test_the_check_ends_with_its_own_code(config: SiteConfig, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(config.folder / "site.toml")
    assert main(["site", "check", "--config", file]) == PreflightFailure.exit_code
    assert "MEND server" in capsys.readouterr().out
    assert main(["site", "check", "--config", file, "--json"]) == PreflightFailure.exit_code
    assert isinstance(json.loads(capsys.readouterr().out), list)


def test_keys_are_replaced_and_the_ledger_goes_on(config: SiteConfig, tmp_path: Path) -> None:
    file, kits = str(config.folder / "site.toml"), Kits.open(config.folder.parents[1])
    before = read_signing_key(config.path(config.key))
    open_agent(config)
    command = ["site", "keygen", "--replace", "--config", file, "--request", str(tmp_path / "request")]
    standing.write(config.path(config.state), standing.AGENT, {"ready": True})
    assert main(command) == ConfigError.exit_code
    (config.path(config.state) / standing.AGENT).unlink()
    assert main(command) == 0
    assert read_signing_key(config.path("site.key.before")).public == before.public
    with pytest.raises(UnknownClient, match="not signed yet"):
        open_agent(config)
    kits.enrol(read_request(tmp_path / "request"))
    open_agent(config)
    assert {one.what: one for one in check_site(config)}["ledger"].detail == "2 rows, the chain holds"
    assert main(command) == UnsafeFile.exit_code


@pytest.mark.parametrize("call", range(7))
def test_a_replacement_that_was_cut_off_is_gone_on_with(
    config: SiteConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    """Two files written, the ledger handed over, four renamed: cut off before each of them."""
    kits, calls = Kits.open(config.folder.parents[1]), itertools.count()
    open_agent(config)

    def at_most(step: Callable[..., Any]) -> Callable[..., Any]:
        def cut(*arguments: Any, **options: Any) -> Any:
            if next(calls) == call:
                raise InterruptedError
            return step(*arguments, **options)

        return cut

    paths = {"key": config.path(config.key), "node_key": config.path(config.link.node_key)}
    ledger = config.path(config.state) / LEDGER
    with monkeypatch.context() as patch:
        for name in ("write_signing_key", "write_private", "hand_over"):
            patch.setattr(keys, name, at_most(getattr(keys, name)))
        patch.setattr(Path, "rename", at_most(Path.rename))
        with pytest.raises(InterruptedError):
            keys.replace_keys(config.site, ledger=ledger, **paths)
    kits.enrol(keys.replace_keys(config.site, ledger=ledger, **paths))
    open_agent(config)
    assert {one.what: one for one in check_site(config)}["ledger"].detail == "2 rows, the chain holds"
    assert not list(config.folder.glob("*.next"))


def test_status_tells_who_lives_and_why_it_waits(
    config: SiteConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    file, state = str(config.folder / "site.toml"), config.path(config.state)
    assert main(["site", "status", "--config", file]) == 1
    assert capsys.readouterr().out.count("not running") == 2
    standing.write(state, standing.AGENT, {"ready": True, "run": "small-1", "round": 2})
    standing.write(state, standing.LINK, {"ready": False, "state": "waiting", "reason": "60 s"})
    assert main(["site", "status", "--config", file]) == 1
    said = capsys.readouterr().out
    assert "run small-1, round 3" in said
    assert "waiting · 60 s" in said
    assert main(["site", "status", "--config", file, "--part", "agent"]) == 0
    assert capsys.readouterr().out.count("\n") == 1
    assert main(["site", "status", "--config", file, "--part", "link"]) == 1
    capsys.readouterr()
    standing.write(state, standing.LINK, {"ready": True, "state": "running", "reason": ""})
    assert main(["site", "status", "--config", file, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["agent"]["pid"] == os.getpid()


def test_metrics_are_served_on_the_loopback_interface() -> None:
    server = standing.serve_metrics(0, lambda: {"requests": 3.0, "started": 1764112345.25})
    try:
        host, port = server.server_address[:2]
        assert host == "127.0.0.1"
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            assert answer.read() == b"fedlearn_site_requests 3\nfedlearn_site_started 1764112345.25\n"
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/other")
    finally:
        server.shutdown()
        server.server_close()


def test_every_event_is_on_the_operations_page() -> None:
    page = (HERE / "docs" / "operating.md").read_text(encoding="utf-8")
    sources = [file.read_text(encoding="utf-8") for file in (HERE / "fedlearn/federation/site").glob("*.py")]
    events = {event for text in sources for event in re.findall(r'told\("([^"]+)"', text)}
    assert {"agent ready", "answered", "refused"} <= events
    for event in events | {"agent ended", "supernode ended"}:
        assert f"`{event}`" in page


def test_a_log_line_is_one_object_of_known_fields() -> None:
    record = logging.LogRecord("fedlearn.site", logging.INFO, "", 0, "refused", None, None)
    record.told = {"rule": "max_epsilon", "asked": "8", "allowed": "3"}
    line = json.loads(journal.JsonLines().format(record))
    assert (line["event"], line["rule"], line["asked"]) == ("refused", "max_epsilon", "8")
    with pytest.raises(ValueError, match="diagnosis"):
        journal.told("odd", diagnosis="malignant")


def test_the_supernode_is_told_the_socket_and_nothing_of_the_data(config: SiteConfig) -> None:
    command = link.command(config)
    assert f'fedlearn-socket="{config.path(config.socket)}"' in command
    assert "--insecure" not in command
    assert not any("breast" in word or "site.key" in word for word in command)
    environment = party_environment(config.folder)
    assert environment["FLWR_TELEMETRY_ENABLED"] == "0"


def test_fast_polling_shortens_the_known_sleeps_only(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    adapted = hurried.hurried()
    for seconds in (3, 0.5, 7):
        adapted.sleep(seconds)
    assert slept == [0.2, 0.05, 7]
    assert adapted.monotonic() > 0


def test_the_relay_knows_neither_torch_nor_data() -> None:
    code = "import sys, fedlearn.federation.client_app; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "fedlearn.federation.relay" in loaded
    assert not {"torch", "opacus", "sklearn", "pydantic", "scipy", "dp_accounting"} & loaded
    rooms = {"data", "training", "models", "experiment", "privacy", "secagg", "crypto", "config"}
    assert not {f"fedlearn.{room}" for room in rooms} & loaded


def test_a_site_trains_where_its_settings_allow_in_the_precision_of_the_run() -> None:
    asked = DevicesConfig(use="cuda:3", precision="bfloat16")
    assert device_of("cpu", asked) == Device(name="cpu", precision="bfloat16")
    assert device_of("cpu", DevicesConfig(use="auto", precision="float16")).precision == "float32"
    with pytest.raises(ConfigError, match="cuda:999 is not there"):
        device_of("cuda:999", asked)


def test_a_device_that_is_not_there_is_found_before_the_first_round(config: SiteConfig) -> None:
    config = config.model_copy(update={"limits": LimitsSection(device="cuda:999")})
    found = next(one for one in check_site(config) if one.what == "device")
    assert (found.ok, "cuda:999 is not there" in found.detail) == (False, True)
    with pytest.raises(ConfigError, match="cuda:999"):
        open_agent(config)


def test_a_site_that_hears_nothing_for_long_asks_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    adapted = hurried.hurried()
    for _ in range(52):
        adapted.sleep(3)
    adapted.sleep(0.5)
    adapted.sleep(3)
    assert slept == [0.2] * 50 + [1.0, 1.0, 0.05, 0.2]
