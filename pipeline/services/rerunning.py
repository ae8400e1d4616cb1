"""The same run once more, as its next generation: what went wrong is done again, what went out stays as it was sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from pipeline.db import clock
from pipeline.errors import Refused
from pipeline.mistakes import did_you_mean
from pipeline.models import FINAL_STEP, DeliveryStatus, Run, RunStatus, Step, Trigger, WaitingFor
from pipeline.services import audit, beginning, canvases, repeating, runs, thawing
from pipeline.services.answers import wording
from pipeline.services.audit import Actor

PLAN, RENDER, GATE, DELIVER = "report.plan", "report.render", "report.gate", "report.deliver"
LOST = (DeliveryStatus.FAILED, DeliveryStatus.EXPIRED)
# Which steps an event names; of more it has the number.
NAMED = 5


@dataclass(frozen=True)
class Wish:
    """What is to be done again; of nothing said: what failed."""

    # A step's name, or its kind: `render` is all of `render:0`, `render:1` …
    begin: str | None = None
    everything: bool = False
    # As the schedule says today, and not as it did when the run was opened.
    newest: bool = False
    # Only those messages and files that could not be delivered.
    failed_deliveries: bool = False
    # Addresses that had theirs, and are to get it once more.
    force: Sequence[str] = ()
    reason: str | None = None
    # The generation that whoever asks has seen: the same wish twice is one rerun.
    generation: int | None = None

    def __post_init__(self) -> None:
        if isinstance(self.force, str):  # one address, from whoever sends a task
            object.__setattr__(self, "force", (self.force,))


def rerun(session: Session, run_id: UUID, actor: Actor, wish: Wish) -> tuple[Run, bool]:
    """Reopen a run that has ended, as its next generation; the run, and whether this did it.

    Not if the wish names the generation before the one that is there: somebody, or the same wish, was faster. Raises
    Refused, with what is in the way, while it is active, or when there is nothing to be done again.
    """
    run = runs.lock_to_close(session, run_id)
    if wish.generation is not None and run.generation == wish.generation + 1:
        return run, False
    steps = list(session.scalars(select(Step).where(Step.run_id == run.id).order_by(Step.stage, Step.ordinal)))
    _check(session, run, steps, wish)
    same_data = beginning.take_newest(session, run) if wish.newest else True
    begin = _begin(session, run, steps, wish, same_data=same_data)
    late = () if begin else _late(session, run, wish)
    before, run.generation = run.status, run.generation + 1
    run.error = run.waiting_for = run.finished_at = run.started_at = None
    run.not_before = run.start_by = run.finish_by = run.stop_at = None
    if begin:
        run.status = RunStatus.QUEUED
        _thaw(session, run, begin, wish)
        canvases.repeat(session, run, begin.again, begin.later, clock(session))
        said = _names(begin.again)
    else:
        run.status, run.waiting_for, run.started_at = RunStatus.WAITING, WaitingFor.DEFERRED, clock(session)
        count = thawing.deliver_again(session, run, late) if late else 0
        those = "1 delivery that was" if count == 1 else f"{count} deliveries that were"
        said = f"{those} not made" if count else "what somebody is to get once more"
    forced = repeating.again(session, actor, run, wish.force, wish.reason)
    session.flush()
    asked = f", asks {actor}{f': {wish.reason}' if wish.reason else ''}"
    runs.note(
        session, run.id, "rerun", f"it had ended as {before}; generation {run.generation} does again: {said}{asked}"
    )
    audit.record(
        session, actor, "rerun", "run", run.id, schedule=run.schedule_key, reason=wish.reason, again=said,
        generation=run.generation, revision=run.revision if wish.newest else None,
        once_more=[str(one.id) for one in forced],
    )  # fmt: skip
    return run, True


def _check(session: Session, run: Run, steps: Sequence[Step], wish: Wish) -> None:
    """Raises Refused for what cannot be rerun now."""
    if wish.generation is not None and wish.generation != run.generation:
        raise Refused(f"run {run.id} is at generation {run.generation}, not {wish.generation}: look at it again")
    if sum((wish.begin is not None, wish.everything, wish.failed_deliveries)) > 1:
        raise Refused("--from, --all and --failed-deliveries exclude each other: say one of them", field="all")
    if wish.failed_deliveries and wish.newest:
        said = "--failed-deliveries sends what is rendered: --newest-definition has no part in it"
        raise Refused(said, field="newest_definition")
    if not runs.is_over(run):
        late = run.waiting_for == WaitingFor.DEFERRED
        doing = "waiting for deliveries that were turned away for now" if late else _doing(run)
        since = runs.last_event(session, run.id, "rerun")
        again = f", reopened on {wording.moment(since.at, run.zone)} ({since.text})" if since else ""
        raise Refused(f"run {run.id} is {doing}{again}: wait for its end, or `pipeline cancel {run.id}` first")
    if not steps:
        raise Refused(f"run {run.id} is so old that its steps are purged: open a new one about the same period")
    busy = [one.name for one in steps if one.status not in FINAL_STEP]
    if busy:
        raise Refused(
            f"run {run.id} has ended, but its step {busy[0]} is still at work: try again when that has stopped"
        )
    if run.trigger != Trigger.BACKFILL:
        runs.refuse_a_second(session, run)


def _doing(run: Run) -> str:
    return f"waiting for {run.waiting_for}" if run.waiting_for else run.status


# ---- where it begins


def _begin(
    session: Session, run: Run, steps: Sequence[Step], wish: Wish, *, same_data: bool
) -> beginning.Beginning | None:
    """Which steps are queued; None where it is deliveries alone. Raises Refused where nothing fits."""
    current = beginning.current(steps)
    if wish.failed_deliveries:
        if not any(one.task == DELIVER for one in current):
            raise Refused(f"run {run.id} has not come to deliver anything: --failed does again what went wrong before")
        return None
    if wish.newest and wish.begin is None:
        return _newest(current, wish, same_data=same_data)
    if wish.everything:
        return beginning.whole_stage(current, current[0].stage)
    if wish.begin is not None:
        found = _named(run, current, wish.begin)
        if wish.newest and found.stage > next((one.stage for one in current if one.task == PLAN), 0):
            raise Refused(f'the newest definition is read before "{wish.begin}": leave --from out, or rerun from plan')
        return found
    return beginning.failed(current, thawing.batches_to_render(session, run)) if _went_wrong(run) else None


def _went_wrong(run: Run) -> bool:
    return run.status not in {RunStatus.SUCCEEDED, RunStatus.SKIPPED}


def _newest(current: Sequence[Step], wish: Wish, *, same_data: bool) -> beginning.Beginning:
    """With the same sources their data is kept, and only what is made of it is done again."""
    plan = next((one for one in current if one.task == PLAN), None)
    keeps = same_data and not wish.everything and plan is not None
    if plan is None or not keeps or beginning.unfinished_before(current, plan.stage):
        return beginning.whole_stage(current, current[0].stage)
    return beginning.whole_stage(current, plan.stage)


def _named(run: Run, current: Sequence[Step], name: str) -> beginning.Beginning:
    exact = [one for one in current if one.name == name]
    found = exact or [one for one in current if one.kind == name]
    if not found:
        known = dict.fromkeys([*(one.kind for one in current), *(one.name for one in current)])
        kinds = ", ".join(dict.fromkeys(one.kind for one in current))
        hint = did_you_mean(name, known, f"its steps are {kinds}")
        raise Refused(f'run {run.id} has no step "{name}": {hint}', field="from")
    stage = found[0].stage
    blocker = beginning.unfinished_before(current, stage)
    if blocker:
        raise Refused(
            f'"{name}" comes after {blocker.name}, which is {blocker.status}: --from {blocker.kind}, or --failed'
        )
    return beginning.part_of_stage(current, stage, {one.id for one in found})


# ---- what is done again of documents and deliveries


def _thaw(session: Session, run: Run, begin: beginning.Beginning, wish: Wish) -> None:
    if run.workflow != "report":
        return
    tasks = {one.task for one in (*begin.again, *begin.later)}
    first = begin.again[0].task
    batches = [one.args[0] for one in begin.again if one.task in {RENDER, DELIVER}]
    if first == RENDER:
        thawing.render_again(session, run, batches, only_failed=wish.begin is None)
        thawing.plan_to_send(session, run)
    elif first == GATE:
        thawing.plan_to_send(session, run)
    elif first == DELIVER:
        thawing.queue_to_send(session, run, batches)
    elif PLAN in tasks or first in {runs.START_TASK, runs.READY_TASK}:
        thawing.plan_again(session, run)


def _late(session: Session, run: Run, wish: Wish) -> tuple[DeliveryStatus, ...]:
    """Deliveries of which statuses are made again. Raises Refused where there are none, nor anybody by force."""
    of = LOST if wish.failed_deliveries else (DeliveryStatus.CANCELLED,)
    if thawing.count(session, run, of):
        return of
    if wish.force:
        return ()
    if wish.failed_deliveries:
        raise Refused(f"no delivery of run {run.id} has failed that could be made again")
    many = lost(session, run)
    hint = f"; {many} of its deliveries could not be made: --failed-deliveries tries them again" if many else ""
    raise Refused(
        f"nothing of run {run.id} has failed ({run.status}){hint or ': --from STEP or --all does again what went well'}"
    )


def lost(session: Session, run: Run) -> int:
    """How many deliveries could not be made and could be tried again: they have an address and a document."""
    return thawing.count(session, run, LOST)


def _names(again: Sequence[Step]) -> str:
    names = [one.name for one in again[:NAMED]]
    more = len(again) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "") + ", and what follows"
