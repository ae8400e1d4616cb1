"""A run's deliveries, page by page, what somebody has to look at first; also where there are a hundred thousand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, func, literal, or_, select, tuple_
from sqlalchemy.orm import Session

from pipeline.models import Delivery, DeliveryStatus, Run
from pipeline.services.answers import marks
from pipeline.services.answers.deliveries import DeliveryDetail, carrying, checked_status, detail, histories
from pipeline.services.answers.detail import WORST_FIRST

# Every status, what somebody has to look at first.
ORDER = (*WORST_FIRST, *(status for status in DeliveryStatus if status not in WORST_FIRST))


@dataclass(frozen=True)
class DeliveryFilter:
    """Which deliveries of a run; what is left out does not matter. `text` is a part of an address or a key."""

    statuses: Sequence[str] = ()
    keys: Sequence[str] = ()
    text: str | None = None


@dataclass(frozen=True)
class DeliveryPage:
    """Some deliveries; `counts` are of all in the run that fit, whatever their status; `next` as in `RunPage`."""

    run_id: UUID
    schedule: str
    zone: str
    counts: dict[str, int]
    deliveries: list[DeliveryDetail]
    next: str | None


def delivery_page(
    session: Session,
    run: Run,
    wanted: DeliveryFilter,
    *,
    limit: int = 50,
    after: str | None = None,
    history: bool = False,
    counts: Mapping[str, int] | None = None,
) -> DeliveryPage:
    """The run's deliveries that fit, from the mark `after` on: by status, key and address.

    `counts` are those of all the run's deliveries, if the caller has just counted them. Raises Refused for a status or
    mark that is none.
    """
    fits = _fitting(run, wanted)
    counted = {status: count for status, count in (counts or {}).items() if count}
    if counts is None or wanted.keys or wanted.text:
        by_status = select(Delivery.status, func.count()).where(*fits).group_by(Delivery.status)
        counted = dict(session.execute(by_status).all())
    found = _found(session, fits, [one for one in _statuses(wanted) if one in counted], limit + 1, after)
    shown, more = found[:limit], len(found) > limit
    known = histories(session, [row.id for row in shown]) if history else {}
    return DeliveryPage(
        run_id=run.id,
        schedule=run.schedule_key,
        zone=run.zone,
        counts=counted,
        deliveries=[detail(row, known.get(row.id, []) if history else None) for row in shown],
        next=marks.mark(shown[-1].status, *_position(shown[-1])) if more else None,
    )


def _found(
    session: Session, fits: Sequence[ColumnElement[bool]], statuses: Sequence[str], limit: int, after: str | None
) -> list[Delivery]:
    """Status by status, each in the order of its index: a sort of all of them would take a hundred times as long."""
    columns: tuple[Any, ...] = (Delivery.key, Delivery.address, Delivery.repeat, Delivery.id)
    behind = None
    if after is not None:
        status, *position = marks.place(after, str, str, str, int, UUID)
        statuses = [one for one in statuses if ORDER.index(_known(one)) >= ORDER.index(_known(status))]
        values = [literal(value, column.type) for value, column in zip(position, columns, strict=True)]
        behind = (status, tuple_(*columns) > tuple_(*values))
    found: list[Delivery] = []
    for status in statuses:
        rows = select(Delivery).where(*fits, Delivery.status == status).order_by(*columns)
        if behind is not None and behind[0] == status:
            rows = rows.where(behind[1])
        found += session.scalars(rows.limit(limit - len(found)))
        if len(found) == limit:
            break
    return found


def _fitting(run: Run, wanted: DeliveryFilter) -> list[ColumnElement[bool]]:
    fits: list[ColumnElement[bool]] = [Delivery.run_id == run.id]
    if wanted.keys:
        fits.append(carrying(wanted.keys))
    if wanted.text:
        columns = (Delivery.address, Delivery.key)
        fits.append(or_(*(column.icontains(wanted.text, autoescape=True) for column in columns)))
    return fits


def _statuses(wanted: DeliveryFilter) -> list[str]:
    asked = {checked_status(one) for one in wanted.statuses}
    return [status for status in ORDER if not asked or status in asked]


def _known(status: str) -> DeliveryStatus:
    if status not in set(DeliveryStatus):
        raise marks.wrong()
    return DeliveryStatus(status)


def _position(row: Delivery) -> tuple[str, str, int, UUID]:
    return row.key, row.address, row.repeat, row.id
