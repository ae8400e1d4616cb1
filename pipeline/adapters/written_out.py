"""Files that a schedule file names, queries and lists of dates, written out into what it says: part of its revision."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.adapters.reading import Reader
from pipeline.errors import DefinitionError
from pipeline.mistakes import did_you_mean


@dataclass(frozen=True)
class Beside:
    """The files beside a schedule file, at `path` in its `home`: those that it may name."""

    path: Path
    home: Path
    reader: Reader

    @property
    def place(self) -> str:
        return str(self.path.relative_to(self.home))

    def text(self, name: str, field: str) -> str:
        """The text of the file that `field` names. Raises DefinitionError with the nearest name, or where to put it."""
        folder = self.path.parent
        path = (folder / name).resolve()
        if not path.is_relative_to(self.home.resolve()):
            raise DefinitionError(f'"{name}" lies outside the home', place=self.place, field=field)
        try:
            return self.reader.text(path)
        except (OSError, UnicodeDecodeError):
            known = sorted(other.name for other in folder.glob(f"*{path.suffix}"))
            hint = did_you_mean(name, known, f"put it beside {self.place}")
            raise DefinitionError(f'"{name}" cannot be read: {hint}', place=self.place, field=field) from None


def written_out(definition: dict[str, Any], beside: Beside) -> dict[str, Any]:
    """The definition with the text of every .sql file and of every file of dates in it. Raises DefinitionError."""
    found: dict[str, Any] = _with_queries(definition, beside)
    when = found.get("when")
    return {**found, "when": when_written_out(when, beside)} if isinstance(when, dict) else found


def when_written_out(when: dict[str, Any], beside: Beside) -> dict[str, Any]:
    """What stands under `when`, with the dates of every file that it names as days. Raises DefinitionError."""
    found = dict(when)
    for name in {"only_on", "except_on"} & when.keys():
        kinds = when[name] if isinstance(when[name], list) else [when[name]]
        if any(_file(kind) for kind in kinds):
            found[name] = [_dates(kind, beside, f"when.{name}") for kind in kinds]
    return found


def _dates(kind: Any, beside: Beside, field: str) -> Any:
    file = _file(kind)
    return {"file": file, "dates": beside.text(file, field)} if file else kind


def _file(kind: Any) -> str | None:
    """The file that a kind of days is, written as `closed.txt` or `file: closed`; no other kind ends like a file."""
    if isinstance(kind, Mapping):
        return kind["file"] if isinstance(kind.get("file"), str) else None
    return kind.strip() if isinstance(kind, str) and re.search(r"\.[A-Za-z]\w*$", kind.strip()) else None


def _with_queries(value: Any, beside: Beside, field: str = "") -> Any:
    """`value` with every `sql:` or `query:` that names a .sql file replaced by the file's text."""
    if isinstance(value, list):
        return [_with_queries(item, beside, field) for item in value]
    if not isinstance(value, dict):
        return value
    found = {}
    for name, item in value.items():
        where = f"{field}.{name}".strip(".")
        if name in {"sql", "query"} and isinstance(item, str) and item.endswith(".sql") and " " not in item.strip():
            found[name] = beside.text(item.strip(), where)
        else:
            found[name] = _with_queries(item, beside, where)
    return found
