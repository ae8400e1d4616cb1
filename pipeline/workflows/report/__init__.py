"""The built-in workflow: fetch the sources, plan the documents, render them, pass the gate, deliver, finish."""

from __future__ import annotations

from celery import chain, chord, group
from celery.canvas import Signature

from pipeline.db import transaction
from pipeline.errors import PermanentError
from pipeline.handle import RunHandle
from pipeline.models import DeliveryStatus, DocumentStatus
from pipeline.schedule import RETRIES
from pipeline.services import deliveries, documents, outcomes
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
        return outcomes.verdict(session, run.claim.run)
