"""How a run stands, as every endpoint about one run answers it."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from pipeline.api.identity import Caller
from pipeline.models import Run, Scope
from pipeline.services import answers

Counts = dict[str, int]
EXAMPLE: dict[str, Any] = {
    "id": "019a8b7c-1d2e-7f30-8a4b-5c6d7e8f9012",
    "schedule": "carrier_review",
    "status": "running",
    "waiting_for": None,
    "over": False,
    "generation": 1,
    "period": {"label": "2013-W37", "title": "9-15 Sep 2013", "start": "…", "end": "…", "zone": "America/New_York"},
    "documents": {"planned": 6, "rendered": 10, "failed": 0, "skipped": 0, "total": 16},
    "deliveries": {"planned": 19, "accepted": 0, "total": 19},
    "steps": {"running": 2, "succeeded": 5, "total": 9},
    "held_up": None,
    "result": None,
    "error": None,
    "traceback": None,
    "created_at": "2026-11-16T06:00:00.012Z",
    "started_at": "2026-11-16T06:00:00.250Z",
    "finished_at": None,
}


class HeldUp(BaseModel):
    """The step that is tried again next, and what stood in its way."""

    step: str
    error: str
    next_try_at: datetime


class Period(BaseModel):
    """What a run reports on, half-open."""

    label: str
    title: str
    start: str
    end: str
    zone: str


class Standing(BaseModel):
    """A run's status, and its progress in numbers: how many documents, deliveries and steps stand where."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    id: UUID
    schedule: str
    status: str = Field(
        description="queued, running, waiting, cancelling; in the end succeeded, partial, failed, skipped, "
        "cancelled or rejected."
    )
    waiting_for: str | None = Field(description="data, slot, approval, blocked; deferred: mail that comes later.")
    over: bool = Field(description="true: nothing more happens to it by itself.")
    generation: int = Field(description="1, and one more with every rerun.")
    period: Period
    documents: Counts
    deliveries: Counts
    steps: Counts
    held_up: HeldUp | None
    result: Any = Field(description="What a workflow's last step, a task or a command returned.")
    error: str | None
    traceback: str | None = Field(description="For tokens of scope operate.")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


def standing(session: Session, run: Run, caller: Caller) -> Standing:
    """How the run stands, as far as this caller may see it: a traceback tells of code and paths."""
    found = answers.progress(session, run)
    if not caller.may(Scope.OPERATE):
        found["traceback"] = None
    return Standing.model_validate(found)
