"""Writes the table of keys into ``configuration.md``: ``python docs/configuration_table.py``.

Types, defaults and ranges come from the JSON Schema of the configuration, so that the table says
what is checked. A test compares the page with what this script would write.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fedlearn.config import ExperimentConfig, keys

PAGE = Path(__file__).with_name("configuration.md")
BEGIN = "<!-- keys: written by configuration_table.py -->"
END = "<!-- end of keys -->"

_BOUNDS = {"minimum": "≥ {}", "exclusiveMinimum": "> {}", "maximum": "≤ {}", "exclusiveMaximum": "< {}"}
_OTHER_LIMITS = {"minItems": "at least {} entry", "pattern": "letters, digits, `.`, `_`, `-`; at most 64"}


def updated(page: str) -> str:
    """Returns the page with the table between its two marks written anew."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{table()}\n\n{END}{after}"


def table() -> str:
    """Returns the table of all keys in Markdown, in the order of the file."""
    head = ["| key | type | default | range | meaning |", "|---|---|---|---|---|"]
    schema = ExperimentConfig.model_json_schema()
    return "\n".join(head + [_row(key, _schema_of(key, schema)) for key, _ in keys()])


def _schema_of(key: str, schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the part of the schema that describes a dotted key."""
    part = schema
    for name in key.split("."):
        if "$ref" in part:
            part = schema["$defs"][part["$ref"].rpartition("/")[2]]
        part = part["properties"][name]
    return part


def _row(key: str, part: Mapping[str, Any]) -> str:
    cells = (f"`{key}`", _type(part), _default(part), _range(part), part.get("description", ""))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _type(part: Mapping[str, Any]) -> str:
    return " or ".join(dict.fromkeys(_type_name(option) for option in _options(part)))


def _type_name(option: Mapping[str, Any]) -> str:
    if "enum" in option or "const" in option:
        words = option.get("enum", [option.get("const")])
        return ", ".join(f"`{json.dumps(word)}`" for word in words)
    if option.get("type") == "array":
        return f"array of {_type_name(option['items'])}s"
    kind = str(option.get("type", "object"))  # a reference is to a table
    return {"number": "float", "object": "table"}.get(kind, kind)


def _default(part: Mapping[str, Any]) -> str:
    value = part.get("default", {})
    return "none" if value is None else f"`{json.dumps(value)}`"


def _range(part: Mapping[str, Any]) -> str:
    return ", ".join(dict.fromkeys(limit for option in _options(part) for limit in _limits(option)))


def _limits(option: Mapping[str, Any]) -> Iterator[str]:
    for name, text in (_BOUNDS | _OTHER_LIMITS).items():
        if name in option:
            yield text.format(_number(option[name]))


def _number(value: Any) -> str:
    """Returns a bound as text; the largest are powers of two."""
    if isinstance(value, int) and value > 2**31 and value.bit_count() == 1:
        return f"2^{value.bit_length() - 1}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _options(part: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yields the alternatives of a key but for null, which the default shows."""
    for option in part.get("anyOf", [part]):
        if option.get("type") != "null":
            yield option


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
