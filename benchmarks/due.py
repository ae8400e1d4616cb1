"""What it costs to say when a schedule is due next, beside Celery's own crontab and the bare library."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from time import process_time
from zoneinfo import ZoneInfo

from celery.schedules import crontab
from cronsim import CronSim

from benchmarks.results import Result
from pipeline.timing import next_after, spec

ZONE = "Europe/Berlin"
START = datetime(2026, 3, 7, 12, tzinfo=UTC)
QUESTIONS, ROUNDS = 300, 15
BAVARIA = {"only_on": ["business_days"], "except_on": ["holidays:DE-BY"]}
CRONS = ("0 7 * * *", "0 9 * * 1-5", "*/15 * * * *", "0 7 1 * *", "0 0 29 2 *")
CALENDARS = {
    "0 7 * * *, except_on: holidays:DE-BY": {"cron": "0 7 * * *", "except_on": ["holidays:DE-BY"]},
    "0 7 * * *, on business days": {"cron": "0 7 * * *", **BAVARIA},
    "0 7 1 * *, on business days, on_holiday: after": {"cron": "0 7 1 * *", **BAVARIA, "on_holiday": "after"},
    "0 7 * * *, day: last_business_day": {"cron": "0 7 * * *", "day": "last_business_day", **BAVARIA},
    "* * * * * *, on business days": {"cron": "* * * * * *", **BAVARIA},
}


def microseconds(ask: Callable[[datetime], object]) -> float:
    """Processor time of one question, of the best of some rounds; each question is asked from another moment."""
    found = []
    for _ in range(ROUNDS + 1):
        began = process_time()
        for number in range(QUESTIONS):
            ask(START + timedelta(minutes=37 * number))
        found.append((process_time() - began) / QUESTIONS * 1e6)
    return min(found[1:])


def celery(expression: str) -> Callable[[datetime], object]:
    """Celery's crontab, asked as beat does: how long is it from the last run until the next?"""
    now = START
    minute, hour, day, month, weekday = expression.split()
    found = crontab(minute, hour, day_of_week=weekday, day_of_month=day, month_of_year=month, nowfun=lambda: now)

    def ask(moment: datetime) -> object:
        nonlocal now
        now = moment.astimezone(ZoneInfo(ZONE))
        return found.remaining_estimate(now)

    return ask


def measure() -> Result:
    facts: dict[str, dict[str, float]] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for expression in CRONS:
            plain = spec({"cron": expression}, ZONE)
            facts[expression] = {
                "pipeline": microseconds(lambda moment, plain=plain: next_after(plain, ZONE, moment)),
                "cronsim": microseconds(
                    lambda moment, expression=expression: next(CronSim(expression, moment.astimezone(ZoneInfo(ZONE))))
                ),
                "celery": microseconds(celery(expression)),
            }
    for name, fields in CALENDARS.items():
        of_days = spec(fields, ZONE)
        facts[name] = {"pipeline": microseconds(lambda moment, of_days=of_days: next_after(of_days, ZONE, moment))}
    return Result(
        "due",
        "When it is due next (processor time of one question)",
        ("expression", "pipeline", "cronsim with a zone", "Celery's crontab"),
        [
            (name, *(f"{took[who]:.0f} µs" if who in took else "-" for who in ("pipeline", "cronsim", "celery")))
            for name, took in facts.items()
        ],
        {"microseconds": facts},
        notes=[f"The best of {ROUNDS} rounds of {QUESTIONS} questions; zone {ZONE}."],
    )
