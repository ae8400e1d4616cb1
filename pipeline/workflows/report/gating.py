"""The gate between documents and people: whether enough is well, whether it matters, and whether somebody agrees."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy.orm import Session

from pipeline import requirements
from pipeline.adapters.secret_keys import secret_keys
from pipeline.db import clock, reading, transaction
from pipeline.errors import ApprovalWanted, PermanentError, Skip
from pipeline.failpoints import failpoint
from pipeline.handle import RunHandle
from pipeline.models import Document, DocumentStatus, Run
from pipeline.requirements import Judged, Last
from pipeline.services import approvals, artifacts, deliveries, documents, links, measures, runs, steps
from pipeline.services.answers import wording
from pipeline.settings import settings
from pipeline.timing import parse_duration
from pipeline.workflows.report.planning import report_of
from pipeline.workflows.report.rendering import readable

# An answer wakes the step at once; that it looks by itself heals what was lost.
LOOK = 86400.0
# Batches whose deliveries are let out at a time: a few thousand messages, and fractions of a second.
PART = 10


def pass_(run: RunHandle) -> list[int]:
    """Let the deliveries out: the batches that hold one, in order.

    Raises PermanentError where too many documents failed, Skip where none matters (`send_if`), and ApprovalWanted where
    a person has to agree first, to what is required in vain or to all of it.
    """
    with transaction() as session:
        documents.fail_unrendered(session, run.id)
        counts, first = documents.counts(session, run.id), documents.first_error(session, run.id)
        total = documents.wanted_count(session, run.id)
    _check_share(run, counts.get(DocumentStatus.FAILED, 0), total, first)
    _check_condition(run, counts)
    remarks = _check_requirements(run) if run.scope["send"] else []
    _by_parts(run, lambda session, some: deliveries.release_to_send(session, run.id, some, send=run.scope["send"]))
    with transaction() as session:
        for remark in remarks:
            runs.note(session, run.id, "gate", remark)
        return deliveries.batches(session, run.id)


def _by_parts(run: RunHandle, write: Callable[[Session, Sequence[int]], None]) -> None:
    """Write to the run's open deliveries, some batches a transaction: other writers have their turn in between.

    A gate that takes over from one that died finds what is left.
    """
    with reading() as session:
        numbers = deliveries.batches(session, run.id)
    for at in range(0, len(numbers), PART):
        run.alive()
        with transaction() as session:
            steps.renew(session, run.claim)
            write(session, numbers[at : at + PART])
        failpoint("gate.part")


def _check_share(run: RunHandle, failed: int, total: int, first: str | None) -> None:
    allowed = run.definition.allow_failed
    if failed and (failed > allowed * total or failed == total):
        raise PermanentError(
            f"{failed} of {total} documents failed, more than allow_failed {allowed:.0%}: nothing was sent. "
            f"The first: {first}"
        )


def _check_condition(run: RunHandle, counts: dict[str, int]) -> None:
    """What does not matter is not sent; a run of which nothing does is skipped."""
    if run.definition.send_if is None or not run.scope["send"]:
        return
    reason = f"not sent: send_if {run.definition.send_if} does not hold"
    _by_parts(run, lambda session, some: deliveries.withhold(session, run.id, some, reason))
    with reading() as session:
        why, total = documents.first_unwanted(session, run.id), documents.wanted_count(session, run.id)
    if why and not counts.get(DocumentStatus.RENDERED) and not counts.get(DocumentStatus.FAILED):
        others = f" (the first of {total:,} documents, none of which matters)" if total > 1 else ""
        raise Skip(f"{why}{others}")


def _check_requirements(run: RunHandle) -> list[str]:
    """What is to be remarked on the way. Raises ApprovalWanted where a person has to agree, and has not."""
    with reading() as session:
        row = session.get_one(Run, run.id)
        if approvals.is_approved(session, row):
            return []
        now, last = measures.numbers(session, row), measures.last(session, row)
        narrowed = measures.is_narrowed(row)
    judged = _judged(run, now, last, narrowed=narrowed)
    reasons = list(judged.unmet)
    if run.definition.approval == "required":
        reasons.append("every run of it is approved first (approval: required)")
    remarks = [f"not compared, since no run has succeeded before: require {one}" for one in judged.uncompared]
    if reasons:
        raise ApprovalWanted("; ".join([*reasons, *remarks]), again_in=LOOK, facts=_facts(run, now, last))
    return remarks


def _judged(run: RunHandle, now: dict[str, int], last: Last | None, *, narrowed: bool) -> Judged:
    """A few keys or readers are no less than was asked for: of them only the sources' rows are judged."""
    seen = {name: count for name, count in now.items() if not narrowed or name.startswith("rows")}
    return requirements.judge(run.definition.require, seen, last)


# ---- what a person is told


def _facts(run: RunHandle, now: dict[str, int], last: Last | None) -> dict[str, Any]:
    with reading() as session:
        samples = [_sample(session, run, document) for document in documents.samples(session, run.id)]
    before = f"{last.period}: {requirements.listed(last.numbers)}" if last else None
    return {"counts": requirements.listed(now), "before": before, "samples": samples}


def _sample(session: Session, run: RunHandle, document: Document) -> dict[str, Any]:
    """One document, and where it can be read: a signed link, a file on this machine, or a command."""
    kinds = artifacts.of_documents(session, [document.id]).get(document.id, {})
    # Best what a browser shows.
    kind = next((one for one in ("pdf", "html", *report_of(run.definition).formats) if one in kinds), "pdf")
    delivery = documents.a_delivery_of(session, document)
    if settings().public_url and delivery is not None:
        ends = clock(session) + parse_duration(run.definition.message.link_for)
        token = links.document_token(secret_keys(settings()), delivery, document.id, kind, ends)
        where = f"{settings().public_url}/d/{token}"
    elif (path := readable(run, document.key, kind)).is_file():
        where = str(path)
    else:
        where = f"pipeline files {wording.short(run.id)} --key {shlex.quote(document.key)} --copy ."
    return {"key": document.key, "rows": document.rows, "pages": document.pages, "where": where}
