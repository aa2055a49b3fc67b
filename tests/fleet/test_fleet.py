"""Clients as machines: paces and presence follow their laws, and a trace its schema."""

from __future__ import annotations

import json
import math
import tracemalloc
from itertools import islice, pairwise, takewhile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedlearn.errors import ConfigError, DataError
from fedlearn.fleet import DrawnFleet, Pace, TraceFleet, Window, read_trace
from fedlearn.fleet.pace import worked

MEDIAN = Pace(records_per_second=100.0, upload_bytes_per_second=1e6, download_bytes_per_second=4e6)
NAMES = [f"client-{number:04d}" for number in range(2000)]
HEADER = "client,records_per_second,upload_bytes_per_second,download_bytes_per_second,online\n"


def drawn(**changes: Any) -> DrawnFleet:
    return DrawnFleet(**{"seed": 1, "median": MEDIAN, **changes})


# Distributions


def test_without_spread_all_clients_are_the_median() -> None:
    assert {drawn().pace(name) for name in NAMES[:20]} == {MEDIAN}


def test_speeds_are_lognormal_around_the_median() -> None:
    fleet = drawn(speed_spread=0.5, bandwidth_spread=0.25)
    paces = [fleet.pace(name) for name in NAMES]
    speed = np.log([pace.records_per_second / 100.0 for pace in paces])
    line = np.log([pace.upload_bytes_per_second / 1e6 for pace in paces])
    # Mean of 2,000 draws: stddev σ/√2000; stddev of their stddev about σ/√4000. Five of each.
    for found, sigma in ((speed, 0.5), (line, 0.25)):
        assert abs(found.mean()) < 5 * sigma / math.sqrt(2000)
        assert abs(found.std() - sigma) < 5 * sigma / math.sqrt(4000)
    assert abs(np.corrcoef(speed, line)[0, 1]) < 5 / math.sqrt(2000), "speed and line are drawn apart"
    ratios = {round(pace.download_bytes_per_second / pace.upload_bytes_per_second, 9) for pace in paces}
    assert ratios == {4.0}, "a slow line is slow both ways"


def test_a_client_is_the_same_whoever_else_is_asked() -> None:
    fleet, again = drawn(speed_spread=1.0), drawn(speed_spread=1.0)
    assert fleet.pace("b") == again.pace("b") != fleet.pace("a")
    assert drawn(seed=2, speed_spread=1.0).pace("b") != fleet.pace("b")


def test_presence_is_in_its_steady_state_at_every_time() -> None:
    fleet = drawn(online_seconds=30.0, offline_seconds=90.0)
    for time in (0.0, 500.0):
        online = [next(fleet.online(name, time))[0] <= time for name in NAMES]
        # Binomial with p = 1/4: stddev of the share of 2,000 is 0.0097; five of them.
        assert abs(np.mean(online) - 0.25) < 0.05


def test_times_online_and_offline_have_their_means() -> None:
    windows = list(islice(drawn(online_seconds=30.0, offline_seconds=90.0).online("a", 0.0), 4000))
    online = [end - start for start, end in windows]
    offline = [after[0] - before[1] for before, after in pairwise(windows)]
    assert abs(np.mean(online) - 30.0) < 5 * 30.0 / math.sqrt(4000)
    assert abs(np.mean(offline) - 90.0) < 5 * 90.0 / math.sqrt(4000)
    assert min(offline) > 0


def test_windows_do_not_depend_on_when_they_are_asked_for() -> None:
    fleet = drawn(online_seconds=1.0, offline_seconds=1.0)
    whole = list(takewhile(lambda window: window[0] < 1000.0, fleet.online("a", 0.0)))
    late = list(takewhile(lambda window: window[0] < 1000.0, fleet.online("a", 700.0)))
    assert late == [window for window in whole if window[1] > 700.0]


def test_one_of_two_times_alone_is_refused() -> None:
    with pytest.raises(ConfigError, match="belong together"):
        drawn(online_seconds=1.0)


def test_a_million_clients_take_no_memory() -> None:
    tracemalloc.start()
    fleet = drawn(speed_spread=1.0, online_seconds=5.0, offline_seconds=5.0)
    for number in range(0, 1_000_000, 10_000):
        fleet.pace(f"client-{number:06d}")
        next(fleet.online(f"client-{number:06d}", 100.0))
    grown = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert grown < 50_000


# Work


@given(
    lengths=st.lists(st.tuples(st.floats(0.1, 50), st.floats(0.1, 50)), min_size=1, max_size=8),
    at=st.floats(0, 200),
    seconds=st.floats(0.01, 300),
)
def test_work_takes_its_time_online_and_no_other(
    lengths: list[tuple[float, float]], at: float, seconds: float
) -> None:
    windows: list[Window] = []
    end = 0.0
    for gap, length in lengths:
        windows.append((end + gap, end + gap + length))
        end = windows[-1][1]
    ahead = [window for window in windows if window[1] > at]
    stretch = worked(ahead, at=at, seconds=seconds)
    available = sum(closes - max(opens, at) for opens, closes in ahead)
    if math.isinf(stretch.done):
        assert available < seconds + 1e-9
        return
    used = sum(max(0.0, min(closes, stretch.done) - max(opens, stretch.begun)) for opens, closes in ahead)
    assert used == pytest.approx(seconds)
    assert at <= stretch.begun <= stretch.done


