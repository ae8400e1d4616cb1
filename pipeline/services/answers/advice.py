"""What to do or type next, in one sentence, from how a run stands."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from pipeline.models import DeliveryStatus, DocumentStatus, Run, RunStatus, StepStatus, WaitingFor
from pipeline.services.answers import wording

if TYPE_CHECKING:
    from pipeline.services.answers.detail import DeliveryProblem, StepDetail
    from pipeline.services.answers.summary import RunSummary

# A message that no worker took for so long: either none runs, or all are busy.
SLOW = timedelta(seconds=15)
# Between a step's row and its message passes a moment even when all is well.
MOMENT = timedelta(seconds=3)
# Keys that a command line is made of at most; more are for a person to pick.
FEW = 5
LOST = frozenset({DeliveryStatus.FAILED, DeliveryStatus.EXPIRED})


@dataclass(frozen=True)
class Again:
    """The command that runs the same once more: `base` without a scope, `scope` as it was."""

    base: str
    scope: str = ""

    def __str__(self) -> str:
        return f"{self.base} {self.scope}".strip()


def same_again(run: Run) -> Again:
    """The command that triggers what `run` was: its period, the parameters that were given, its scope."""
    report = run.definition.get("report")
    usual = {**(report.get("params", {}) if isinstance(report, dict) else {}), **run.definition.get("params", {})}
    given = {name: value for name, value in run.params.items() if usual.get(name) != value}
    base = ["pipeline", "trigger", run.schedule_key, "--period", run.period["label"]]
    base += [word for name, value in given.items() for word in ("-p", f"{name}={value}")]
    scope = [
        word
        for name in ("key", "to")
        for value in run.scope.get(f"{name}s", run.scope.get(name, []))
        for word in (f"--{name}", value)
    ]
    return Again(shlex.join(base), shlex.join([*scope, *([] if run.scope.get("send", True) else ["--no-send"])]))


def next_move(
    run: RunSummary, steps: Sequence[StepDetail], problems: Sequence[DeliveryProblem], again: Again, now: datetime
) -> str:
    """One sentence with the command to type, or that there is nothing to do."""
    match run.status:
        case RunStatus.SUCCEEDED:
            return _succeeded(run)
        case RunStatus.PARTIAL | RunStatus.FAILED if run.deliveries[DeliveryStatus.ACCEPTED]:
            return _again_for_some(run, problems, again)
        case RunStatus.PARTIAL | RunStatus.FAILED | RunStatus.CANCELLED | RunStatus.REJECTED:
            return _again(run, steps, again)
        case RunStatus.SKIPPED:
            return f"nothing to do; `pipeline schedules` says when {run.schedule} is due next"
        case RunStatus.WAITING:
            return _waiting(run, problems)
        case _:
            return _going_on(run, steps, now)


def _succeeded(run: RunSummary) -> str:
    if run.documents[DocumentStatus.RENDERED]:
        return f"`pipeline files {wording.short(run.id)}` shows its documents, `pipeline who NAME` who got theirs"
    return f"nothing to do; `pipeline runs {run.schedule}` lists its runs"


def _again(run: RunSummary, steps: Sequence[StepDetail], again: Again) -> str:
    once_more = f"`{again}` runs it again for the same period"
    if any(step.status == StepStatus.FAILED for step in steps):
        trace = f"`pipeline show {wording.short(run.id)} --traceback`"
        return f"{trace} says where it failed; once that is mended, {once_more}"
    return once_more


def _again_for_some(run: RunSummary, problems: Sequence[DeliveryProblem], again: Again) -> str:
    """Nobody who has theirs is to get it twice: the keys that are missing are named."""
    lost = [one for one in problems if one.status in LOST]
    if not lost:
        return f"the relay's log knows about those that are uncertain: `pipeline show {wording.short(run.id)} --json`"
    keys = sorted({one.key for one in lost})
    scope = " ".join(f"--key {shlex.quote(key)}" for key in keys[:FEW]) + (" …" if len(keys) > FEW else "")
    if len(lost) == 1:
        scope += f" --to {shlex.quote(lost[0].address)}"
    return f"once mended, `{again.base} {scope}` runs it for just what is missing"


def _waiting(run: RunSummary, problems: Sequence[DeliveryProblem]) -> str:
    if run.waiting_for == WaitingFor.DEFERRED:
        due = min((one.not_before for one in problems if one.not_before), default=None)
        at = f" on {wording.moment(due, run.zone)}" if due else ""
        return f"nothing to do: what was turned away is tried again by itself{at}"
    return f"it waits for {run.waiting_for}: `pipeline show {wording.short(run.id)}` again shows whether it has come"


def _going_on(run: RunSummary, steps: Sequence[StepDetail], now: datetime) -> str:
    queued = [step for step in steps if step.status == StepStatus.QUEUED and not step.next_try_at]
    if any(step.published_at is None and step.queued_at and step.queued_at < now - MOMENT for step in queued):
        return "its message has not reached the broker yet: `pipeline up` starts one, `pipeline doctor` finds the fault"
    idle = not any(step.status == StepStatus.RUNNING for step in steps)
    if idle and any(step.published_at and step.published_at < now - SLOW for step in queued):
        return "no worker has taken it up yet: `pipeline up` starts one, `pipeline doctor` finds the fault"
    retried = [step for step in steps if step.status == StepStatus.QUEUED and step.next_try_at]
    if idle and retried:
        due = min(step.next_try_at for step in retried if step.next_try_at)
        return f"nothing to do: it is tried again by itself on {wording.moment(due, run.zone)}"
    return f"it is on its way: `pipeline show {wording.short(run.id)}` again shows how far"
