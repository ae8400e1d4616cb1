"""Everything in the home that can be wrong before anything runs, found in one go."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline import timing
from pipeline.adapters import home
from pipeline.adapters.home import Loaded, ScheduleFile
from pipeline.authoring.check import addresses, code, queries, targets
from pipeline.authoring.check.faults import Fault, Subject, read
from pipeline.authoring.check.gate import check_gate
from pipeline.errors import DefinitionError, NotFound
from pipeline.mistakes import did_you_mean
from pipeline.report import Report
from pipeline.schedule import RETRIES, Schedule
from pipeline.services import runs
from pipeline.settings import settings

__all__ = ["Checked", "Fault", "Fine", "check"]


@dataclass(frozen=True)
class Fine:
    """A schedule that nothing is wrong with: what it runs, when it is due in words, and what belongs to it."""

    name: str
    target: str
    when: str
    parts: tuple[str, ...]


@dataclass
class Checked:
    """What a check found. `notes` are files that nothing uses: perhaps misnamed, not wrong."""

    faults: list[Fault] = field(default_factory=list)
    notes: list[Fault] = field(default_factory=list)
    fine: list[Fine] = field(default_factory=list)


def check(names: Sequence[str] = ()) -> Checked:
    """Check the schedules of the active home, or only those of these names, without running or connecting to anything.

    Raises NotFound when the home has no schedules/, or none of such a name.
    """
    folder = settings().home
    if not (folder / "schedules").is_dir():
        raise NotFound(
            f"{folder} has no folder schedules/: go to a home, name one in PIPELINE_HOME, or make one with "
            "`pipeline init DIR`"
        )
    loaded = home.load(folder)
    _check_names(names, loaded)
    found = Checked(faults=[fault for place, error in _wanted(loaded, names) for fault in read(error, place)])
    found.faults += addresses.wrong_settings()
    files = [file for file in _holders_first(loaded.files.values()) if not names or file.key in names]
    if any(file.schedule.workflow for file in files) or (folder / "workflows").is_dir():
        found.faults += code.broken_workflows()
    seen: set[str] = set()
    for file in files:
        _check_file(file, found, seen)
        found.notes += queries.check_order(file, loaded.files)
    if not names and not loaded.errors:
        found.notes += _unused(files)
    found.fine.sort(key=lambda one: one.name)
    # What several reports share, such as the home's own _base, is told once.
    unique = dict.fromkeys(found.faults)
    found.faults = sorted(unique, key=lambda fault: (fault.place.partition(":")[0], _line(fault.place)))
    return found


def _check_names(names: Iterable[str], loaded: Loaded) -> None:
    known = [*loaded.files, *loaded.errors_by_key]
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known, f"there are {', '.join(sorted(known)) or 'none'}")
            raise NotFound(f'there is no schedule file "{name}": {hint}')


def _line(place: str) -> int:
    number = place.rpartition(":")[2]
    return int(number) if number.isdigit() else 0


def _wanted(loaded: Loaded, names: Sequence[str]) -> Iterator[tuple[str, DefinitionError]]:
    yield from ((place, error) for place, error in loaded.errors.items() if not names or Path(place).stem in names)


def _holders_first(files: Iterable[ScheduleFile]) -> list[ScheduleFile]:
    """A report that several schedules share is checked once, where it is written down."""
    return sorted(files, key=lambda file: (_report_name(file) != file.key, file.key))


def _report_name(file: ScheduleFile) -> str:
    return (file.schedule.report.name if isinstance(file.schedule.report, Report) else None) or file.key


def _check_file(file: ScheduleFile, found: Checked, seen: set[str]) -> None:
    subject = Subject(file, [])
    if isinstance(file.schedule.report, Report):
        parts = _check_report(subject, file.schedule.report, seen)
    else:
        code.check_workflow(subject)
        targets.check_command(subject, found.notes)
        targets.check_task(subject)
        parts = [*targets.words(file.schedule), *(f"{name}={value}" for name, value in file.schedule.params.items())]
    queries.check_readiness(subject)
    found.notes += code.doubtful_pools(subject)
    addresses.check_message(subject)
    found.faults += subject.faults
    if not subject.faults:
        target = _report_name(file) if file.schedule.kind == "report" else file.schedule.target
        found.fine.append(Fine(file.key, target, _when(file.schedule), tuple(parts)))


def _check_report(subject: Subject, report: Report, seen: set[str]) -> list[str]:
    """Check a report and what the schedule says about it; what belongs to it, in words."""
    from pipeline.authoring.check.templates import check_templates

    name = _report_name(subject.file)
    written = json.dumps(subject.file.definition["report"], sort_keys=True, default=str)
    first = written not in seen
    seen.add(written)
    if first:
        queries.check_sources(subject, report)
        addresses.check_locale(subject, report)
    quiet = subject if first else Subject(subject.file, [])
    has_build = code.check_build(quiet, report, name)
    has_templates = check_templates(quiet, report, name, has_build=has_build)
    check_gate(subject, report, has_build=has_build)
    queries.check_recipients(subject, report)
    addresses.check_people(subject, report)
    code.check_kinds(subject, [kind for kind in RETRIES if kind not in {"command", "task"}])
    for parameter, value in subject.schedule.params.items():
        with subject.telling(f"params.{parameter}"):
            runs.parameters(subject.schedule.model_copy(update={"params": {}}), {parameter: value})
    return _parts(subject.schedule, report, has_build=has_build, has_templates=has_templates)


def _parts(definition: Schedule, report: Report, *, has_build: bool, has_templates: bool) -> list[str]:
    said = [" ".join(report.formats)]
    if report.split_by:
        said.append(f"by {report.split_by}")
    if len(report.sources) > 1:
        said.append(f"{len(report.sources)} sources")
    said += ["build()"] * has_build + ["own templates"] * has_templates
    people = definition.recipients
    if people.source:
        said.append("recipients from a query" if people.source.sql else "recipients from a file")
    if people.people:
        said.append("1 recipient" if len(people.people) == 1 else f"{len(people.people)} recipients")
    if people.subscriptions:
        said.append("subscribers")
    return said + [f"to {place.address}" for place in definition.deliver_to]


def _when(definition: Schedule) -> str:
    if definition.when is None:
        return "by hand"
    zone = definition.when.timezone or settings().timezone
    return timing.describe(definition.when.spec(settings().timezone), zone)


def _unused(files: Sequence[ScheduleFile]) -> Iterator[Fault]:
    """Files that belong to nothing, most often since their name is not quite that of a report."""
    reports = {_report_name(file): file.schedule.report for file in files if isinstance(file.schedule.report, Report)}
    looks = {report.template or name for name, report in reports.items()} | {"_base", "_notices"}
    folder = settings().home
    for path in sorted((folder / "reports").glob("*.py")):
        if path.stem not in reports and not path.stem.startswith("_"):
            yield Fault(f"reports/{path.name}", "", _unused_because("report", path.stem, reports))
    for path in sorted((folder / "templates").glob("*/")):
        if path.name not in looks and not path.name.startswith("."):
            yield Fault(
                f"templates/{path.name}", "", _unused_because("report", path.name, looks - {"_base", "_notices"})
            )
    written = json.dumps([file.definition for file in files], default=str)
    for path in sorted((folder / "schedules").glob("*.sql")):
        if json.dumps(path.read_text(encoding="utf-8", errors="replace")) not in written:
            yield Fault(f"schedules/{path.name}", "", "no schedule file names it")


def _unused_because(kind: str, name: str, known: Iterable[str]) -> str:
    return f"is not used: no {kind} is called {name}{did_you_mean(name, known, lead=': ')}"
