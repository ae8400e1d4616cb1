"""The built-in workflow: fetch the sources, plan the documents, render them, pass the gate, deliver, finish."""

from __future__ import annotations

from celery import chain, chord, group
from celery.canvas import Signature

from pipeline.db import transaction
from pipeline.errors import PermanentError
from pipeline.handle import RunHandle
from pipeline.models import DeliveryStatus, DocumentStatus, RunStatus, WaitingFor
from pipeline.schedule import RETRIES
from pipeline.services import deliveries, documents
from pipeline.services.runs import Verdict
from pipeline.tasks import step, workflow
from pipeline.workflows.report import planning, rendering, sending


@workflow
def report(run: RunHandle) -> Signature:
    """One fetch a source, the recipients' query being one of them, then the plan."""
    names = planning.source_names(run.definition)
    return chain(group([fetch.si(name) for name in names]), plan.si())


@step(retry=RETRIES["fetch"])
def fetch(run: RunHandle, source: str) -> dict[str, object]:
    """Stream one source into a dataset; a later try of the same step starts it again."""
    return planning.fetch(run, source)


@step(retry=RETRIES["plan"])
def plan(run: RunHandle) -> Signature:
    """Freeze documents, recipients and deliveries as rows, and the templates as a bundle."""
    batches = planning.freeze(run)
    if not batches:
        return gate.si()
    return chord([render.si(number) for number in batches], gate.si())


@step(queue="render", retry=RETRIES["render"], tolerated=True)
def render(run: RunHandle, batch: int) -> None:
    """Render a batch of documents; one that cannot be rendered fails alone, with its reason."""
    rendering.render_batch(run, batch)


@step(retry=RETRIES["plan"])
def gate(run: RunHandle) -> Signature:
    """Let the deliveries out, if enough documents came out well; else nothing at all is sent."""
    with transaction() as session:
        documents.fail_unrendered(session, run.id)
        counts, first = documents.counts(session, run.id), documents.first_error(session, run.id)
    _check_share(run, counts, first)
    with transaction() as session:
        if not run.scope["send"]:
            deliveries.close_open(session, run.id, DeliveryStatus.SKIPPED, "triggered with --no-send")
        deliveries.release_to_send(session, run.id)
        batches = deliveries.batches(session, run.id)
    if not batches:
        return finish.si()
    return chord([deliver.si(number) for number in batches], finish.si())


def _check_share(run: RunHandle, counts: dict[str, int], first: str | None) -> None:
    failed, rendered = counts.get(DocumentStatus.FAILED, 0), counts.get(DocumentStatus.RENDERED, 0)
    if not failed:
        return
    share, allowed = failed / (failed + rendered), run.definition.allow_failed
    if share > allowed or not rendered:
        raise PermanentError(
            f"{failed} of {failed + rendered} documents failed, more than allow_failed {allowed:.0%}: "
            f"nothing was sent. The first: {first}"
        )


@step(queue="deliver", retry=RETRIES["deliver"], tolerated=True)
def deliver(run: RunHandle, batch: int) -> None:
    """Hand over a batch of deliveries; what a server turns away is a row, not an error."""
    sending.send_batch(run, batch)


@step(retry=RETRIES["plan"])
def finish(run: RunHandle) -> Verdict:
    """Count in SQL how it went; runs again when late deliveries settle."""
    with transaction() as session:
        deliveries.close_open(session, run.id, DeliveryStatus.EXPIRED, "its step gave up before it could be sent")
        of_documents = documents.counts(session, run.id)
        of_deliveries = deliveries.counts(session, run.id)
    return verdict(of_documents, of_deliveries)


def verdict(of_documents: dict[str, int], of_deliveries: dict[str, int]) -> Verdict:
    """How a run ends, from the counts of its documents and deliveries by status."""
    waiting = of_deliveries.get(DeliveryStatus.DEFERRED, 0)
    if waiting:
        return Verdict(RunStatus.WAITING, f"{waiting} deliveries were turned away for now", WaitingFor.DEFERRED)
    lost_kinds = (DeliveryStatus.FAILED, DeliveryStatus.EXPIRED, DeliveryStatus.UNCERTAIN)
    lost = {str(kind): of_deliveries[kind] for kind in lost_kinds if of_deliveries.get(kind)}
    if of_documents.get(DocumentStatus.FAILED):
        lost["documents failed"] = of_documents[DocumentStatus.FAILED]
    if not lost:
        return Verdict(RunStatus.SUCCEEDED)
    said = ", ".join(f"{count} {kind}" for kind, count in lost.items())
    arrived = of_deliveries.get(DeliveryStatus.ACCEPTED, 0)
    return Verdict(RunStatus.PARTIAL if arrived else RunStatus.FAILED, f"of the deliveries: {said}")
