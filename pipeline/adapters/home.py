"""Reads the active home: its schedule files with their queries, its reports' code."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from pipeline import __version__, readiness, report, schedule
from pipeline.errors import DefinitionError
from pipeline.mistakes import did_you_mean

SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True)
class ScheduleFile:
    """One schedule file: what it says with its queries written out, and the hash of just that."""

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

    @property
    def errors_by_key(self) -> dict[str, DefinitionError]:
        """The bad files by the key that their schedule would have: `weekly` of schedules/weekly.yaml."""
        return {Path(place).stem: error for place, error in self.errors.items()}


class _Loader(yaml.SafeLoader):
    """YAML as people mean it: a key given twice is a mistake, and a date stays the text that was written."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML reads the class attribute
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise yaml.MarkedYAMLError(None, None, "a name must be a word", key_node.start_mark)
            if key in seen:
                raise yaml.MarkedYAMLError(None, None, f'"{key}" is given twice', key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def load(home: Path) -> Loaded:
    """Every schedule file of `home`; a bad one never hides the others."""
    loaded = Loaded()
    raw: dict[str, tuple[Path, dict[str, Any]]] = {}
    for path in _paths(home / "schedules"):
        try:
            _check_name(path, home, raw)
            raw[path.stem] = (path, read(path, home))
        except DefinitionError as error:
            loaded.errors[_place(path, home)] = error
    # What is wrong is there all the same: nobody who waits for it is to blame.
    orders: dict[str, list[str]] = {key: [] for key in loaded.errors_by_key}
    orders |= {key: readiness.named(definition) for key, (_, definition) in raw.items()}
    for key, (path, definition) in raw.items():
        try:
            loaded.files[key] = _complete(key, path, home, definition, raw)
            _check_order(loaded.files[key], orders)
        except DefinitionError as error:
            loaded.files.pop(key, None)
            loaded.errors[_place(path, home)] = error
    return loaded


def _check_order(file: ScheduleFile, orders: Mapping[str, list[str]]) -> None:
    try:
        readiness.check_order(file.key, orders)
    except ValueError as error:
        raise DefinitionError(str(error), place=file.place, field="after") from None


def _paths(folder: Path) -> Iterator[Path]:
    return iter(sorted(path for path in folder.glob("*") if path.suffix in SUFFIXES)) if folder.is_dir() else iter(())


def _place(path: Path, home: Path) -> str:
    return str(path.relative_to(home))


def _check_name(path: Path, home: Path, taken: Mapping[str, tuple[Path, Any]]) -> None:
    import re

    if not re.fullmatch(report.NAME, path.stem):
        wanted = re.sub(r"[^a-z0-9]+", "_", path.stem.lower()).strip("_")
        wanted = wanted if re.match(r"[a-z]", wanted) else f"schedule_{wanted}".strip("_")
        raise DefinitionError(
            "the file's name is the schedule's key: lower-case letters, digits and _, a letter first; "
            f"rename it to {wanted}.yaml",
            place=_place(path, home),
        )
    if path.stem in taken:
        raise DefinitionError(
            f"{_place(taken[path.stem][0], home)} is called the same: rename one of them", place=_place(path, home)
        )


def read(path: Path, home: Path) -> dict[str, Any]:
    """The mapping in one YAML file. Raises DefinitionError with the line that is wrong."""
    try:
        found = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506 - a SafeLoader
    except UnicodeDecodeError as error:
        raise DefinitionError(
            f"is not UTF-8 text: {error.reason} at byte {error.start}", place=_place(path, home)
        ) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise DefinitionError(f"{line}{error.problem or error.context}", place=_place(path, home)) from None
    except yaml.reader.ReaderError as error:
        raise DefinitionError(
            f"holds the character #x{error.character:04x}, which YAML does not allow", place=_place(path, home)
        ) from None
    except OSError as error:
        raise DefinitionError(f"cannot be read: {error.strerror}", place=_place(path, home)) from None
    if not isinstance(found, dict):
        raise DefinitionError("must be a mapping of fields such as report, when, recipients", place=_place(path, home))
    return found


def _complete(key: str, path: Path, home: Path, definition: dict[str, Any], raw: Mapping[str, Any]) -> ScheduleFile:
    place = _place(path, home)
    if isinstance(definition.get("report"), str):
        definition = {**definition, "report": _named_report(definition["report"], raw, place)}
    elif isinstance(definition.get("report"), dict):
        definition = {**definition, "report": {"name": key, **definition["report"]}}
    try:
        definition = _with_queries(definition, path.parent, home, place)
    except RecursionError:
        raise DefinitionError("holds itself: an alias stands inside of its own anchor", place=place) from None
    parsed = schedule.parse(definition, place)
    return ScheduleFile(key, place, definition, parsed, schedule.revision(definition))


def _named_report(name: str, raw: Mapping[str, tuple[Path, dict[str, Any]]], place: str) -> dict[str, Any]:
    holders = [key for key, (_, definition) in raw.items() if isinstance(definition.get("report"), dict)]
    if name in holders:
        return {"name": name, **raw[name][1]["report"]}
    hint = did_you_mean(name, holders, f"known reports: {', '.join(sorted(holders)) or 'none'}")
    raise DefinitionError(f'"{name}" is no report: {hint}', place=place, field="report")


def _with_queries(value: Any, folder: Path, home: Path, place: str, field_name: str = "") -> Any:
    """`value` with every `sql:` or `query:` that names a .sql file replaced by the file's text."""
    if isinstance(value, list):
        return [_with_queries(item, folder, home, place, field_name) for item in value]
    if not isinstance(value, dict):
        return value
    found = {}
    for name, item in value.items():
        where = f"{field_name}.{name}".strip(".")
        if name in {"sql", "query"} and isinstance(item, str) and item.endswith(".sql") and " " not in item.strip():
            found[name] = _query(item.strip(), folder, home, place, where)
        else:
            found[name] = _with_queries(item, folder, home, place, where)
    return found


def _query(name: str, folder: Path, home: Path, place: str, field_name: str) -> str:
    path = (folder / name).resolve()
    if not path.is_relative_to(home.resolve()):
        raise DefinitionError(f'"{name}" lies outside the home', place=place, field=field_name)
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        known = sorted(other.name for other in folder.glob("*.sql"))
        hint = did_you_mean(name, known, f"put it beside {place}")
        raise DefinitionError(f'"{name}" cannot be read: {hint}', place=place, field=field_name) from None


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
