"""Files that only their owner may read, and folders without links."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fedlearn.crypto.identity import SigningKey
from fedlearn.errors import UnsafeFile
from fedlearn.federation.private_files import (
    check_folder,
    read_private,
    read_signing_key,
    write_private,
    write_signing_key,
)


def test_a_key_comes_back_from_a_file_of_its_own_mode(tmp_path: Path) -> None:
    key = SigningKey.generate()
    write_signing_key(tmp_path / "key", key)
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert read_signing_key(tmp_path / "key").public == key.public


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o610, 0o666])
def test_a_file_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    write_private(tmp_path / "key", b"secret")
    (tmp_path / "key").chmod(mode)
    with pytest.raises(UnsafeFile, match="chmod 600"):
        read_private(tmp_path / "key")


def test_a_link_a_folder_and_nothing_are_refused(tmp_path: Path) -> None:
    write_private(tmp_path / "key", b"secret")
    (tmp_path / "link").symlink_to(tmp_path / "key")
    (tmp_path / "folder").mkdir()
    for name in ("link", "folder", "nothing"):
        with pytest.raises(UnsafeFile):
            read_private(tmp_path / name)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_another_users_file_is_refused(tmp_path: Path) -> None:
    write_private(tmp_path / "key", b"secret")
    os.chown(tmp_path / "key", 12345, -1)
    with pytest.raises(UnsafeFile, match="user 12345"):
        read_private(tmp_path / "key")


def test_what_is_no_key_is_refused(tmp_path: Path) -> None:
    for number, content in enumerate((b"", b"zz" * 32, b"00" * 31, b"\xff")):
        write_private(tmp_path / str(number), content)
        with pytest.raises(UnsafeFile, match="holds no signing key"):
            read_signing_key(tmp_path / str(number))


def test_a_private_file_is_never_overwritten(tmp_path: Path) -> None:
    write_private(tmp_path / "key", b"first")
    with pytest.raises(UnsafeFile, match="never overwritten"):
        write_private(tmp_path / "key", b"second")
    with pytest.raises(UnsafeFile, match="cannot be written"):
        write_private(tmp_path / "missing" / "key", b"")


def test_a_folder_with_a_link_anywhere_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "records.csv").write_text("1")
    check_folder(folder)
    (tmp_path / "alias").symlink_to(folder)
    with pytest.raises(UnsafeFile):
        check_folder(tmp_path / "alias")
    (folder / "deep" / "passwd").symlink_to("/etc/passwd")
    with pytest.raises(UnsafeFile, match="passwd is a link"):
        check_folder(folder)
