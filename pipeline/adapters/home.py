"""Reads the active home: its schedule files with the files that they name, its reports' code."""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from pipeline import __version__, readiness, report, schedule
from pipeline.adapters.reading import Reader, Stamp, stamp
from pipeline.adapters.written_out import Beside, written_out
from pipeline.errors import DefinitionError
from pipeline.mistakes import did_you_mean

SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True)
class ScheduleFile:
    """One schedule file: what it says with the files that it names written out, and the hash of just that."""

    key: str
    place: str
    definition: dict[str, Any]
    schedule: schedule.Schedule
    revision: str


@dataclass
class Loaded:
    """What a home holds: its good files, and a sentence for every bad one, by file."""

    files: dict[str, ScheduleFile] = field(default_factory=dict)
    errors: dict[str, DefinitionError] = field(default_factory=dict)
    # Every file that was read, queries and lists too, as it was just before.
    stamps: Mapping[str, Stamp] = field(default_factory=dict)

    @property
    def errors_by_key(self) -> dict[str, DefinitionError]:
        """The bad files by the key that their schedule would have: `weekly` of schedules/weekly.yaml."""
        return {Path(place).stem: error for place, error in self.errors.items()}


def stamps(home: Path, used: Iterable[str] = ()) -> dict[str, Stamp]:
    """The stamps, as they are now, of the home's schedule files and of the other files that are `used`."""
    return {path: stamp(path) for path in {*_names(home), *used}}


def load(home: Path, reader: Reader | None = None, before: Loaded | None = None) -> Loaded:
    """Every schedule file of `home`; a bad one never hides the others. Raises OSError for a folder that is not ours.

    Whoever loads again and again hands in the same `reader`, and what it loaded `before`.
    """
    reader = reader or Reader()
    reader.begin()
    loaded = Loaded(stamps=reader.stamps)
    raw: dict[Path, dict[str, Any]] = {}
    paths = [Path(name) for name in _names(home)]
    there = frozenset(paths)
    for path in paths:
        with _refusing(loaded, _place(path, home)):
            _check_name(path, home, there)
            raw[path] = reader.yaml(path, _place(path, home))
    reports = _Reports({path.stem: found.get("report") for path, found in raw.items()}, loaded.errors_by_key)
    # What is wrong is there all the same: nobody who waits for it is to blame.
    orders: dict[str, list[str]] = {key: [] for key in loaded.errors_by_key}
    orders |= {path.stem: readiness.named(definition) for path, definition in raw.items()}
    for path, definition in raw.items():
        beside = Beside(path, home, reader)
        with _refusing(loaded, beside.place):
            file = _complete(definition, beside, reports, before.files.get(path.stem) if before else None)
            _check_order(file, orders)
            loaded.files[file.key] = file
    return loaded


@contextmanager
def _refusing(loaded: Loaded, place: str) -> Iterator[None]:
    """What is wrong with one file is told, and harms no other; so it is where the mistake is ours."""
    try:
        yield
    except DefinitionError as error:
        loaded.errors[place] = error
    except Exception as error:  # noqa: BLE001 - whatever it is, the other files have to be loaded
        loaded.errors[place] = DefinitionError(f"cannot be used: {type(error).__name__}: {error}", place=place)


def _check_order(file: ScheduleFile, orders: Mapping[str, list[str]]) -> None:
    try:
        readiness.check_order(file.key, orders)
    except ValueError as error:
        raise DefinitionError(str(error), place=file.place, field="after") from None


def _names(home: Path) -> list[str]:
    """The paths of the schedule files, in order; hidden ones are an editor's."""
    try:
        with os.scandir(home / "schedules") as entries:
            names = [entry.name for entry in entries if entry.name.endswith(SUFFIXES) and entry.name[0] != "."]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [str(home / "schedules" / name) for name in sorted(names)]


def _place(path: Path, home: Path) -> str:
    return str(path.relative_to(home))


