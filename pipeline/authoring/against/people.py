"""Who gets something now and did not before, and the other way round, where the sources answer."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pipeline import example
from pipeline.adapters import sources
from pipeline.authoring.against.sides import Side
from pipeline.errors import PipelineError
from pipeline.report import Report, Source
from pipeline.schedule import Person, Schedule
from pipeline.services import runs
from pipeline.services.due import zone_of
from pipeline.settings import settings
from pipeline.workflows.report import addressing, planning

# Seconds that a source may take: somebody waits, and counts are nice to have.
ASK_WITHIN = 15.0
# One who gets something: the address and, where the report is split, whose document.
Pair = tuple[str, str]


@dataclass(frozen=True)
class PeopleChange:
    """How many recipients there are, and who is new or gone, each as `address` or `address (key)`.

    `problem` tells why nobody can say; what is known is left out then.
    """

    before: int | None
    after: int | None
    added: list[str]
    removed: list[str]
    problem: str | None = None


def changed_people(
    old: Schedule | None, new: Schedule | None, before: Side, after: Side, at: datetime
) -> PeopleChange | None:
    """None where they are the same, or nothing that decides about them has changed."""
    if not any(one and one.kind == "report" for one in (old, new)) or not _is_to_be_asked(old, new):
        return None
    try:
        gone = _people(old, before, at) if old and old.kind == "report" else set()
        come = _people(new, after, at) if new and new.kind == "report" else set()
    except (PipelineError, OSError) as error:
        return PeopleChange(None, None, [], [], str(error))
    if gone == come:
        return None
    return PeopleChange(len(gone), len(come), _told(come - gone), _told(gone - come))


def _is_to_be_asked(old: Schedule | None, new: Schedule | None) -> bool:
    """A query that stays the same is not asked; a file of the home may have other lines."""
    if old is None or new is None or old.recipients != new.recipients:
        return True
    source = new.recipients.source
    return source is not None and (source.url is not None or _decides(old) != _decides(new))


def _decides(definition: Schedule) -> tuple[object, ...]:
    report = definition.report
    split = (report.split_by, report.params) if isinstance(report, Report) else ()
    return (definition.period_spec, definition.params, *split)


def _people(definition: Schedule, side: Side, at: datetime) -> set[Pair]:
    said, report = definition.recipients, planning.report_of(definition)
    people: list[Person | addressing.Named] = list(said.people)
    if said.source:
        with tempfile.TemporaryDirectory(prefix="pipeline-against-") as folder:
            path = Path(folder) / "recipients.parquet"
            sources.fetch(
                said.source,
                name=addressing.RECIPIENTS,
                period=runs.period_of(definition.period_spec, at, zone_of(definition)),
                parameters=runs.parameters(definition, {}),
                destination=path,
                home=_home_of(said.source, side),
                database_url=example.source_url,
                timeout=ASK_WITHIN,
                max_bytes=settings().source_max_bytes,
            )
            people += addressing.people_in(path, report)
    return {((one.email or "").casefold(), (one.key or "") if report.split_by else "") for one in people}


def _home_of(source: Source, side: Side) -> Path:
    """Files that Git keeps are those of the side; databases and the rest are where they are now."""
    kept = side.folder and source.url and (side.folder / source.url).is_file()
    return side.folder if side.folder and kept else settings().home


def _told(people: set[Pair]) -> list[str]:
    return [f"{address} ({key})" if key else address for address, key in sorted(people)]
