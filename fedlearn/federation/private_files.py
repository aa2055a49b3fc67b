"""Reading what must be private, and what must lie where it seems to lie."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from fedlearn.crypto.identity import KEY_BYTES, SigningKey
from fedlearn.errors import UnsafeFile

MAX_BYTES = 4 * 2**20
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def read_private(path: Path) -> bytes:
    """Returns the content of a file that only this user (or root) owns and can read.

    Raises:
      UnsafeFile: it is missing, a link, no regular file, another user's, or open to group or others.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise UnsafeFile(
            f"{path} cannot be read: {error.strerror}; a private file may not be a link"
        ) from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_uid not in {os.geteuid(), 0}:
            raise UnsafeFile(f"{path} must be a regular file of this user; it is of user {status.st_uid}")
        if status.st_mode & _OTHERS:
            raise UnsafeFile(
                f"{path} has mode {stat.S_IMODE(status.st_mode):04o}: others can use it; chmod 600 {path}"
            )
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(MAX_BYTES)
    finally:
        os.close(descriptor)


def read_signing_key(path: Path) -> SigningKey:
    """Returns the signing key in a private file, as :func:`write_signing_key` wrote it.

    Raises:
      UnsafeFile: see :func:`read_private`; or it holds no key.
    """
    text = read_private(path)
    try:
        raw = bytes.fromhex(text.decode("ascii").strip())
    except (UnicodeDecodeError, ValueError):
        raw = b""
    if len(raw) != KEY_BYTES:
        raise UnsafeFile(f"{path} holds no signing key: {2 * KEY_BYTES} hexadecimal digits are expected")
    return SigningKey.from_bytes(raw)


def write_signing_key(path: Path, key: SigningKey) -> None:
    """Writes a signing key into a new file of mode 0600; raises UnsafeFile if there is one."""
    write_private(path, key.to_bytes().hex().encode() + b"\n")


def write_private(path: Path, content: bytes) -> None:
    """Writes a new file that only this user can read; raises UnsafeFile if it exists."""
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o600)
    except FileExistsError:
        raise UnsafeFile(f"{path} exists; a private key is never overwritten: move it away first") from None
    except OSError as error:
        raise UnsafeFile(f"{path} cannot be written: {error.strerror}") from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def check_folder(folder: Path) -> None:
    """Raises UnsafeFile if a data folder holds a link: records come from the folder that was named."""
    if folder.is_symlink():
        raise UnsafeFile(f"{folder} is a link; name the folder itself")
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(parent, name)
            if path.is_symlink():
                raise UnsafeFile(f"{path} is a link; put the file itself there, or name its own folder")
