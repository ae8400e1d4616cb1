"""Pools: how many steps may be at work at once on something that bears no more, as a setting names them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_POOL = re.compile(r"([A-Za-z][A-Za-z0-9_]*)\s*=\s*(\d{1,4})")


def parse(text: str) -> dict[str, int]:
    """The places of each pool in `warehouse=2, render=8`. Raises ValueError naming the part that is none."""
    found: dict[str, int] = {}
    for part in filter(None, (one.strip() for one in text.split(","))):
        read = _POOL.fullmatch(part)
        if read is None or not int(read[2]):
            raise ValueError(f'"{part}" is not a pool: write its name and its places, 1 or more, like warehouse=2')
        name = read[1].lower()
        if name in found:
            raise ValueError(f'pool "{name}" is there twice: give its places once')
        found[name] = int(read[2])
    return found


def of_kind(definition: Mapping[str, Any], kind: str, default: str | None = None) -> str | None:
    """The pool of one kind of step by what its schedule, read from JSON, says; `default` where it says nothing."""
    found = (definition.get("pools") or {}).get(kind) or default
    return found.lower() if found else None