def test_a_pace_of_zero_is_refused() -> None:
    with pytest.raises(ConfigError, match="upload_bytes_per_second=0 must be above 0"):
        Pace(upload_bytes_per_second=0)


# Traces


def written(folder: Path, text: str, name: str = "fleet.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_csv_and_json_say_the_same(tmp_path: Path) -> None:
    csv = written(tmp_path, HEADER + "a,10,100,200,0-5 10-12\nb,20.5,1e3,2000,\n")
    rows = [
        {
            "client": "a",
            "records_per_second": 10,
            "upload_bytes_per_second": 100,
            "download_bytes_per_second": 200,
            "online": [[0, 5], [10, 12]],
        },
        {
            "client": "b",
            "records_per_second": 20.5,
            "upload_bytes_per_second": 1000,
            "download_bytes_per_second": 2000,
        },
    ]
    found = read_trace(csv)
    assert found == read_trace(written(tmp_path, json.dumps(rows), "fleet.json"))
    assert found.pace("b") == Pace(
        records_per_second=20.5, upload_bytes_per_second=1e3, download_bytes_per_second=2e3
    )
    assert list(found.online("a", 4.0)) == [(0.0, 5.0), (10.0, 12.0)]
    assert list(found.online("a", 5.0)) == [(10.0, 12.0)]
    assert list(found.online("b", 1e9)) == [(0.0, math.inf)]


def test_a_trace_may_repeat(tmp_path: Path) -> None:
    fleet = read_trace(written(tmp_path, HEADER + "a,1,1,1,2-4\n"), repeats=10.0)
    assert list(islice(fleet.online("a", 13.0), 2)) == [(12.0, 14.0), (22.0, 24.0)]
    with pytest.raises(DataError, match=r"trace_repeats=3 is before the end of the trace at 4 seconds"):
        TraceFleet(paces=fleet.paces, windows=fleet.windows, repeats=3.0)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("a,-1,1,1,\n", "client 1: records_per_second=-1 must be finite and above 0"),
        ("a,0,1,1,\n", "records_per_second=0 must be"),
        ("a,inf,1,1,\n", "records_per_second=inf must be"),
        ("a,1,nan,1,\n", "upload_bytes_per_second=nan must be"),
        ("a,fast,1,1,\n", "records_per_second='fast' is not a number"),
        ("a,1,1,1,\na,1,1,1,\n", "client 2: client 'a' is there twice"),
        (",1,1,1,\n", "client='' must be a text"),
        ("a,1,1\n", "not as many cells as the header has columns"),
        ("a,1,1,1,,9\n", "not as many cells as the header has columns"),
        ("a,1,1,1,5-3\n", "window 5-3 in online must start"),
        ("a,1,1,1,0-5 4-6\n", "window 4-6 in online must start"),
        ("a,1,1,1,0-inf\n", "window 0-inf in online must start"),
        ("a,1,1,1,5\n", "is no pair of start and end"),
        ('a,1,1,1,"\n', "is not valid CSV"),
    ],
)
def test_a_row_that_breaks_the_schema_is_named(tmp_path: Path, rows: str, said: str) -> None:
    with pytest.raises(DataError) as raised:
        read_trace(written(tmp_path, HEADER + rows))
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEADER.replace("online", "onlin"), r"unknown column 'onlin'. Did you mean 'online'\?"),
        (HEADER.replace("client,", ""), "column 'client' is missing"),
        (HEADER.replace("online", "client"), "a column is there twice"),
        ("", "column 'client' is missing"),
    ],
)
def test_a_header_that_breaks_the_schema_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_trace(written(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is not valid JSON"),
        ("{}", "must be a list of objects"),
        ('[{"client": "a", "speed": 1}]', "unknown column 'speed'"),
        (
            '[{"client": 1, "records_per_second": 1, "upload_bytes_per_second": 1,'
            ' "download_bytes_per_second": 1}]',
            "client=1 must be a text",
        ),
        (
            '[{"client": "a", "records_per_second": true, "upload_bytes_per_second": 1,'
            ' "download_bytes_per_second": 1}]',
            "records_per_second=True is not a number",
        ),
        (
            '[{"client": "a", "records_per_second": 1, "upload_bytes_per_second": 1,'
            ' "download_bytes_per_second": 1, "online": "always"}]',
            "online must be a list",
        ),
        ("[" * 100_000, "is not valid JSON"),
    ],
)
def test_json_that_breaks_the_schema_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_trace(written(tmp_path, text, "fleet.json"))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_trace(tmp_path / "absent.csv")
    (tmp_path / "latin.csv").write_bytes(b"\xff")
    with pytest.raises(DataError, match="not UTF-8 text at byte 0"):
        read_trace(tmp_path / "latin.csv")


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedlearn.fleet.trace.MOST_BYTES", 10)
    with pytest.raises(DataError, match="a trace may have 10"):
        read_trace(written(tmp_path, HEADER))
    monkeypatch.undo()
    monkeypatch.setattr("fedlearn.fleet.trace.MOST_CLIENTS", 1)
    with pytest.raises(DataError, match="more than 1 clients"):
        read_trace(written(tmp_path, HEADER + "a,1,1,1,\nb,1,1,1,\n"))


@given(text=st.text(max_size=300))
def test_no_text_gets_past_the_schema_with_another_error(tmp_path_factory: Any, text: str) -> None:
    folder = tmp_path_factory.getbasetemp()
    for name, before in (("any.csv", HEADER), ("any.json", "")):
        try:
            read_trace(written(folder, before + text, name))
        except DataError:
            continue
