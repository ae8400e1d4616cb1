"""The workflows of one step: what `command:` and `task:` in a schedule file run."""

from __future__ import annotations

from celery.canvas import Signature

from pipeline.handle import RunHandle
from pipeline.tasks import workflow
from pipeline.workflows import command as programs
from pipeline.workflows import task as tasks_elsewhere


@workflow
def command(run: RunHandle) -> Signature:  # noqa: ARG001 - every workflow is given its run
    """A program, in one step."""
    return programs.command.si()


@workflow
def task(run: RunHandle) -> Signature:  # noqa: ARG001
    """A Celery task of another application, in one step."""
    return tasks_elsewhere.task.si()
