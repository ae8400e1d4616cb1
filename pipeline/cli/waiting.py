"""Waiting for a run's end with a progress bar; it looks at the rows, since results in the broker may be lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from pipeline.cli import tables
from pipeline.db import reading
from pipeline.errors import PermanentError
from pipeline.models import FINAL_RUN, OPEN_DELIVERY, DeliveryStatus, DocumentStatus, Run, WaitingFor
from pipeline.services import answers
from pipeline.services.answers import wording

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

# Seconds between two looks; counting many rows takes a while, and looks take a tenth of the time at most.
LOOK, SHARE = 0.2, 10
# What a person has to decide: waiting for it may take days.
DECISIONS = frozenset({WaitingFor.APPROVAL, WaitingFor.BLOCKED})


def wait(run_id: UUID, troubles: Callable[[], Sequence[str]] = list) -> None:
    """Returns when the run is over, or waits for a person's decision.

    `troubles` are asked for at every look; raises PermanentError with them when there are any. Ctrl-C ends the wait and
    not the run.
    """
    with _progress() as progress:
        bars, told = Bars(progress), None
        while True:
            began = time.monotonic()
            with reading() as session:
                found = answers.progress(session, session.get_one(Run, run_id))
            bars.update(found)
            if found["status"] in FINAL_RUN or found["waiting_for"] in DECISIONS:
                return
            if (obstacle := _obstacle(found)) and found["held_up"]["error"] != told:
                told = found["held_up"]["error"]
                progress.console.print(tables.words(obstacle, "yellow"), soft_wrap=True)
            if trouble := troubles():
                raise PermanentError("\n".join(trouble))
            time.sleep(max(LOOK, (time.monotonic() - began) * SHARE))


def _progress() -> Progress:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = tables.console(stderr=True)
    columns = (
        TextColumn("{task.description:<10}"),
        BarColumn(bar_width=30, complete_style="cyan", finished_style="green"),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}", style="dim"),
    )
    return Progress(*columns, console=console, disable=not console.is_terminal)


class Bars:
    """Two bars: documents made, deliveries settled; the second comes when there is something to deliver."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._documents = progress.add_task("documents", total=None, note="")
        self._deliveries: TaskID | None = None

    def update(self, found: dict[str, Any]) -> None:
        documents, deliveries = found["documents"], found["deliveries"]
        made = documents["total"] - documents[DocumentStatus.PLANNED]
        note = _note(found)
        self._progress.update(self._documents, total=documents["total"] or None, completed=made, note=note)
        if not deliveries["total"]:
            return
        if self._deliveries is None:
            self._deliveries = self._progress.add_task("deliveries", total=None, note="")
        settled = deliveries["total"] - sum(deliveries[status] for status in OPEN_DELIVERY)
        lost = deliveries[DeliveryStatus.FAILED]
        said = f"{lost:,} failed" if lost else ""
        self._progress.update(self._deliveries, total=deliveries["total"], completed=settled, note=said)


def _obstacle(found: dict[str, Any]) -> str:
    """What a step waits for, and until when; nobody should watch a bar that stands still and not know why."""
    held_up = found["held_up"]
    if not held_up:
        return ""
    if held_up["next_try_at"] is None:
        return f"{held_up['step']} {held_up['error']}. Ctrl-C stops waiting."
    at = wording.clock_time(datetime.fromisoformat(held_up["next_try_at"]), found["period"]["zone"])
    return f"{held_up['step']} waits: {held_up['error']}. It is tried again by itself at {at}; Ctrl-C stops waiting."


def _note(found: dict[str, Any]) -> str:
    if found["status"] == "queued":
        return "waits for a worker"
    if found["waiting_for"]:
        return f"waits: {found['error'] or found['waiting_for']}"
    failed = found["documents"][DocumentStatus.FAILED]
    return f"{failed:,} failed" if failed else ""
