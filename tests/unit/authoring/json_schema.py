"""Just enough of JSON Schema to hold schedule files against ours: every keyword that it uses, and no other."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

TYPES: dict[str, Any] = {
    "string": str, "integer": int, "number": (int, float), "boolean": bool, "null": type(None),
    "array": list, "object": dict,
}  # fmt: skip
NOTES = {"$schema", "$defs", "title", "description", "default"}


def faults(value: Any, schema: Any, root: dict[str, Any], path: str = "") -> Iterator[str]:  # noqa: C901, PLR0912 - a branch a keyword
    """A sentence for everything in `value` that the schema does not allow."""
    if schema is True:
        return
    for keyword, said in schema.items():
        if keyword in PLAIN:
            if not PLAIN[keyword](value, said):
                yield f"{path}: {value!r} fails {keyword} {said}"
        elif keyword == "$ref":
            yield from faults(value, root["$defs"][said.rpartition("/")[2]], root, path)
        elif keyword == "anyOf":
            if all(any(faults(value, one, root, path)) for one in said):
                yield f"{path}: {value!r} fits none of {len(said)} forms"
        elif keyword == "items":
            for number, item in enumerate(value if isinstance(value, list) else ()):
                yield from faults(item, said, root, f"{path}.{number}")
        elif keyword == "properties":
            for name in said.keys() & (value.keys() if isinstance(value, dict) else set()):
                yield from faults(value[name], said[name], root, f"{path}.{name}")
        elif keyword == "additionalProperties":
            yield from _of_others(value, schema, root, path)
        else:
            assert keyword in NOTES, f"teach this module {keyword}"


def _of_others(value: Any, schema: dict[str, Any], root: dict[str, Any], path: str) -> Iterator[str]:
    others = value.keys() - schema.get("properties", {}).keys() if isinstance(value, dict) else ()
    for name in others:
        if schema["additionalProperties"] is False:
            yield f"{path}: {name} is not known"
        else:
            yield from faults(value[name], schema["additionalProperties"], root, f"{path}.{name}")


def _is(value: Any, kinds: str | list[str]) -> bool:
    wanted = [kinds] if isinstance(kinds, str) else kinds
    return any(isinstance(value, TYPES[one]) and (one == "boolean" or not isinstance(value, bool)) for one in wanted)


PLAIN: dict[str, Callable[[Any, Any], bool]] = {
    "type": _is,
    "enum": lambda value, said: value in said,
    "pattern": lambda value, said: not isinstance(value, str) or bool(re.search(said, value)),
    "minLength": lambda value, said: not isinstance(value, str) or len(value) >= said,
    "minItems": lambda value, said: not isinstance(value, list) or len(value) >= said,
    "maxItems": lambda value, said: not isinstance(value, list) or len(value) <= said,
    "minimum": lambda value, said: not _is(value, "number") or value >= said,
    "exclusiveMinimum": lambda value, said: not _is(value, "number") or value > said,
    "maximum": lambda value, said: not _is(value, "number") or value <= said,
    "required": lambda value, said: not isinstance(value, dict) or set(said) <= value.keys(),
}
