"""Files of data sets: found, verified, unpacked; and what is refused. No test uses the network."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError

import pytest

from fedlearn.data.datasets import heart_disease
from fedlearn.data.files import fetch_zip, locate, unpack, verify
from fedlearn.errors import DataError

URL = "https://example.org/archive.zip"
CONTENT = b"1,2,3\n"
MEMBERS = {"a.data": hashlib.sha256(CONTENT).hexdigest()}

Answer = Callable[[bytes], None]


def _archive(contents: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in contents.items():
            packed.writestr(name, content)
    return buffer.getvalue()


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Answer:
    """Lets every address answer with the bytes given."""

    def install(content: bytes) -> None:
        monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: io.BytesIO(content))

    return install


class TestLocate:
    def test_in_the_folder_or_in_one_with_the_name(self, tmp_path: Path) -> None:
        (tmp_path / "toy").mkdir()
        (tmp_path / "toy" / "a.data").write_bytes(CONTENT)
        for folder in (tmp_path, tmp_path / "toy"):
            assert locate(folder, name="toy", files=["a.data"], source="x") == tmp_path / "toy"

    def test_what_is_missing_is_named_with_the_way_out(self, tmp_path: Path) -> None:
        (tmp_path / "a.data").write_bytes(CONTENT)
        with pytest.raises(
            DataError, match=r"has no b\.data; get a\.data, b\.data from SOURCE and set data\.folder"
        ):
            locate(tmp_path, name="toy", files=["a.data", "b.data"], source="SOURCE")

    def test_no_folder(self) -> None:
        with pytest.raises(DataError, match=r"none is given; get a\.data"):
            locate(None, name="toy", files=["a.data"], source="SOURCE")


class TestFetch:
    def test_returns_the_verified_members(self, answer: Answer) -> None:
        answer(_archive({"a.data": CONTENT, "other": b"x"}))
        assert fetch_zip(URL, members=MEMBERS, limit=1000) == {"a.data": CONTENT}

    def test_only_over_https(self) -> None:
        with pytest.raises(DataError, match="not an https address"):
            fetch_zip("file:///etc/passwd", members=MEMBERS, limit=1000)

    def test_an_archive_over_the_limit_is_refused(self, answer: Answer) -> None:
        answer(b"x" * 1001)
        with pytest.raises(DataError, match="more than 1000 bytes"):
            fetch_zip(URL, members=MEMBERS, limit=1000)

    def test_a_member_that_unpacks_over_the_limit_is_refused(self) -> None:
        bomb = _archive({"a.data": b"\0" * 100_000})
        assert len(bomb) < 1000
        with pytest.raises(DataError, match=r"a\.data in the archive has more than 1000 bytes"):
            unpack(bomb, members=MEMBERS, limit=1000)

    def test_an_altered_member_is_refused(self) -> None:
        with pytest.raises(DataError, match=r"a\.data has SHA-256"):
            unpack(_archive({"a.data": CONTENT + b"4"}), members=MEMBERS, limit=1000)

    def test_a_missing_member_is_refused(self) -> None:
        with pytest.raises(DataError, match=r"no member a\.data"):
            unpack(_archive({"../a.data": CONTENT}), members=MEMBERS, limit=1000)

    def test_what_is_no_archive_is_refused(self, answer: Answer) -> None:
        answer(b"<html>moved</html>")
        with pytest.raises(DataError, match="18 bytes are no zip archive"):
            fetch_zip(URL, members=MEMBERS, limit=1000)

    def test_an_address_out_of_reach_says_what_to_do(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def unreachable(*_: object, **__: object) -> None:
            raise URLError("no route")

        monkeypatch.setattr("urllib.request.urlopen", unreachable)
        with pytest.raises(DataError, match=r"cannot be reached .* set data\.folder"):
            fetch_zip(URL, members=MEMBERS, limit=1000)

    def test_verify(self) -> None:
        assert verify(CONTENT, name="a.data", sha256=MEMBERS["a.data"]) == CONTENT


class TestHeartDiseaseDownload:
    """The loader's own path, with small stand-ins for the four files."""

    @pytest.fixture(autouse=True)
    def _stand_ins(self, monkeypatch: pytest.MonkeyPatch, answer: Answer) -> None:
        row = "{age},1,2,120,200,0,1,150,0,1.5,?,?,?,{target}\n"
        content = "".join(row.format(age=30 + i, target=i % 3) for i in range(12)).encode()
        names = list(heart_disease._DIGESTS)
        digest = hashlib.sha256(content).hexdigest()
        monkeypatch.setattr(heart_disease, "_DIGESTS", dict.fromkeys(names, digest))
        answer(_archive(dict.fromkeys(names, content)))

    def test_without_a_folder_nothing_is_written(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.chdir(tmp_path)
        assert len(heart_disease.heart_disease().records) == 48
        assert list(tmp_path.rglob("*")) == []

    def test_a_folder_is_filled_on_request_only(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"data\.folder"):
            heart_disease.heart_disease(tmp_path / "new")
        assert len(heart_disease.heart_disease(tmp_path / "new", download=True).records) == 48
        assert len(heart_disease.heart_disease(tmp_path / "new").records) == 48

    def test_an_altered_file_is_refused(self, tmp_path: Path) -> None:
        heart_disease.heart_disease(tmp_path, download=True)
        (tmp_path / "processed.va.data").write_bytes(b"1\n")
        with pytest.raises(DataError, match=r"processed\.va\.data has SHA-256"):
            heart_disease.heart_disease(tmp_path)
