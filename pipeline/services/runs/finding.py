"""Finds the run that somebody names."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import Uuid, cast, exists, select
from sqlalchemy.orm import Session

from pipeline import timing
from pipeline.errors import NotFound, Refused
from pipeline.mistakes import did_you_mean, listed
from pipeline.models import Run, Schedule, Step


def find(session: Session, text: str | None) -> Run:
    """The run that `text` names: an id or its beginning, a task id, NAME, NAME@2026-11-16, or nothing for the latest.

    A day is the local one that a run was due on or, where none was, what its period is called, such as 2026-W46.
    Raises NotFound when nothing fits, Refused when several do.
    """
    if not text:
        return _first(session, select(Run), "there is no run yet: `pipeline trigger NAME` makes one")
    by_key = session.scalar(select(Run).where(Run.idempotency_key == text))
    if by_key is not None:
        return by_key
    digits = text.replace("-", "").lower()
    if len(digits) >= 4 and set(digits) <= set("0123456789abcdef"):
        found = _by_beginning(session, digits)
        if found is not None:
            return found
    name, _, day = text.partition("@")
    of_name = select(Run).where(Run.schedule_key == name)
    if not day:
        return _first(session, of_name, _nothing_called(session, name))
    return _of_day(session, of_name, name, day)


def _by_beginning(session: Session, digits: str) -> Run | None:
    if len(digits) > 32:
        return None
    low, high = (UUID(digits.ljust(32, fill)) for fill in "0f")
    runs = session.scalars(select(Run).where(Run.id.between(cast(low, Uuid), cast(high, Uuid))).limit(3)).all()
    if len(runs) > 1:
        raise Refused(
            f'"{digits}" is the beginning of several runs, such as {runs[0].id} and {runs[1].id}: type more of it'
        )
    if not runs and len(digits) == 32:
        return session.scalar(select(Run).join(Step, Step.run_id == Run.id).where(Step.task_id == UUID(digits)))
    return runs[0] if runs else None


def _of_day(session: Session, of_name: Any, name: str, day: str) -> Run:
    about: Run | None = None
    for run in session.scalars(of_name.order_by(Run.created_at.desc()).limit(2000)):
        if day == run.due_at.astimezone(timing.find_zone(run.zone)).date().isoformat():
            return run  # type: ignore[no-any-return]
        if about is None and day == run.period["label"]:
            about = run
    if about is None:
        raise NotFound(f'there is no run of "{name}" due on or about {day}: `pipeline runs {name}` lists them')
    return about


def _first(session: Session, statement: Any, otherwise: str) -> Run:
    run = session.scalar(statement.order_by(Run.created_at.desc(), Run.id.desc()).limit(1))
    if run is None:
        raise NotFound(otherwise)
    return run  # type: ignore[no-any-return]


def _nothing_called(session: Session, name: str) -> str:
    # By their schedules: to look for what is distinct among a million runs takes a second.
    has_run = exists().where(Run.schedule_key == Schedule.key)
    known = session.scalars(select(Schedule.key).where(has_run).order_by(Schedule.key)).all()
    hint = did_you_mean(name, known, f"there are runs of {listed(known) or 'nothing'}")
    return f'there is no run "{name}": {hint}'
