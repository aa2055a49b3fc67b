"""How findings of a preflight check are shown: one line each, ok or how to mend it."""

from __future__ import annotations

import json
from collections.abc import Sequence

from fedlearn.federation.preflight import Finding


def show(findings: Sequence[Finding], *, as_json: bool) -> None:
    """Prints the findings."""
    if as_json:
        print(json.dumps([finding.to_dict() for finding in findings], indent=2))
        return
    for finding in findings:
        mark = "ok  " if finding.ok else "MEND"
        print(f"{mark} {finding.what:<14} {finding.detail}")