def _check_name(path: Path, home: Path, there: AbstractSet[Path]) -> None:
    import re

    if not re.fullmatch(report.NAME, path.stem):
        wanted = re.sub(r"[^a-z0-9]+", "_", path.stem.lower()).strip("_")
        wanted = wanted if re.match(r"[a-z]", wanted) else f"schedule_{wanted}".strip("_")
        raise DefinitionError(
            "the file's name is the schedule's key: lower-case letters, digits and _, a letter first; "
            f"rename it to {wanted}.yaml",
            place=_place(path, home),
        )
    for suffix in SUFFIXES:
        other = path.with_suffix(suffix)
        if other != path and other in there:
            raise DefinitionError(
                f"{_place(other, home)} is called the same, and neither is loaded: rename or remove one of them",
                place=_place(path, home),
            )


@dataclass(frozen=True)
class _Reports:
    """What each file says under `report`, by key, and which files could not be read."""

    said: Mapping[str, Any]
    errors: Mapping[str, DefinitionError]

    def named(self, name: str, place: str) -> dict[str, Any]:
        """The report that another file holds. Raises DefinitionError."""
        holders = sorted(key for key, said in self.said.items() if isinstance(said, dict))
        if name in holders:
            return {"name": name, **self.said[name]}
        if name in self.errors:
            reason = f"cannot be read: {self.errors[name].place} is wrong"
        else:
            reason = "is not a report: " + did_you_mean(name, holders, f"known reports: {', '.join(holders) or 'none'}")
        raise DefinitionError(f'"{name}" {reason}', place=place, field="report")


def _complete(
    definition: dict[str, Any], beside: Beside, reports: _Reports, before: ScheduleFile | None
) -> ScheduleFile:
    """The file with all it names written out; `before` itself where that has not changed."""
    key, place = beside.path.stem, beside.place
    if isinstance(definition.get("report"), str):
        definition = {**definition, "report": reports.named(definition["report"], place)}
    elif isinstance(definition.get("report"), dict):
        definition = {**definition, "report": {"name": key, **definition["report"]}}
    try:
        definition = written_out(definition, beside)
    except RecursionError:
        raise DefinitionError("holds itself: an alias stands inside of its own anchor", place=place) from None
    revision = schedule.revision(definition)
    if before is not None and (before.place, before.revision) == (place, revision):
        return before
    return ScheduleFile(key, place, definition, schedule.parse(definition, place), revision)


def build_for(home: Path, name: str) -> Callable[..., Mapping[str, Any]] | None:
    """The report's own `build(rows, period)` from reports/<name>.py, or None where there is no such file.

    Raises DefinitionError when the file cannot be imported or has no build().
    """
    path = home / "reports" / f"{name}.py"
    return _build(path, path.stat().st_mtime_ns) if path.is_file() else None


@cache
def _build(path: Path, _changed: int) -> Callable[..., Mapping[str, Any]]:
    place = f"reports/{path.name}"
    specification = importlib.util.spec_from_file_location(f"reports.{path.stem}", path)
    if specification is None or specification.loader is None:
        raise DefinitionError("cannot be imported", place=place)
    module = importlib.util.module_from_spec(specification)
    try:
        specification.loader.exec_module(module)
    except Exception as error:
        raise DefinitionError(f"cannot be imported: {type(error).__name__}: {error}", place=place) from error
    build: Callable[..., Mapping[str, Any]] | None = getattr(module, "build", None)
    if not callable(build):
        raise DefinitionError("has no function build(rows, period)", place=place)
    return build


def code_version(home: Path) -> str:
    """The pipeline's version and a hash of the home's own code: what a run is recorded to have used."""
    digest = hashlib.sha256()
    for folder in ("reports", "workflows"):
        for path in sorted((home / folder).glob("*.py")):
            digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return f"{__version__}+{digest.hexdigest()[:12]}"
