"""Celery as its tutorial shows it: a task that does nothing, for a chord beside ours."""

from __future__ import annotations

import os

from celery import Celery

app = Celery("textbook", broker=os.environ["TEXTBOOK_BROKER"], backend=os.environ["TEXTBOOK_BROKER"])
app.conf.task_default_queue = "textbook"
app.conf.worker_prefetch_multiplier = 1


@app.task
def rest(_number: int) -> None: ...


@app.task
def end(_results: list[None]) -> None: ...
