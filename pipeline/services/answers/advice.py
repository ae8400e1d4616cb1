"""What to do or type next, in one sentence, from how a run stands."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from pipeline.models import (
    Approval,
    Delivery,
    DeliveryStatus,
    Document,
    DocumentStatus,
    Run,
    RunStatus,
    StepStatus,
    WaitingFor,
)
from pipeline.services import thawing
from pipeline.services.answers import wording

if TYPE_CHECKING:
    from pipeline.services.answers.detail import StepDetail
    from pipeline.services.answers.summary import RunSummary

# A message that no worker took for so long: either none runs, or all are busy.
SLOW = timedelta(seconds=15)
# Between a step's row and its message passes a moment even when all is well.
MOMENT = timedelta(seconds=3)
# Keys that a command line is made of at most; more are for a person to pick.
FEW = 5
LOST = (DeliveryStatus.FAILED, DeliveryStatus.EXPIRED)


@dataclass(frozen=True)
class Outlook:
    """What it takes to do a run over: the command without and with its scope, and who lacks theirs.

    `sendable` is how many failed that have all it takes to be tried again. `lost` are keys and addresses whose document
    failed, FEW and one at most; `shared` says whether one of the keys has reached somebody else.
    """

    base: str
    again: str
    sendable: int
    lost: list[tuple[str, str]]
    shared: bool
    next_try_at: datetime | None
    # When the approval that it waits for lapses; without one, at the next slot.
    lapses_at: datetime | None = None


def outlook(session: Session, run: Run) -> Outlook:
    """Read what `next_move` needs to know beyond the run's summary."""
    base, scope = _command(run)
    of_run = Delivery.run_id == run.id
    lost = select(Delivery.key, Delivery.address).join(Document, Document.id == Delivery.document_id)
    lost = lost.where(of_run, Delivery.status.in_(LOST), Document.status == DocumentStatus.FAILED)
    found = [
        (key, address) for key, address in session.execute(lost.order_by(Delivery.key, Delivery.address).limit(FEW + 1))
    ]
    keys = [key for key, _ in found]
    reached = select(Delivery.id).where(of_run, Delivery.key.in_(keys), Delivery.status == DeliveryStatus.ACCEPTED)
    deferred = select(func.min(Delivery.not_before)).where(of_run, Delivery.status == DeliveryStatus.DEFERRED)
    asked = (Approval.run_id == run.id, Approval.generation == run.generation)
    return Outlook(
        base,
        f"{base} {scope}".strip(),
        thawing.count(session, run, LOST),
        found,
        session.scalar(reached.limit(1)) is not None,
        session.scalar(deferred),
        session.scalar(select(Approval.lapses_at).where(*asked)),
    )


def _command(run: Run) -> tuple[str, str]:
    """The command that triggers what `run` was, with its period and the parameters that were given, and its scope."""
    report = run.definition.get("report")
    usual = {**(report.get("params", {}) if isinstance(report, dict) else {}), **run.definition.get("params", {})}
    given = {name: value for name, value in run.params.items() if usual.get(name) != value}
    base = ["pipeline", "trigger", run.schedule_key, "--period", run.period["label"]]
    base += [word for name, value in given.items() for word in ("-p", f"{name}={value}")]
    scope = [word for key in run.scope.get("keys", []) for word in ("--key", key)]
    scope += [word for address in run.scope.get("to", []) for word in ("--to", address)]
    scope += [] if run.scope.get("send", True) else ["--no-send"]
    scope += ["--now"] if run.scope.get("now") else []
    return shlex.join(base), shlex.join(scope)


def next_move(run: RunSummary, steps: Sequence[StepDetail], ahead: Outlook, now: datetime) -> str:
    """One sentence with the command to type, or that there is nothing to do."""
    match run.status:
        case RunStatus.SUCCEEDED:
            said = _succeeded(run)
        case RunStatus.PARTIAL | RunStatus.FAILED if run.deliveries[DeliveryStatus.ACCEPTED] or ahead.sendable:
            said = _again_for_some(run, ahead)
        case RunStatus.PARTIAL | RunStatus.FAILED | RunStatus.CANCELLED | RunStatus.REJECTED:
            said = _again(run, steps, ahead)
        case RunStatus.SKIPPED:
            said = f"nothing to do; `pipeline schedules` says when {run.schedule} is due next"
        case RunStatus.WAITING:
            said = _waiting(run, steps, ahead)
        case _:
            said = _going_on(run, steps, now)
    return said


def _succeeded(run: RunSummary) -> str:
    if run.documents[DocumentStatus.RENDERED]:
        return f"`pipeline files {wording.short(run.id)}` shows its documents, `pipeline who NAME` who got theirs"
    return f"nothing to do; `pipeline runs {run.schedule}` lists its runs"


