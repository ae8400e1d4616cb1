"""People as they are typed or listed in a CSV file: what is wrong with each, and the file they are exported to."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO
from zoneinfo import available_timezones

from pipeline import locales
from pipeline.adapters import messages
from pipeline.errors import PermanentError, Refused
from pipeline.mistakes import did_you_mean
from pipeline.report import WHOLE
from pipeline.schedule import Person

# What an import reads; an export has more, which an import leaves alone.
READ = ("email", "key", "name", "locale", "zone", "status")
ACTIVE, UNSUBSCRIBED = "active", "unsubscribed"
TOLD = ("source", "since", "ended_at", "ended_by")
# The line that a row ends in, its number as a run counts it, and its cells by the columns' names.
_Row = tuple[int, int, dict[str, str]]
# What an export of those that nothing is sent to has.
UNWANTED = ("email", "reason", "source", "since")


@dataclass(frozen=True)
class Listed:
    """What a file lists: people, each once, checked; the lines that are wrong, and those that say the same again.

    `unsubscribed`: those whom another system lists as people who want no more of it. `rows`: which rows the wrong lines
    are, as a run counts them that has the file's recipients: without empty lines, and one over several lines is one.
    """

    people: list[Person] = field(default_factory=list)
    unsubscribed: list[Person] = field(default_factory=list)
    bad: list[tuple[int, str]] = field(default_factory=list)
    rows: dict[int, int] = field(default_factory=dict)
    merged: list[tuple[int, str]] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)


def faults(person: Person, split_by: str | None) -> Iterator[tuple[str, str]]:
    """What cannot be meant: the field, and why."""
    try:
        messages.valid_address(person.email)
    except PermanentError as error:
        yield "email", str(error).removeprefix("address ")
    try:
        messages.checked("name", person.name or "")
    except PermanentError as error:
        yield "name", str(error).removeprefix("name ")
    if person.key is not None and not split_by:
        yield "key", "has no meaning, as the report is not split: say split_by, or leave the key out"
    if person.locale and (problem := locales.problem(person.locale)):
        yield "locale", f'"{person.locale}" {problem}'
    if person.zone and person.zone not in available_timezones():
        hint = did_you_mean(person.zone, available_timezones(), lead=": ")
        yield "zone", f'"{person.zone}" is not an IANA time zone{hint}'


def checked(person: Person, split_by: str | None) -> Person:
    """The person with the address as rows have it, and the key `all` for a report that is not split.

    Raises Refused, naming every field that cannot be meant.
    """
    found = [f"{name} {reason}" for name, reason in faults(person, split_by)]
    if split_by and not person.key:
        found.append(f"key is missing: whose document? There is one for each {split_by}")
    if found:
        raise Refused("; ".join(found))
    return person.model_copy(update={"email": messages.valid_address(person.email), "key": person.key or WHOLE})


@dataclass(frozen=True)
class Unwanted:
    """Addresses of a file that nothing is to be sent to, each once with why; and the lines that are wrong."""

    reasons: dict[str, str] = field(default_factory=dict)
    bad: list[tuple[int, str]] = field(default_factory=list)


def read(path: Path, split_by: str | None) -> Listed:
    """The people in a CSV file with a line of headings: email and, for a split report, key; name, locale, zone, status.

    Fields end with a comma, a semicolon, a tab or a bar. Raises Refused for a file that is none; a bad row is told by
    the number of its line.
    """
    found, seen = Listed(), dict[tuple[str, str], int]()
    for number, count, row in _rows(path, ("email", *(["key"] if split_by else [])), found.ignored):
        try:
            one, status = _person(row, split_by), _status(row)
        except Refused as error:
            found.bad.append((number, str(error)))
            found.rows[number] = count
            continue
        first = seen.setdefault((one.email, str(one.key)), number)
        if first != number:
            whose = f" for {one.key}" if split_by else ""
            found.merged.append((number, f"{one.email}{whose} is in line {first} already"))
        elif status == ACTIVE:
            found.people.append(one)
        else:
            found.unsubscribed.append(one)
    return found


def read_unwanted(path: Path, reason: str | None) -> Unwanted:
    """The addresses in a CSV file with the columns email and, unless there is one `reason` for all, reason.

    What other systems export beside them is left alone. Raises as `read`.
    """
    found = Unwanted()
    for number, _, row in _rows(path, ("email", *([] if reason else ["reason"])), []):
        try:
            address = messages.valid_address(row["email"], "email")
        except PermanentError as error:
            found.bad.append((number, str(error)))
            continue
        why = reason or row.get("reason")
        if why:
            found.reasons.setdefault(address, why)
        else:
            found.bad.append((number, "reason is missing: fill it in, or say --reason for all"))
    return found


def _rows(path: Path, needed: Sequence[str], ignored: list[str]) -> Iterator[_Row]:
    """The rows that are not empty, with the lines they end in; columns that nobody reads are `ignored`."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from _read(path, file, needed, ignored)
    except FileNotFoundError:
        raise Refused(f"there is no file {path}") from None
    except UnicodeDecodeError as error:
        raise Refused(f"{path}: byte {error.start} is not UTF-8: save the file as CSV in UTF-8") from None
    except csv.Error as error:
        raise Refused(f"{path}: is no CSV file: {error}") from None


def _read(path: Path, file: IO[str], needed: Sequence[str], ignored: list[str]) -> Iterator[_Row]:
    heading = file.readline()
    delimiter = max(",;\t|", key=heading.count)
    columns = [name.strip().lower() for name in next(csv.reader([heading], delimiter=delimiter), [])]
    missing = [name for name in needed if name not in columns]
    if missing:
        has = ", ".join(filter(None, columns)) or "nothing"
        raise Refused(f"{path}: line 1 has to name the columns, and has no {' and no '.join(missing)}: it has {has}")
    ignored += [name for name in columns if name and name not in (*READ, *TOLD)]
    reader = csv.reader(file, delimiter=delimiter)
    for count, cells in enumerate(filter(None, reader), 2):
        row = {name: _plain(cell) for name, cell in zip(columns, cells, strict=False)}
        if any(row.values()):
            yield reader.line_num + 1, count, {**dict.fromkeys(needed, ""), **row}


def _person(row: Mapping[str, str], split_by: str | None) -> Person:
    said = {name: row.get(name) or None for name in ("key", "name", "locale", "zone")}
    if not split_by and said["key"] == WHOLE:
        said["key"] = None  # as an export has it
    return checked(Person(email=row.get("email", ""), **said), split_by)


def _status(row: Mapping[str, str]) -> str:
    status = row.get("status") or ACTIVE
    if status not in {ACTIVE, UNSUBSCRIBED}:
        raise Refused(f'status "{status}" is neither {ACTIVE} nor {UNSUBSCRIBED}')
    return status


def _plain(cell: str) -> str:
    """The text of a cell, without the apostrophe that keeps a spreadsheet from running it."""
    from pipeline.adapters.documents.delimited import neutralised

    cell = cell.strip()
    return cell[1:] if cell.startswith("'") and neutralised(cell[1:]) != cell[1:] else cell


def write(out: IO[str], rows: Iterable[Sequence[object]], columns: Sequence[str] = (*READ, *TOLD)) -> None:
    """Write people as CSV that `read` or `read_unwanted` takes; a row has the values of `columns`, in this order."""
    from pipeline.adapters.documents.delimited import neutralised

    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(columns)
    writer.writerows([neutralised("" if value is None else str(value)) for value in row] for row in rows)
