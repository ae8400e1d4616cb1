"""Celery's own beat as its guide shows it: entries in a dictionary, and the scheduler that keeps a file."""

from __future__ import annotations

import os

from celery import Celery
from celery.schedules import crontab, schedule

app = Celery("own", broker=os.environ["OWN_BROKER"])
app.conf.task_default_queue = "own"
app.conf.beat_schedule = {
    **{
        f"idle_{number}": {"task": "idle", "schedule": crontab(minute=0, hour=3, day_of_month=number % 28 + 1)}
        for number in range(int(os.environ.get("OWN_IDLE", "0")))
    },
    **{
        f"minutely_{number}": {"task": "minutely", "schedule": crontab()}
        for number in range(int(os.environ.get("OWN_MINUTELY", "0")))
    },
    **{
        f"secondly_{number}": {"task": "secondly", "schedule": schedule(1.0)}
        for number in range(int(os.environ.get("OWN_SECONDLY", "0")))
    },
}
