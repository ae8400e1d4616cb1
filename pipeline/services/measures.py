"""A run in numbers, as `require` limits them, and the run that they are compared with."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from pipeline.models import Channel, Delivery, DeliveryDocument, Run, RunStatus, Step, StepStatus
from pipeline.requirements import Last
from pipeline.services import documents
from pipeline.services.answers import wording

# How far back a run to compare with is looked for: behind trials for a few keys or readers.
LOOK_BACK = 50


def numbers(session: Session, run: Run) -> dict[str, int]:
    """How many rows each source gave (`rows`: the first, `rows.NAME`: each), documents there are, recipients they have.

    A recipient is an address with a document: somebody who gets three counts three times, whether in one message or
    not, so that a join gone wrong shows however it does.
    """
    found = {f"rows.{name}": count for name, count in _rows(session, run).items()}
    main = next(iter((run.definition.get("report") or {}).get("sources") or {"rows": None}))
    if f"rows.{main}" in found:
        found["rows"] = found[f"rows.{main}"]
    found["documents"] = documents.wanted_count(session, run.id)
    found["recipients"] = _recipients(session, run)
    return found


def _rows(session: Session, run: Run) -> dict[str, int]:
    fetches = (Step.run_id == run.id, Step.task == "report.fetch", Step.status == StepStatus.SUCCEEDED)
    steps = session.execute(select(Step.args, Step.result).where(*fetches)).all()
    return {args[0]: result["rows"] for args, result in steps if isinstance(result, dict) and "rows" in result}


def _recipients(session: Session, run: Run) -> int:
    mail = (Delivery.run_id == run.id, Delivery.channel == Channel.EMAIL, Delivery.repeat == 0)
    single = select(func.count()).select_from(Delivery).where(*mail, Delivery.document_id.is_not(None))
    carried = select(func.count()).select_from(DeliveryDocument).join(Delivery).where(*mail)
    return (session.scalar(single) or 0) + (session.scalar(carried) or 0)


def last(session: Session, run: Run) -> Last | None:
    """The last run of the schedule before this one that succeeded, for all keys and recipients; None: there is none."""
    before = (Run.schedule_key == run.schedule_key, Run.status == RunStatus.SUCCEEDED, Run.id != run.id)
    rows = select(Run).where(*before, Run.created_at <= run.created_at).order_by(Run.created_at.desc())
    for one in session.scalars(rows.limit(LOOK_BACK)):
        if not is_narrowed(one) and _rows(session, one):  # retention takes the steps first
            return Last(wording.short(one.id), one.period["label"], numbers(session, one))
    return None


def is_narrowed(run: Run) -> bool:
    """Whether somebody triggered it for a few keys or other readers: it says nothing about all of them."""
    return bool(run.scope.get("keys") or run.scope.get("to"))
