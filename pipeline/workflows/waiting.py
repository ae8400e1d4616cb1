"""The step before all others of a run that waits: for other schedules (`after`), then for its data (`ready_when`)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NoReturn

from pipeline import example
from pipeline.adapters import sources
from pipeline.db import reading, transaction
from pipeline.errors import PermanentError, Skip, TransientError, Waiting
from pipeline.handle import RunHandle
from pipeline.models import Run, RunStatus
from pipeline.readiness import After, ReadyWhen
from pipeline.services import waiting
from pipeline.services.answers import wording
from pipeline.services.notices import endings
from pipeline.settings import settings
from pipeline.tasks import step
from pipeline.timing import parse_duration

# Other schedules' ends are told by reconcile; whoever it has missed looks for itself.
EVERY = timedelta(minutes=5)
# Texts that say no, as databases and people write it.
NO = frozenset({"", "0", "f", "false", "n", "no", "off"})


class GaveUp(PermanentError):
    """What a run waited for has not come, or cannot come any more."""

    trace = ""


@step
def ready(run: RunHandle) -> dict[str, Any]:
    """Look whether all has come that the run waits for; it looks again and again, and holds no worker meanwhile."""
    if run.memory.get("released"):
        return {"released": run.memory["released"]}
    if run.definition.after:
        _look_at_others(run, run.definition.after)
    if run.definition.ready_when:
        _look_at_data(run, run.definition.ready_when)
    return {"ready": True}


def _look_at_others(run: RunHandle, after: After) -> None:
    with reading() as session:
        found = [waiting.standing(session, name, run.period) for name in after.schedules]
    missing = [one for one in found if one.status != RunStatus.SUCCEEDED]
    for one in missing:
        if not one.is_open:
            _cannot_come(run, after, one)
    if missing:
        said = wording.listed(_stands(run, one) for one in missing)
        _wait(run, after, f"waits for {said}", EVERY, [one.schedule for one in missing])


def _cannot_come(run: RunHandle, after: After, one: waiting.Standing) -> None:
    """The other run has ended otherwise: where it had nothing to do, neither has this one."""
    about = f"{one.schedule}'s run for {run.period.title}"
    named = f" (run {wording.short(one.run.id)})" if one.run else ""
    why = f": {one.run.error}" if one.run and one.run.error else ""
    said = f"{about} ended as {one.status}{named}{why}"
    _give_up(run, said, skip=one.status == RunStatus.SKIPPED or after.otherwise == "skip")


def _stands(run: RunHandle, one: waiting.Standing) -> str:
    if one.run:
        return f"{one.schedule}, whose run for {run.period.title} is {one.status} (run {wording.short(one.run.id)})"
    newest = f"; its newest is about {one.newest}" if one.newest else ""
    return f"{one.schedule}, which has no run for {run.period.title} yet{newest}"


def _look_at_data(run: RunHandle, condition: ReadyWhen) -> None:
    try:
        answer = sources.asked(
            condition.source,
            name="ready_when",
            period=run.period,
            due_at=run.due_at,
            parameters=run.params,
            home=run.home,
            database_url=example.source_url,
            timeout=min(settings().source_timeout, 600),
        )
    except TransientError as error:  # whoever waits can wait for that, too
        said = str(error)
    else:
        if is_true(answer.value):
            return
        said = f"{answer.by} is not there" if condition.url else f'its query of "{answer.by}" {_gave(answer.value)}'
    _wait(run, condition, f"waits for its data: {said}", parse_duration(condition.every))


def is_true(value: Any) -> bool:
    """Whether a query's answer says yes: not null, no zero, and no text such as f or false."""
    if isinstance(value, str):
        return value.strip().lower() not in NO
    if isinstance(value, bytes | memoryview):
        return any(bytes(value))
    return bool(value)


def _gave(value: Any) -> str:
    return "gave no value" if value is None else f"says {str(value)[:80] or 'nothing'}"


def _wait(run: RunHandle, condition: After | ReadyWhen, said: str, every: timedelta, after: Sequence[str] = ()) -> None:
    """Look again after a while, once more when the time is up; then give up. `after` are whose end calls us before."""
    begun = f"{type(condition).__name__} since"
    since = datetime.fromisoformat(run.memory.get(begun, run.now.isoformat()))
    until = since + parse_duration(condition.give_up_after)
    if run.now < until:
        raise Waiting(
            f"{said}; gives up on {wording.moment(until, run.zone)}",
            again_in=min(every, until - run.now).total_seconds(),
            memory={begun: since.isoformat(), "after": list(after)},
            for_data=True,
        )
    _give_up(run, f"gave up after {condition.give_up_after}: it {said}", skip=condition.otherwise == "skip")


def _give_up(run: RunHandle, said: str, *, skip: bool) -> NoReturn:
    """End the run; where it fails, people are told that it has waited in vain, rather than that it failed."""
    if skip:
        raise Skip(said)
    with transaction() as session:
        endings.gives_up(session, session.get_one(Run, run.id), said)
    raise GaveUp(said)
