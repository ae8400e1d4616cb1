"""Old rows go, a few at a time: finished runs with all that belongs to them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, delete, exists, false, func, inspect, or_, select, tuple_, update
from sqlalchemy.orm import Session

from pipeline.bulk import CHUNK
from pipeline.models import (
    FINAL_RUN,
    OPEN_DELIVERY,
    Approval,
    Attempt,
    Base,
    Delivery,
    DeliveryAttempt,
    DeliveryDocument,
    DeliveryStatus,
    Document,
    Notice,
    NoticeDelivery,
    Run,
    RunArtifact,
    RunEvent,
    RunStatus,
    Schedule,
    ScheduleRevision,
    Slot,
    Step,
    WithdrawnLink,
)
from pipeline.policies import Keep
from pipeline.services import totals

# Runs that are taken apart together.
RUNS = 50

Condition = Callable[[Sequence[UUID]], ColumnElement[bool]]


def _of_its_notices(runs: Sequence[UUID]) -> ColumnElement[bool]:
    return NoticeDelivery.notice_id.in_(select(Notice.id).where(Notice.run_id.in_(runs)))


# What belongs to a run, and must go before what it refers to. The steps go first of all: a run without steps cannot be
# rerun, so that nobody gets a report twice from a run whose deliveries are half forgotten.
STEPS: tuple[tuple[type[Base], Condition], ...] = (
    (Attempt, Attempt.run_id.in_),
    (Step, Step.run_id.in_),
)
# Then its deliveries, some with all that belongs to them and then the next: else what has gone from a million of them
# would be looked for again and again.
DELIVERIES: tuple[tuple[type[Base], Condition], ...] = (
    (DeliveryAttempt, DeliveryAttempt.delivery_id.in_),
    (DeliveryDocument, DeliveryDocument.delivery_id.in_),
    (Delivery, Delivery.id.in_),
)
THE_REST: tuple[tuple[type[Base], Condition], ...] = (
    (RunArtifact, RunArtifact.run_id.in_),
    (WithdrawnLink, WithdrawnLink.run_id.in_),
    (Document, Document.run_id.in_),
    (RunEvent, RunEvent.run_id.in_),
    (Approval, Approval.run_id.in_),
    (NoticeDelivery, _of_its_notices),
    (Notice, Notice.run_id.in_),
)


@dataclass(frozen=True)
class Rule:
    """Which runs go: those of one schedule, or of all but those in `others`; `before` (UTC) by their end.

    With `after_number` those that lie behind so many newer ones, too. Short rules are for frequent runs: where a
    schedule has a rule of its own, the last that succeeded stays, since the gate compares with it, and so do those with
    deliveries that a person has to settle, unless they ended before `unsettled_before` (UTC): who could tell by now?
    """

    before: datetime
    days: int
    schedule: str | None = None
    others: frozenset[str] = frozenset()
    after_number: int | None = None
    unsettled_before: datetime | None = None


def rules(session: Session, at: datetime, days: int) -> list[Rule]:
    """What goes at the instant `at`: after `days`, unless the newest revision of a schedule says another thing."""
    current = (ScheduleRevision.schedule_key == Schedule.key, ScheduleRevision.revision == Schedule.revision)
    keep = ScheduleRevision.definition["keep"].as_string()
    own_rules = select(Schedule.key, ScheduleRevision.definition).join(ScheduleRevision, and_(*current))
    before, found = at - timedelta(days=days), []
    for key, definition in session.execute(own_rules.where(keep.is_not(None))):
        said = Keep.model_validate(definition["keep"])
        own = said.days or days
        rule = Rule(at - timedelta(days=own), own, key, after_number=said.runs, unsettled_before=before)
        found.append(rule)
    others = frozenset(str(rule.schedule) for rule in found)
    return [Rule(before, days, others=others), *found]


def purge_runs(session: Session, rule: Rule, rows: int = CHUNK) -> Counter[str]:
    """Delete about `rows` rows of runs that the rule gives up; how many went, by table.

    Call it, each time in a transaction of its own, until it answers with nothing. Slots stay: what was decided about a
    due instant is still told when the run itself is forgotten. So do totals, see `totals`.
    """
    gone: Counter[str] = Counter()
    found = session.scalars(_expired(session, rule).limit(RUNS).with_for_update(skip_locked=True)).all()
    runs = {run.id: run for run in found}
    numbers = totals.Numbers()
    for table, condition in _belongings(session, list(runs), rows):
        went = _delete_some(session, table, condition, rows - gone.total())
        gone[table.__tablename__] += len(went)
        if table in COUNTED:
            for run_id, status in went:
                numbers.add(runs[run_id], table.__tablename__, status)
        if gone.total() >= rows:
            break
    if runs and gone.total() < rows:
        session.execute(update(Slot).where(Slot.run_id.in_(runs)).values(run_id=None))
        session.execute(delete(Run).where(Run.id.in_(runs)))
        for run in found:
            numbers.add(run, "runs", run.status)
        gone["runs"] += len(runs)
    totals.add(session, numbers)
    return +gone


def expired_count(session: Session, rule: Rule) -> tuple[int, datetime | None, datetime | None]:
    """How many runs the rule gives up, and when the oldest and the newest of them was due."""
    runs = _expired(session, rule).order_by(None).subquery()
    span = select(func.count(), func.min(runs.c.due_at), func.max(runs.c.due_at))
    count, oldest, newest = session.execute(span).one()
    return count, oldest, newest


def unsettled(session: Session, rule: Rule) -> Sequence[UUID]:
    """The runs that would go by the rule, and stay for deliveries that nobody has settled; the oldest first."""
    if rule.schedule is None:
        return []
    mine = select(Run.id).where(*_given_up(session, rule), _unsettled(rule))
    return session.scalars(mine.order_by(Run.created_at)).all()


def _expired(session: Session, rule: Rule) -> Select[Run]:
    """The runs to be purged, the oldest first; locked, none of them is reopened meanwhile."""
    over = select(Run).where(Run.status.in_(FINAL_RUN)).order_by(Run.created_at)
    if rule.schedule is None:
        return over.where(_old(rule), Run.schedule_key.not_in(rule.others))
    return over.where(*_given_up(session, rule), ~_unsettled(rule))


def _old(rule: Rule) -> ColumnElement[bool]:
    # A run cannot have finished before it was created, and that column has an index.
    return and_(Run.created_at < rule.before, Run.finished_at < rule.before)


def _given_up(session: Session, rule: Rule) -> Sequence[ColumnElement[bool]]:
    """Which runs a schedule's own rule is about."""
    of_it = (Run.schedule_key == rule.schedule, Run.status.in_(FINAL_RUN), Run.waiting_for.is_(None))
    newest = select(Run.id, Run.created_at).where(*of_it).order_by(Run.created_at.desc(), Run.id.desc())
    succeeded = session.scalar(newest.where(Run.status == RunStatus.SUCCEEDED).with_only_columns(Run.id).limit(1))
    last = session.execute(newest.offset(rule.after_number - 1).limit(1)).one_or_none() if rule.after_number else None
    beyond: ColumnElement[bool] = false()
    if last is not None:
        # Of two that were opened in one instant, the ids say which is the older one.
        beyond = or_(Run.created_at < last.created_at, and_(Run.created_at == last.created_at, Run.id < last.id))
    return *of_it, or_(_old(rule), beyond), Run.id.is_distinct_from(succeeded)


