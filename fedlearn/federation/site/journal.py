"""The site's log: one JSON object per line, of events and fields that are known beforehand.

No record, vector, key or free text of an error about records is ever logged: :func:`told` takes
only the fields in :data:`FIELDS`.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any

FIELDS = frozenset(
    {
        "site", "run", "round", "attempt", "rule", "asked", "allowed", "error", "request", "reply", "seconds",
        "roster", "version", "uid", "size", "wait", "code", "reason", "epsilon", "releases", "path", "pid",
        "port", "sites", "needed", "present", "missing",
    }
)  # fmt: skip
"""What a line may say; every one is public or the site operator's own."""

_log = logging.getLogger("fedlearn.site")


class JsonLines(logging.Formatter):
    """Formats a record as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """Returns the line."""
        told: dict[str, Any] = getattr(record, "told", {})
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created)),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **told,
        }
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = record.exc_info[0].__name__
        return json.dumps(line, ensure_ascii=False)


def told(event: str, *, level: int = logging.INFO, **fields: Any) -> None:
    """Logs one event; raises ValueError for a field that no line may have."""
    strange = fields.keys() - FIELDS
    if strange:
        raise ValueError(f"fields {sorted(strange)} are not among those that a log line may have")
    _log.log(level, event, extra={"told": {key: value for key, value in fields.items() if value is not None}})


def start(level: int = logging.INFO) -> None:
    """Sends the site's log to standard error, where journald and Docker pick it up."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    _log.handlers[:] = [handler]
    _log.setLevel(level)
    _log.propagate = False
