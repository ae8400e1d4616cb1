"""What to do or type next, in one sentence, from how a run stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import func, select
from sqlalchemy.orm import Session, load_only

from pipeline.models import (
    Approval,
    Delivery,
    DeliveryStatus,
    DocumentStatus,
    Run,
    RunStatus,
    Step,
    StepStatus,
    WaitingFor,
)
from pipeline.services import beginning, shares, thawing
from pipeline.services.answers import wording

if TYPE_CHECKING:
    from pipeline.services.answers.detail import StepDetail
    from pipeline.services.answers.summary import RunSummary

# A message that no worker took for so long: either none runs, or all are busy.
SLOW = timedelta(seconds=15)
# Between a step's row and its message passes a moment even when all is well.
MOMENT = timedelta(seconds=3)
# Runs that a rerun may mend.
ENDED_BADLY = frozenset({RunStatus.PARTIAL, RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.REJECTED})
NEWEST = "with --newest-definition if its file, query or templates were changed"
LOST = (DeliveryStatus.FAILED, DeliveryStatus.EXPIRED)


@dataclass(frozen=True)
class Outlook:
    """What a rerun would do: go on with what was `left`; try the `sendable` again, which were tried in vain."""

    left: bool
    sendable: int
    next_try_at: datetime | None
    # When the approval that it waits for lapses; without one, at the next slot.
    lapses_at: datetime | None = None


def outlook(session: Session, run: Run) -> Outlook:
    """Read what `next_move` needs to know beyond the run's summary."""
    deferred = select(func.min(Delivery.not_before))
    deferred = deferred.where(Delivery.run_id == run.id, Delivery.status == DeliveryStatus.DEFERRED)
    asked = (Approval.run_id == run.id, Approval.generation == run.generation)
    over = run.status in ENDED_BADLY
    return Outlook(
        over and _left(session, run),
        thawing.count(session, run, LOST) if over else 0,
        session.scalar(deferred),
        session.scalar(select(Approval.lapses_at).where(*asked)),
    )


def _left(session: Session, run: Run) -> bool:
    """Whether there are steps, documents or deliveries that a plain rerun begins with."""
    columns = (Step.stage, Step.generation, Step.status, Step.task, Step.args, Step.canvas, Step.tolerated)
    mine = select(Step).where(Step.run_id == run.id).options(load_only(*columns))
    steps = session.scalars(mine.order_by(Step.stage, Step.ordinal)).all()
    begin = beginning.failed(beginning.current(steps), thawing.batches_to_render(session, run))
    return begin is not None or bool(thawing.count(session, run, (DeliveryStatus.CANCELLED,)))


def next_move(run: RunSummary, steps: Sequence[StepDetail], ahead: Outlook, now: datetime) -> str:
    """One sentence with the command to type, or that there is nothing to do."""
    match run.status:
        case RunStatus.SUCCEEDED:
            said = _succeeded(run)
        case status if status in ENDED_BADLY:
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
    """The same run, reopened: nobody who has theirs, or may have, gets it twice."""
    name = wording.short(run.id)
    moves = _doubtful(run)
    if any(step.status == StepStatus.FAILED for step in steps):
        moves.append(f"`pipeline show {name} --traceback` says where it failed")
        moves.append(f"once that is mended, `pipeline rerun {name}` does it again, {NEWEST}")
    elif ahead.left and run.documents[DocumentStatus.FAILED]:
        moves.append(f"once mended, `pipeline rerun {name}` makes just what is missing, {NEWEST}")
    elif ahead.left:
        moves.append(f"`pipeline rerun {name}` goes on where it stopped; nobody gets anything twice")
    elif ahead.sendable:
        moves.append(f"once mended, `pipeline rerun {name} --failed-deliveries` tries again just what failed")
    if run.waiting_for == WaitingFor.DEFERRED:
        moves.append(_by_itself(run, ahead))
    if not moves:
        return f"mend what names the recipients; `pipeline rerun {name} --from fetch` sends to those who are new then"
    return "; ".join(moves)


def _doubtful(run: RunSummary) -> list[str]:
    if not run.deliveries[DeliveryStatus.UNCERTAIN]:
        return []
    name = wording.short(run.id)
    listed = f"`pipeline deliveries {name} --status uncertain` lists what the relay's log knows about"
    return [f"{listed}; `pipeline resolve {name}` settles it"]


def _by_itself(run: RunSummary, ahead: Outlook) -> str:
    at = f" on {wording.moment(ahead.next_try_at, run.zone)}" if ahead.next_try_at else ""
    return f"what was turned away is tried again by itself{at}"


def _waiting(run: RunSummary, steps: Sequence[StepDetail], ahead: Outlook) -> str:
    if run.waiting_for == WaitingFor.DATA:
        looks = [step.next_try_at for step in steps if step.next_try_at]
        at = f" on {wording.moment(min(looks), run.zone)}" if looks else " by itself"
        return f"it looks again{at}; `pipeline proceed {wording.short(run.id)}` has it go on without waiting"
    if run.waiting_for == WaitingFor.SLOT:
        return f"other runs come first: `pipeline runs {run.schedule}` shows them"
    if run.waiting_for == WaitingFor.DEFERRED:
        doubtful = _doubtful(run)
        return (
            "; ".join([*doubtful, _by_itself(run, ahead)]) if doubtful else f"nothing to do: {_by_itself(run, ahead)}"
        )
    if run.waiting_for == WaitingFor.BLOCKED:
        return "mend what the error says; then `pipeline mail start` lets it go on, and `pipeline mail status` says how"
    if run.waiting_for == WaitingFor.APPROVAL:
        name = wording.short(run.id)
        ends = f"on {wording.moment(ahead.lapses_at, run.zone)}" if ahead.lapses_at else "at the schedule's next slot"
        return (
            f"`pipeline files {name}` shows its documents; `pipeline approve {name}` sends them, "
            f"`pipeline reject {name}` does not; without an answer it is rejected {ends}"
        )
    return f"it waits for {run.waiting_for}: `pipeline show {wording.short(run.id)}` shows whether it has come"


def _going_on(run: RunSummary, steps: Sequence[StepDetail], now: datetime) -> str:
    queued = [step for step in steps if step.status == StepStatus.QUEUED and not (step.next_try_at or step.waits)]
    if any(step.published_at is None and step.queued_at and step.queued_at < now - MOMENT for step in queued):
        return "its message has not reached the broker yet: `pipeline up` starts one, `pipeline doctor` finds the fault"
    idle = not any(step.status == StepStatus.RUNNING for step in steps)
    # When it was sent says less: beat puts down there, again and again, that it lies in its queue still.
    if idle and any(step.published_at and step.queued_at and step.queued_at < now - SLOW for step in queued):
        return "no worker has taken it up yet: `pipeline up` starts one, `pipeline doctor` finds the fault"
    retried = [step for step in steps if step.status == StepStatus.QUEUED and step.next_try_at]
    if idle and retried:
        due, error = min((step.next_try_at, step.error or "") for step in retried if step.next_try_at)
        why = f"mend what it says ({error}), or wait" if error else "nothing to do"
        if error.startswith(shares.ITS_TURN):
            return f"nothing to do: it {error}; it goes on by itself on {wording.moment(due, run.zone)}"
        return f"{why}: it is tried again by itself on {wording.moment(due, run.zone)}"
    if idle and any(step.waits for step in steps):
        return "nothing to do: it goes on when there is a place for it; `pipeline pools` shows who has one"
    return f"it is on its way: `pipeline show {wording.short(run.id)}` shows how far"
