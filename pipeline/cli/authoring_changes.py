"""`pipeline check --against REF`: what a change of the home does, told schedule by schedule."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

from rich.table import Table
from rich.text import Text

from pipeline.authoring.against import (
    Change,
    Comparison,
    FieldChange,
    FileChange,
    PeopleChange,
    SlotChange,
    compare,
    deployed,
)
from pipeline.authoring.against.sides import DEPLOYED, revision
from pipeline.cli import tables
from pipeline.services.answers import wording

# Slots, people and lines of a text that are named; JSON has all of them.
NAMED = 5
FILES = {"added": "is new", "removed": "is gone", "changed": "is not the same"}
STYLES = {"added": "green", "removed": "red", "changed": "yellow", "broken": "red"}


def compared(against: str, names: Sequence[str], slots: int) -> Comparison:
    """The active home compared with a revision, or what is deployed; only the schedules of these names if there are."""
    with nullcontext(deployed()) if against == DEPLOYED else revision(against) as before:
        found = compare(before, datetime.now(UTC), slots)
    if not names:
        return found
    changes = [one for one in found.changes if one.name in names]
    return replace(found, changes=changes, unchanged=len(names) - len(changes))


def as_json(found: Comparison) -> dict[str, Any]:
    return asdict(found)


def show(found: Comparison) -> None:
    """Print each changed schedule with what is different, then the sum."""
    out = tables.console()
    for change in found.changes:
        out.print(tables.words(f"{change.name}: ", "bold").append_text(tables.words(change.kind, STYLES[change.kind])))
        grid = Table.grid(padding=(0, 2, 0, 0))
        for area, line in _lines(change):
            grid.add_row(tables.words(f"  {area}", "dim"), line)
        out.print(grid)
        out.print()
    for file in found.files:
        out.print(tables.words(f"{_file(file)}: its workflows may do something else", "yellow"))
    for note in found.notes:
        out.print(tables.words(note, "dim"))
    out.print(tables.words(_sum(found)))


def _sum(found: Comparison) -> str:
    kinds = [(kind, sum(one.kind == kind for one in found.changes)) for kind in STYLES]
    changed = ", ".join(f"{number} {kind}" for kind, number in kinds if number) or "nothing changes"
    stay = "stays as it is" if found.unchanged == 1 else "stay as they are"
    return f"Against {found.against}: {changed}; {wording.counted(found.unchanged, 'schedule')} {stay}."


def _lines(change: Change) -> Iterator[tuple[str, Text]]:
    """Each line with the word that it stands under, said once."""
    told = ""
    for area, line in _all_lines(change):
        yield (area if area != told else ""), line
        told = area


def _all_lines(change: Change) -> Iterator[tuple[str, Text]]:
    if change.problem:
        yield "file", tables.words(change.problem, "red")
    if change.slots:
        yield from (("slots", line) for line in _slots(change.slots))
    yield from (("slots", line) for one in change.fields.get("slots", []) for line in _field(one))
    if change.people:
        yield from (("recipients", line) for line in _people(change.people))
    yield from (("recipients", line) for one in change.fields.get("recipients", []) for line in _field(one))
    yield from (("documents", line) for one in change.fields.get("documents", []) for line in _field(one))
    yield from (("documents", tables.words(_file(file))) for file in change.files)
    yield from (("policies", line) for one in change.fields.get("policies", []) for line in _field(one))


def _file(found: FileChange) -> str:
    return f"{found.file} {FILES[found.kind]}"


def _slots(found: SlotChange) -> Iterator[Text]:
    moved = [
        f"{_local(old)} to {_local(new)[11:] if old[:10] == new[:10] else _local(new)}" for old, new in found.moved
    ]
    for word, style, times in (
        ("moved", "yellow", moved),
        ("new", "green", [_local(one) for one in found.added]),
        ("gone", "red", [_local(one) for one in found.removed]),
    ):
        if times:
            yield tables.words(f"{word:<6}", style).append_text(tables.words(_some(times)))


def _local(text: str) -> str:
    return f"{datetime.fromisoformat(text):%a %d %b %H:%M}"


def _people(found: PeopleChange) -> Iterator[Text]:
    if found.problem:
        yield tables.words(f"cannot be counted: {found.problem}", "yellow")
        return
    yield tables.words(f"{found.before:,} before, {found.after:,} now")
    for word, style, people in (("new", "green", found.added), ("gone", "red", found.removed)):
        if people:
            yield tables.words(f"{word:<6}", style).append_text(tables.words(_some(people)))


def _some(words: Sequence[str]) -> str:
    more = len(words) - NAMED
    return ", ".join(words[:NAMED]) + (f" and {more:,} more" if more > 0 else "")


def _field(found: FieldChange) -> Iterator[Text]:
    before, after = (_value(one) for one in (found.before, found.after))
    if "\n" not in before + after:
        yield tables.words(f"{found.field}: ").append_text(
            tables.words(f"{before or 'not said'} -> {after or 'not said'}")
        )
        return
    yield tables.words(f"{found.field}:")
    differences = [
        line
        for line in difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
        if not line.startswith(("---", "+++", "@@"))
    ]
    for line in differences[: 4 * NAMED]:
        yield tables.words(f"  {line}", "green" if line.startswith("+") else "red")
    if len(differences) > 4 * NAMED:
        yield tables.words(f"  and {len(differences) - 4 * NAMED} lines more", "dim")


def _value(value: Any) -> str:
    if value is None:
        return ""
    return value.strip() if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
