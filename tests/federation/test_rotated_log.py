"""A program's output, in files of limited size."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from fedlearn.federation.rotated_log import LONGEST_LINE, RotatedLog


def written(path: Path, program: str, **limits: int) -> list[Path]:
    log = RotatedLog(path, **limits)
    subprocess.run([sys.executable, "-c", program], stdout=log.output, check=True)
    log.output.close()
    log.join()
    return sorted(path.parent.iterdir())


def test_what_a_program_writes_is_kept_as_it_is(tmp_path: Path) -> None:
    program = "import sys; sys.stdout.buffer.write(b'one\\n%s {} \\xff\\nno newline')"
    path = tmp_path / "log"
    path.write_text("before\n")
    assert written(path, program) == [path]
    assert path.read_text() == "before\none\n%s {} \N{REPLACEMENT CHARACTER}\nno newline\n"


def test_the_oldest_lines_are_dropped_and_the_newest_kept(tmp_path: Path) -> None:
    files = written(tmp_path / "log", "for n in range(10_000): print(n)", max_bytes=4096, kept=2)
    assert [file.name for file in files] == ["log", "log.1", "log.2"]
    assert all(file.stat().st_size <= 4096 for file in files)
    lines = "".join(file.read_text() for file in reversed(files)).split()
    assert lines == [str(n) for n in range(10_000 - len(lines), 10_000)]


def test_a_line_without_end_is_parted(tmp_path: Path) -> None:
    written(tmp_path / "log", f"print('x' * {3 * LONGEST_LINE})")
    assert (tmp_path / "log").read_text().count("x") == 3 * LONGEST_LINE
