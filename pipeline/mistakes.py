"""Turns what pydantic finds wrong in a file into sentences: the place, the field as it was written, the way out."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ValidationError

# Which fields a model may have is told from the name under which it stands in the file.
Owners = Mapping[str, type[BaseModel]]
# What pydantic calls the kind of a value that can be of several; nobody wrote it.
_TYPES = {"Report", "Folder", "Webhook", "str", "function-after"}


def sentences(error: ValidationError, place: str, root: type[BaseModel], owners: Owners) -> Iterator[str]:
    """One line for each mistake, such as `schedules/weekly.yaml: when.cron "0 25 * * *": hour 25 is outside 0-23`.

    A reason that begins with a dot, `.cron …`, goes on with the name of the field.
    """
    for problem in error.errors():
        field = ".".join(str(part) for part in problem["loc"] if part not in _TYPES)
        reason = _reason(problem, root, owners)
        said = f"{field} {reason.removeprefix(field.rpartition('.')[2] + ' ')}" if field else reason
        yield f"{place}: {field + reason if reason.startswith('.') else said}"


def _reason(problem: Any, root: type[BaseModel], owners: Owners) -> str:
    reason: str = problem["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    match problem["type"]:
        case "extra_forbidden":
            return no_field(str(problem["loc"][-1]), _fields(problem["loc"][:-1], root, owners))
        case "missing":
            return "is missing"
        case "value_error":
            return reason
        case "model_type" | "dict_type":
            reason = "must be a mapping of fields"
        case "invalid_key":
            return "must be a word"
    shown = problem.get("input")
    if shown is None:
        return reason
    return f"{json.dumps(shown, default=str)[:80]}: {reason[0].lower()}{reason[1:]}"


def _fields(loc: tuple[int | str, ...], root: type[BaseModel], owners: Owners) -> list[str]:
    owner = root
    for part in loc:
        owner = owners.get(str(part), owner)
    return [field.alias or name for name, field in owner.model_fields.items()]


def no_field(name: str, known: Collection[str]) -> str:
    """What is said of a field that does not exist: the nearest one that does, or all of them."""
    allowed = f" (allowed: {', '.join(sorted(known))})"
    return f"is not a field here{did_you_mean(name, known, allowed, lead=': ')}"


def did_you_mean(name: str, known: Iterable[str], otherwise: str = "", *, lead: str = "") -> str:
    """`did you mean X?`, X being the one of `known` nearest to `name`, with `lead` before it; else `otherwise`."""
    near = nearest(name, known)
    return otherwise if near is None else f"{lead}did you mean {near}?"


def listed(known: Collection[str], most: int = 12) -> str:
    """The first of them, separated by commas, and how many more there are."""
    more = f" and {len(known) - most:,} more" if len(known) > most else ""
    return f"{', '.join(list(known)[:most])}{more}"


def nearest(name: str, known: Iterable[str], alike: float = 0.6) -> str | None:
    """The one of `known` that is most like `name` in any case of letters; None if none is `alike` (0 to 1)."""
    folded = {one.casefold(): one for one in known}
    found = get_close_matches(name.casefold(), folded, n=1, cutoff=alike)
    return folded[found[0]] if found else None
