"""What atheris drives: one decoder, with the branches of fedlearn's modules counted."""

from __future__ import annotations

import contextlib
import sys


def main() -> None:
    """Runs until its time is over or something is found; never returns."""
    import atheris

    with atheris.instrument_imports(include=["fedlearn"]):
        from tests.fuzz.decoders import DECODERS

    decoder = DECODERS[sys.argv.pop(1)]

    def one_input(body: bytes) -> None:
        with contextlib.suppress(*decoder.raises):
            decoder.decode(body)

    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
