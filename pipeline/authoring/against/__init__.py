"""What a change of the home does: to slots, recipients, documents and policies, schedule by schedule."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from pipeline.authoring.against.fields import Area, FieldChange, changed_fields
from pipeline.authoring.against.files import FileChange, changed_files
from pipeline.authoring.against.people import PeopleChange, changed_people
from pipeline.authoring.against.sides import Side, deployed, here, revision
from pipeline.authoring.against.slots import SlotChange, changed_slots
from pipeline.schedule import Schedule

__all__ = [
    "Change",
    "Comparison",
    "FieldChange",
    "FileChange",
    "PeopleChange",
    "SlotChange",
    "compare",
    "deployed",
    "revision",
]


@dataclass(frozen=True)
class Change:
    """One schedule that is not as it was. `fields` are by what they are about; `files` are templates, code and rows."""

    name: str
    kind: Literal["added", "removed", "changed", "broken"]
    # Why it is `broken`: its file cannot be used; what is deployed goes on.
    problem: str | None = None
    slots: SlotChange | None = None
    people: PeopleChange | None = None
    files: list[FileChange] = field(default_factory=list)
    fields: dict[Area, list[FieldChange]] = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison:
    """`against` is what the home was compared with; `unchanged` how many schedules stay as they are.

    `files` are those of workflows/ that differ. `notes` say what could not be compared.
    """

    against: str
    changes: list[Change]
    unchanged: int
    files: list[FileChange]
    notes: list[str]


def compare(before: Side, at: datetime, count: int) -> Comparison:
    """The active home compared with `before`; slots are the next `count` after `at`."""
    after = here()
    names = sorted({*before.schedules, *after.schedules, *after.broken})
    changes = [found for name in names if (found := _change(name, before, after, at, count))]
    return Comparison(
        against=before.name,
        changes=changes,
        unchanged=len(names) - len(changes),
        files=changed_files(before, after, ["workflows"]),
        notes=list(_notes(before)),
    )


def _change(name: str, before: Side, after: Side, at: datetime, count: int) -> Change | None:
    if name in after.broken:
        return Change(name, "broken", after.broken[name])
    old, new = before.schedules.get(name), after.schedules.get(name)
    slots = changed_slots(old.when if old else None, new.when if new else None, at, count)
    people = changed_people(old, new, before, after, at)
    if new is None:
        return Change(name, "removed", slots=slots, people=people)
    if old is None:
        return Change(name, "added", slots=slots, people=people)
    fields = changed_fields(old, new)
    files = _files(name, new, before, after)
    if not (fields or files or slots or people):
        return None
    return Change(name, "changed", slots=slots, people=people, files=files, fields=fields)


def _files(name: str, new: Schedule, before: Side, after: Side) -> list[FileChange]:
    if new.kind != "report":
        return []
    look = getattr(new.report, "template", None) or getattr(new.report, "name", None) or name
    code = getattr(new.report, "name", None) or name
    places = [f"templates/{look}", "templates/_base", f"reports/{code}.py", *_kept_rows(new, before)]
    return changed_files(before, after, places)


def _kept_rows(definition: Schedule, before: Side) -> Iterator[str]:
    """Files of the home that a report reads and Git keeps."""
    for source in getattr(definition.report, "sources", {}).values():
        if before.folder and source.url and (before.folder / source.url).is_file():
            yield source.url


def _notes(before: Side) -> Iterator[str]:
    if before.note:
        yield before.note
    for name, problem in before.broken.items():
        yield f"{name} could not be read there, and counts as new: {problem}"
    if before.folder is None:
        yield "templates and code are not kept with a deployment: only what schedule files say is compared"
