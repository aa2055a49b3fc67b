"""Files of a data set: found in a folder, verified, or fetched where the user says so."""

from __future__ import annotations

import hashlib
import io
import urllib.request
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.error import URLError

from fedlearn.errors import DataError

TIMEOUT_SECONDS = 30.0


def locate(folder: Path | None, *, name: str, files: Sequence[str], source: str) -> Path:
    """Returns the folder that holds the files: ``folder`` itself, or its subfolder ``name``.

    Raises:
      DataError: no folder is given or a file is missing; says which, where to get it and what to set.
    """
    hint = f"get {', '.join(files)} from {source} and set data.folder to where they lie"
    if folder is None:
        raise DataError(f"data set {name!r} is read from a folder, and none is given; {hint}")
    for candidate in (folder, folder / name):
        if all((candidate / file).is_file() for file in files):
            return candidate
    missing = [file for file in files if not (folder / file).is_file()]
    raise DataError(f"data set {name!r}: {folder} has no {', '.join(missing)}; {hint}")


def verify(content: bytes, *, name: str, sha256: str) -> bytes:
    """Returns the content; raises DataError unless it has the digest."""
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise DataError(
            f"{name} has SHA-256 {found[:16]}…, not {sha256[:16]}…: it was altered or is another version;"
            " get the original again"
        )
    return content


def fetch_zip(url: str, *, members: Mapping[str, str], limit: int) -> dict[str, bytes]:
    """Returns the verified members of a zip archive on the web; writes nothing.

    Args:
      url: an https address.
      members: file name → SHA-256.
      limit: most bytes that the archive, and each member, may have.

    Raises:
      DataError: not https, unreachable, too large, no archive, or a member missing or altered.
    """
    if not url.startswith("https://"):
        raise DataError(f"{url} is not an https address")
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as response:  # noqa: S310  https, checked above
            archive = response.read(limit + 1)
    except (URLError, OSError) as error:
        raise DataError(
            f"{url} cannot be reached ({error}); download it elsewhere, unpack it and set data.folder"
        ) from error
    if len(archive) > limit:
        raise DataError(f"{url} has more than {limit} bytes: it is not the file that was meant")
    return unpack(archive, members=members, limit=limit)


def unpack(archive: bytes, *, members: Mapping[str, str], limit: int) -> dict[str, bytes]:
    """Returns the verified members of a zip archive, by file name.

    Raises:
      DataError: no archive, a member missing, larger than ``limit`` or altered.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as packed:
            held = {info.filename: info for info in packed.infolist()}
            return {
                name: _member(packed, held.get(name), name, sha256, limit) for name, sha256 in members.items()
            }
    except zipfile.BadZipFile as error:
        raise DataError(f"{len(archive)} bytes are no zip archive ({error}); get it again") from error


def _member(
    packed: zipfile.ZipFile, info: zipfile.ZipInfo | None, name: str, sha256: str, limit: int
) -> bytes:
    if info is None:
        raise DataError(f"the archive has no member {name}; get the original again")
    with packed.open(info) as member:
        # The size in the header is the sender's claim: what is read is what counts.
        content = member.read(limit + 1)
    if len(content) > limit:
        raise DataError(f"{name} in the archive has more than {limit} bytes")
    return verify(content, name=name, sha256=sha256)
