"""The table of where the time went, for a terminal."""

from __future__ import annotations

from fedlearn.runs.profile import ProcessTime, Profile


def profile_lines(profile: Profile) -> list[str]:
    r"""Returns the profile of a run line by line: seconds of each phase in each process.

    >>> profile = Profile.of(2.0, {"main": [0, 1.25, 0, 0, 0, 0, 0, 0, 0.75]})
    >>> print("\n".join(profile_lines(profile)))
    where the time went     training     other    in all
    main                       1.25s     0.75s     2.00s
    """
    phases = profile.phases

    def line(process: ProcessTime) -> str:
        cells = "".join(f"{process.seconds[phase]:>{max(9, len(phase) + 1)}.2f}s" for phase in phases)
        return f"{process.process:<20}  {cells}{process.total:>9.2f}s"

    heads = "".join(f"{phase:>{max(10, len(phase) + 2)}}" for phase in phases)
    rows = [line(process) for process in profile.processes]
    if len(rows) > 1:
        rows.append(line(profile.total))
    return [f"{'where the time went':<20}  {heads}{'in all':>10}", *rows]
