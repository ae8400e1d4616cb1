"""The built-in workflow: fetch the sources, plan the documents, render them, pass the gate, deliver, finish."""

from __future__ import annotations

from celery import chain, chord, group
from celery.canvas import Signature

from pipeline.db import reading, transaction
from pipeline.failpoints import failpoint
from pipeline.handle import RunHandle
from pipeline.models import DeliveryStatus
from pipeline.schedule import RETRIES
from pipeline.services import deliveries, outcomes, steps
from pipeline.services.runs import Verdict
from pipeline.tasks import step, workflow
from pipeline.workflows.report import addressing, gating, planning, rendering, sending


@workflow
def report(run: RunHandle) -> Signature:
    """One fetch a source, the recipients' query and the subscriptions being such, then the plan."""
    names = planning.source_names(run.definition)
    fetches = [fetch.si(name).set(pool=planning.source_named(run.definition, name).database) for name in names]
    if run.definition.recipients.subscriptions:
        fetches.append(fetch.si(addressing.SUBSCRIPTIONS))
    return chain(group(fetches), plan.si())


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
    """Let the deliveries out, if enough documents came out well and nobody has to be asked; else nothing is sent."""
    batches = gating.pass_(run)
    failpoint("gate.passed")
    if not batches:
        return finish.si()
    return chord([deliver.si(number) for number in batches], finish.si())


@step(queue="deliver", retry=RETRIES["deliver"], tolerated=True)
def deliver(run: RunHandle, batch: int) -> None:
    """Hand over a batch of deliveries; what a server turns away is a row, not an error."""
    sending.send_batch(run, batch)


@step(retry=RETRIES["plan"])
def finish(run: RunHandle) -> Verdict:
    """Count in SQL how it went; runs again when late deliveries settle."""
    why = "its step gave up before it could be sent"
    with reading() as session:
        more = deliveries.are_many(session, run.id)
    while more:
        run.alive()
        with transaction() as session:
            steps.renew(session, run.claim)
            more = deliveries.close_part(session, run.id, DeliveryStatus.EXPIRED, why)
    with transaction() as session:
        deliveries.close_open(session, run.id, DeliveryStatus.EXPIRED, why)
        return outcomes.verdict(session, run.claim.run)