def _unsettled(rule: Rule) -> ColumnElement[bool]:
    """Whether a run has deliveries of which nobody can say, or that are not made, and it is not too old for that."""
    open_ = (DeliveryStatus.UNCERTAIN, *OPEN_DELIVERY)
    mine = exists().where(Delivery.run_id == Run.id, Delivery.status.in_(open_))
    return and_(mine, Run.finished_at >= rule.unsettled_before)


def _belongings(session: Session, runs: Sequence[UUID], rows: int) -> Iterator[tuple[type[Base], ColumnElement[bool]]]:
    """Of which table what has to go next, once all has gone that was named before."""
    if not runs:
        return
    yield from ((table, condition(runs)) for table, condition in STEPS)
    while some := _some_deliveries(session, runs, rows):
        yield from ((table, condition(some)) for table, condition in DELIVERIES)
    yield from ((table, condition(runs)) for table, condition in THE_REST)


def _some_deliveries(session: Session, runs: Sequence[UUID], most: int) -> Sequence[UUID]:
    """At most so many that were planned, and those that repeat them, which refer to them."""
    planned = select(Delivery.id).where(Delivery.run_id.in_(runs), Delivery.repeat == 0).limit(most)
    ids = session.scalars(planned).all()
    return [*ids, *session.scalars(select(Delivery.id).where(Delivery.repeat_of.in_(ids)))]


# Whose rows are counted when they go: by what they say about how it went.
COUNTED = (Document, Delivery)


def _delete_some(session: Session, table: type[Base], condition: ColumnElement[bool], most: int) -> Sequence[Any]:
    """The rows that went, at most so many: of what is counted by run and status, else by their keys."""
    key = inspect(table).primary_key
    said = (table.__table__.c.run_id, table.__table__.c.status) if table in COUNTED else key
    chosen = select(*key).where(condition).limit(most)
    going: ColumnElement[bool] = tuple_(*key).in_(chosen)
    if table is Delivery:
        # With those that repeat it, which refer to it.
        ids = session.scalars(chosen).all()
        going = or_(Delivery.id.in_(ids), Delivery.repeat_of.in_(ids))
    return session.connection().execute(delete(table).where(going).returning(*said)).all()


def purge_notices(session: Session, before: datetime, rows: int = CHUNK) -> Counter[str]:
    """Delete up to `rows` notices of no run that were made before `before` (UTC), with where they went; see above."""
    old = select(Notice.id).where(Notice.created_at < before, Notice.run_id.is_(None)).order_by(Notice.created_at)
    ids = session.scalars(old.limit(rows)).all()
    session.execute(delete(NoticeDelivery).where(NoticeDelivery.notice_id.in_(ids)))
    session.execute(delete(Notice).where(Notice.id.in_(ids)))
    return +Counter(notices=len(ids))
