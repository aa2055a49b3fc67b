"""``fedlearn scenarios``: answers the questions of a folder and writes its page."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from fedlearn.errors import ConfigError

if TYPE_CHECKING:
    from fedlearn.simulation.scenarios.question import Question


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of ``fedlearn scenarios``."""
    parser.add_argument("name", nargs="*", help="which questions (default: all that are not long)")
    parser.add_argument(
        "--folder", type=Path, default=Path("simulations"), help="NAME.toml and grids/NAME.toml"
    )
    parser.add_argument("--long", action="store_true", help="without names: the long ones")
    parser.add_argument("--data", type=Path, metavar="DIR", help="a folder per data set, with its files")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="runs at a time (default 1)")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/scenarios"), help="keeps the runs (default runs/scenarios)"
    )
    parser.add_argument("--page", action="store_true", help="only write plots and page from the kept answers")


def run(arguments: argparse.Namespace) -> int:
    """Answers the chosen questions, keeps each answer as it is found, and writes plots and page."""
    from fedlearn.simulation.scenarios.question import questions
    from fedlearn.simulation.scenarios.run import answer

    folder: Path = arguments.folder
    known = {question.name: question for question in questions(folder)}
    for question in [] if arguments.page else _chosen(known, arguments.name, long=arguments.long):
        found = answer(
            question,
            out=arguments.out,
            data=None if arguments.data is None else arguments.data.resolve(),
            jobs=arguments.jobs,
            observe=lambda line: print(line, file=sys.stderr, flush=True),
        )
        found.save(folder, question.name)
        print(f"{question.name}: {found.cpu_seconds:.0f} CPU seconds")
        _write_page(folder, known)
    _write_page(folder, known)
    return 0


def _chosen(known: dict[str, Question], names: list[str], *, long: bool) -> list[Question]:
    for name in names:
        if name not in known:
            raise ConfigError(f"scenario {name!r} is not known; known: {', '.join(known) or 'none'}")
    return [
        question
        for name, question in known.items()
        if (name in names if names else question.grid.long == long)
    ]


def _write_page(folder: Path, known: dict[str, Question]) -> None:
    from fedlearn.rounds.checkpoint import write_atomically
    from fedlearn.simulation.scenarios.answer import Answer
    from fedlearn.simulation.scenarios.page import updated
    from fedlearn.simulation.scenarios.plot import draw

    answers = {name: (question, Answer.load(folder, name)) for name, question in known.items()}
    for name, (_, answer) in answers.items():
        if answer is not None:
            draw(answer, folder=folder, name=name)
    page = folder / "README.md"
    try:
        text = page.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"{page} cannot be read: {error.strerror}; the answers are written into it"
        ) from None
    write_atomically(page, updated(text, answers).encode())