def _again(run: RunSummary, steps: Sequence[StepDetail], ahead: Outlook) -> str:
    once_more = f"`{ahead.again}` runs it again for the same period"
    if any(step.status == StepStatus.FAILED for step in steps):
        trace = f"`pipeline show {wording.short(run.id)} --traceback`"
        return f"{trace} says where it failed; once that is mended, {once_more}"
    return once_more


def _again_for_some(run: RunSummary, ahead: Outlook) -> str:
    """Nobody who has theirs is to get it twice, and nobody somebody else's."""
    name = wording.short(run.id)
    moves = []
    if run.deliveries[DeliveryStatus.UNCERTAIN]:
        doubtful = f"`pipeline deliveries {name} --status uncertain`"
        moves.append(f"{doubtful} lists what the relay's log knows about; `pipeline resolve` settles it")
    if ahead.sendable:
        moves.append(f"once mended, `pipeline rerun {name} --failed-deliveries` tries again just what failed")
    if ahead.lost:
        moves.append(_made_anew(ahead))
    if not moves:
        return f"mend what names the recipients; `pipeline rerun {name} --from fetch` sends to those who are new then"
    return "; ".join(moves)


def _made_anew(ahead: Outlook) -> str:
    if not ahead.shared:
        keys = sorted({key for key, _ in ahead.lost})
        scope = " ".join(f"--key {shlex.quote(key)}" for key in keys[:FEW]) + (" …" if len(keys) > FEW else "")
        return f"once mended, `{ahead.base} {scope}` runs it for just what is missing"
    key, address = ahead.lost[0]
    one = f"`{ahead.base} --key {shlex.quote(key)} --to {shlex.quote(address)}`"
    others = ", and so for each of the others" if len(ahead.lost) > 1 else ""
    return f"once mended, {one} sends just that one{others}"


def _waiting(run: RunSummary, steps: Sequence[StepDetail], ahead: Outlook) -> str:
    if run.waiting_for == WaitingFor.DATA:
        looks = [step.next_try_at for step in steps if step.next_try_at]
        at = f" on {wording.moment(min(looks), run.zone)}" if looks else " by itself"
        return f"it looks again{at}; `pipeline proceed {wording.short(run.id)}` has it go on without waiting"
    if run.waiting_for == WaitingFor.SLOT:
        return f"other runs come first: `pipeline runs {run.schedule}` shows them"
    if run.waiting_for == WaitingFor.DEFERRED:
        at = f" on {wording.moment(ahead.next_try_at, run.zone)}" if ahead.next_try_at else ""
        return f"nothing to do: what was turned away is tried again by itself{at}"
    if run.waiting_for == WaitingFor.BLOCKED:
        return "mend what the error says; then `pipeline mail start` lets it go on, and `pipeline mail status` says how"
    if run.waiting_for == WaitingFor.APPROVAL:
        name = wording.short(run.id)
        ends = f"on {wording.moment(ahead.lapses_at, run.zone)}" if ahead.lapses_at else "at the schedule's next slot"
        return (
            f"`pipeline files {name}` shows its documents; `pipeline approve {name}` sends them, "
            f"`pipeline reject {name}` does not; without an answer it is rejected {ends}"
        )
    return f"it waits for {run.waiting_for}: `pipeline show {wording.short(run.id)}` again shows whether it has come"


def _going_on(run: RunSummary, steps: Sequence[StepDetail], now: datetime) -> str:
    queued = [step for step in steps if step.status == StepStatus.QUEUED and not (step.next_try_at or step.waits)]
    if any(step.published_at is None and step.queued_at and step.queued_at < now - MOMENT for step in queued):
        return "its message has not reached the broker yet: `pipeline up` starts one, `pipeline doctor` finds the fault"
    idle = not any(step.status == StepStatus.RUNNING for step in steps)
    if idle and any(step.published_at and step.published_at < now - SLOW for step in queued):
        return "no worker has taken it up yet: `pipeline up` starts one, `pipeline doctor` finds the fault"
    retried = [step for step in steps if step.status == StepStatus.QUEUED and step.next_try_at]
    if idle and retried:
        due, error = min((step.next_try_at, step.error or "") for step in retried if step.next_try_at)
        why = f"mend what it says ({error}), or wait" if error else "nothing to do"
        return f"{why}: it is tried again by itself on {wording.moment(due, run.zone)}"
    if idle and any(step.waits for step in steps):
        return "nothing to do: it goes on when there is a place for it; `pipeline pools` shows who has one"
    return f"it is on its way: `pipeline show {wording.short(run.id)}` again shows how far"
