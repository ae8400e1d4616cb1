"""Opens and reopens runs, and publishes where they begin: the one path behind every door."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy.exc import IntegrityError

from pipeline.celery import load_workflows
from pipeline.db import reading, transaction
from pipeline.models import Run
from pipeline.services import rerunning, runs, schedules
from pipeline.services.audit import Actor
from pipeline.tasks.publishing import publish
from pipeline.tasks.registry import bound_parameters


def trigger(request: runs.Request) -> tuple[UUID, bool]:
    """Open the run that `request` wishes for and publish its first step: the one path behind every door.

    Returns the run's id and whether it is new. Raises Refused or NotFound with a sentence.
    """
    run, new = open_run(request)
    if new:
        publish(run.id)
    return run.id, new


def open_run(request: runs.Request) -> tuple[Run, bool]:
    """Open the run without publishing it, for a caller that answers first; reconcile would publish it, too."""
    with reading() as session:
        _, definition = schedules.current(session, request.schedule_key)
    if definition.get("workflow"):
        load_workflows()  # a team's code may take its time: no writer waits for it
    try:
        return _opened(request)
    except IntegrityError:  # the same key for two schedules in the same moment: now the other one's run is there
        return _opened(request)


def _opened(request: runs.Request) -> tuple[Run, bool]:
    with transaction() as session:
        run, new = runs.open_run(session, request)
        if new and run.definition.get("workflow"):
            bound_parameters(run.workflow, run.params)
    return run, new


def rerun(run_id: UUID, actor: Actor, wish: rerunning.Wish) -> tuple[Run, bool]:
    """Reopen a run and publish where it begins: the one path behind every door; see `rerunning.rerun`."""
    with transaction() as session:
        run, new = rerunning.rerun(session, run_id, actor, wish)
    if new:
        publish(run_id)
    return run, new
