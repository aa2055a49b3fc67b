"""Whatever bytes arrive, a decoder reads them or refuses them by name; it never does anything else."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fedlearn
from tests.fuzz.decoders import DECODERS

ROOT = Path(fedlearn.__file__).parent
NAMES = sorted(DECODERS)
ON_EACH = settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])

NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:e-?\d+)?")

NESTED = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.binary() | st.text(),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=20,
)


def try_to_decode(name: str, body: bytes) -> None:
    decoder = DECODERS[name]
    with contextlib.suppress(*decoder.raises):
        decoder.decode(body)


NEARLY_READ = ["assignment", "experiment", "merkle-path"]


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(NEARLY_READ)))
def test_its_samples_are_read(name: str) -> None:
    for body in DECODERS[name].samples():
        DECODERS[name].decode(body)


@pytest.mark.parametrize("name", NAMES)
@given(body=st.binary(max_size=300))
@ON_EACH
def test_any_bytes(name: str, body: bytes) -> None:
    try_to_decode(name, body)


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
@ON_EACH
def test_any_damage_to_a_true_message(name: str, data: st.DataObject) -> None:
    body = data.draw(st.sampled_from(list(DECODERS[name].samples())))
    start = data.draw(st.integers(0, len(body)))
    end = data.draw(st.integers(start, min(len(body), start + 40)))
    try_to_decode(name, body[:start] + data.draw(st.binary(max_size=40)) + body[end:])


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith(("request", "reply", "roster"))])
@given(data=st.data(), fields=st.lists(NESTED, max_size=6))
@ON_EACH
def test_any_structure_under_a_true_tag(name: str, data: st.DataObject, fields: list[object]) -> None:
    body = data.draw(st.sampled_from(list(DECODERS[name].samples())))
    try:
        tag = msgspec.msgpack.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        tag = "request/1"  # a file of JSON
    if isinstance(tag, dict):
        names = data.draw(st.lists(st.sampled_from(sorted(tag)), max_size=6))
        changed: object = {**tag, **dict(zip(names, fields, strict=False))}
    else:
        changed = [tag[0], *fields]
    try_to_decode(name, msgspec.msgpack.encode(changed))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("body", [b"", b"\x91" * 100_000, b"[" * 100_000, b"\x81\xa1a" * 50_000, b"\xc1"])
def test_nothing_nested_deeply_and_bytes_without_meaning(name: str, body: bytes) -> None:
    try_to_decode(name, body)


@pytest.mark.parametrize("name", ["receipt", "statement", "experiment", "ledger-head"])
def test_numbers_beyond_every_float(name: str) -> None:
    for body in DECODERS[name].samples():
        for number in NUMBER.finditer(body):
            try_to_decode(name, body[: number.start()] + b"1" + b"0" * 400 + body[number.end() :])


def test_no_module_of_the_protocol_that_decodes_is_forgotten() -> None:
    """What a client's ledger keeps of its own replies comes from no one else."""
    pattern = re.compile(r"Decoder\(|json\.(?:loads|decode)\(|msgpack\.decode\(")
    found = {
        f"{package}/{path.name}"
        for package in ("crypto", "secagg", "rounds")
        for path in (ROOT / package).rglob("*.py")
        if pattern.search(path.read_text("utf-8"))
    }
    fuzzed = {"secagg/messages.py", "secagg/roster.py", "secagg/step.py"}
    fuzzed |= {"rounds/messages.py", "rounds/checkpoint.py", "rounds/receipts.py"}
    assert found - {"rounds/releases.py"} == fuzzed


def test_the_longer_run_says_why_it_is_skipped() -> None:
    code = (
        "import sys; sys.modules['atheris'] = None\n"
        "from tests.fuzz.__main__ import main\n"
        "sys.exit(main(['--seconds', '1']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT.parent
    )
    assert done.returncode == 0
    assert "skipped: atheris is not installed" in done.stdout
