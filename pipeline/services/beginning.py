"""Where a rerun begins: which steps of a run that has ended are carried out again, and as what definition."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from pipeline import schedule
from pipeline.adapters import home
from pipeline.errors import Refused
from pipeline.models import Run, Step, StepStatus
from pipeline.services import runs, schedules
from pipeline.settings import settings

RENDER = "report.render"


@dataclass(frozen=True)
class Beginning:
    """The steps that are queued again, of one stage, and those of the same canvas that wait behind them.

    Steps of later canvases are not among them: whoever returned their canvas returns it again.
    """

    again: Sequence[Step]
    later: Sequence[Step]

    @property
    def stage(self) -> int:
        return self.again[0].stage


def current(steps: Sequence[Step]) -> list[Step]:
    """Of a run's steps in their order, those that count: one that an earlier rerun did not make again is history.

    Whatever a rerun does again has a higher generation; what lay behind it and was not made again has the old one.
    """
    found, newest, stage, of_stage = [], 0, -1, 0
    for one in steps:
        if one.stage != stage:
            newest, stage, of_stage = max(newest, of_stage), one.stage, 0
        of_stage = max(of_stage, one.generation)
        if one.generation >= newest:
            found.append(one)
    return found


def whole_stage(current: Sequence[Step], stage: int) -> Beginning:
    return part_of_stage(current, stage, {one.id for one in current if one.stage == stage})


def part_of_stage(current: Sequence[Step], stage: int, wanted: Collection[UUID]) -> Beginning:
    """The wanted steps of a stage, and those beside them that the next stage could not begin without."""
    again = [one for one in current if one.stage == stage and (one.id in wanted or not _is_done(one))]
    later = [one for one in current if one.stage > stage and one.canvas == again[0].canvas]
    return Beginning(again, later)


def failed(current: Sequence[Step], batches: Collection[int]) -> Beginning | None:
    """Where it first went wrong: a step that has not succeeded, or a batch that holds documents that were not made."""
    wrong = [one for one in current if one.status != StepStatus.SUCCEEDED or _holds(one, batches)]
    if not wrong:
        return None
    stage = wrong[0].stage
    return part_of_stage(current, stage, {one.id for one in wrong if one.stage == stage})


def _holds(step: Step, batches: Collection[int]) -> bool:
    return step.task == RENDER and step.args[0] in batches


def unfinished_before(current: Sequence[Step], stage: int) -> Step | None:
    """The first step of an earlier stage that what begins at `stage` would lack."""
    return next((one for one in current if one.stage < stage and not _is_done(one)), None)


def _is_done(step: Step) -> bool:
    return step.status == StepStatus.SUCCEEDED or (step.tolerated and step.status == StepStatus.FAILED)


def take_newest(session: Session, run: Run) -> bool:
    """Give the run its schedule's current definition; whether what it fetches stays the same.

    Period and due time stay, and so does what its trigger said of parameters. Raises NotFound for a schedule that is
    gone, Refused for one that has become something else.
    """
    row, stored = schedules.current(session, run.schedule_key)
    old = schedule.parse(run.definition, f"run {run.id}")
    new = schedule.parse(stored, f"schedule {row.key}")
    if new.kind != old.kind or (new.workflow or new.kind) != run.workflow:
        raise Refused(f"{run.schedule_key} is no longer what it was ({run.workflow}): trigger a new run of it")
    usual = runs.parameters(old, {})
    given = {name: value for name, value in run.params.items() if name not in usual or usual[name] != value}
    run.params = runs.parameters(new, given)
    same: bool = _fetched(run.definition) == _fetched(stored)
    run.revision, run.definition = row.revision, stored
    run.code_version = home.code_version(settings().home)
    return same


_OF_THE_DATA = ("database", "sql", "sources", "time", "params")


def _fetched(definition: dict[str, Any]) -> Any:
    report = definition.get("report")
    of_report = {name: report.get(name) for name in _OF_THE_DATA} if isinstance(report, dict) else report
    people = definition.get("recipients")
    return of_report, definition.get("params"), people if isinstance(people, dict) else isinstance(people, list)
