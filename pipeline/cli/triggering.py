"""Opening a run by hand: what is asked before, what is said after, and the wait for its end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import typer
from sqlalchemy import select

from pipeline import log
from pipeline.cli import loading, tables, waiting
from pipeline.cli.options import actor, parameters, print_json
from pipeline.db import reading, transaction
from pipeline.embedded.state import mail_mode, running
from pipeline.errors import NotFound
from pipeline.models import DeliveryStatus, DocumentStatus, Run, Step, Trigger
from pipeline.services import answers
from pipeline.services.answers import RunDetail, RunSummary, wording
from pipeline.services.audit import Actor
from pipeline.services.runs import Request
from pipeline.settings import Settings, settings

if TYPE_CHECKING:
    from rich.text import Text


@dataclass(frozen=True)
class Opened:
    """A run as it is right after the trigger; `published` says whether the broker has its message."""

    run: RunSummary
    new: bool
    published: bool


def request(
    name: str, params: Sequence[str], *, by: str | None = None, idempotency_key: str | None = None, **wish: Any
) -> Request:
    """The wish for a run; `params` are KEY=VALUE, the rest is Request's. Raises Refused for a parameter without `=`."""
    who = actor(by)
    scoped = f"{who}/{idempotency_key}" if idempotency_key else None
    return Request(name, parameters(params), trigger=Trigger.MANUAL, actor=who, idempotency_key=scoped, **wish)


def trigger(wish: Request, *, ask: bool) -> Opened:
    """Open the run; with `ask`, on a terminal, after a question if it would mail many people.

    Raises Refused or NotFound with a sentence.
    """
    from pipeline.cli import reach

    loading.refresh(wish.schedule_key, wish.actor)
    try:
        if ask:
            reach.confirm(wish)
        return _opened(wish)
    except NotFound as error:
        raise NotFound(f"{error}{loading.unloaded(wish.schedule_key)}") from None


def _opened(wish: Request) -> Opened:
    from pipeline import tasks

    with log.silenced():  # a broker that is away is told by us, in a sentence
        run_id, new = tasks.trigger(wish)
    return opened(run_id, new=new)


def proceed(text: str | None, by: Actor) -> RunSummary:
    """Have the run go on without the data that it waits for. Raises Refused for one that does not wait."""
    from pipeline import tasks
    from pipeline.services import runs
    from pipeline.services import waiting as waits

    with transaction() as session:
        found = runs.find(session, text)
        called = waits.release(session, found, by)
    if called:
        with log.silenced():  # a broker that is away costs time, and reconcile knows of it
            tasks.publish(called)
    with reading() as session:
        return answers.summarise(session, [session.get_one(Run, found.id)])[0]


def show_proceeding(run: RunSummary, *, as_json: bool) -> None:
    """Say that the run goes on."""
    if as_json:
        print_json(run)
        return
    short = wording.short(run.id)
    typer.echo(f"Run {short} of {run.schedule} goes on without waiting: {run.title}, {run.period['title']}.")
    typer.echo(f"Next: `pipeline show {short}` shows how far it is.")


def opened(run_id: UUID, *, new: bool) -> Opened:
    with reading() as session:
        run = session.get_one(Run, run_id)
        unpublished = select(Step.id).where(Step.run_id == run_id, Step.published_at.is_(None)).limit(1)
        started = run.started_at is not None or session.scalar(unpublished) is None
        return Opened(answers.summarise(session, [run])[0], new, started)


def show_opened(found: Opened, *, as_json: bool) -> None:
    """Say which run it is, and what comes next."""
    if as_json:
        print_json({**answers.as_json(found.run), "new": found.new, "published": found.published})
        return
    # Without rich, which takes longer to import than all of this takes to do.
    run, short = found.run, wording.short(found.run.id)
    said = "is opened" if found.new else f"was opened with this key before and is {run.status}"
    typer.echo(f"Run {short} of {run.schedule} {said}: {run.title}, {run.period['title']}.")
    if found.new:
        typer.secho(f"Mail is {mail(settings())}.", dim=True)
    # Of a run that somebody opened just now it is not known: its first message may be on the way.
    if found.new and not found.published:
        typer.secho(away(settings()), fg="yellow")
    typer.echo(f"Next: `pipeline show {short}` shows how far it is.")


def away(configured: Settings) -> str:
    """Why nothing happens yet, and what makes it happen."""
    way = "`pipeline up` is running" if configured.embedded_broker else "the broker is back and beat runs"
    return f"The broker is away; the run is kept in the database and starts as soon as {way}."


def mail(configured: Settings) -> str:
    """What mail is: said with every run, since nobody should have to guess."""
    mode = mail_mode(configured)
    now = "" if mode == configured.mail else f" until `pipeline up` is restarted, then {configured.mail}"
    if not configured.embedded_broker and running(configured.var / "run", patience=0) is None:
        now = " here; what the workers are started with counts"
    if mode == "catch":
        return f"caught: nothing leaves this machine (PIPELINE_MAIL=catch{now})"
    if mode == "live":
        return f"handed over for real (PIPELINE_MAIL=live{now})"
    return f"redirected to {mode.removeprefix('redirect:')}, whoever it is for (PIPELINE_MAIL{now})"


def wait_for(found: Opened, *, as_json: bool) -> bool:
    """Wait for the run's end, with a progress bar on a terminal; whether it succeeded."""
    err = tables.console(stderr=True)
    err.print(tables.words(f"Run {found.run.id} of {found.run.schedule}. Mail is {mail(settings())}.", "dim"))
    if found.new and not found.published:
        err.print(tables.words(away(settings()), "yellow"))
    try:
        waiting.wait(found.run.id)
    except KeyboardInterrupt:
        err.print(tables.hint(f"Stopped waiting; the run goes on: `pipeline show {wording.short(found.run.id)}`"))
        raise
    with reading() as session:
        run = session.get_one(Run, found.run.id)
        ended, progress = answers.show(session, run, stories=1), answers.progress(session, run)
    if as_json:
        print_json({**progress, "new": found.new})
    else:
        show_end(ended)
    return ended.run.status == "succeeded"


def show_end(found: RunDetail) -> None:
    """Print what came of it: how much arrived, how long it took, where things are, what to try next."""
    run = found.run
    out = tables.console()
    heading = tables.words(f"{run.title}, {run.period['title']}: ", "bold").append_text(tables.status(run.status))
    out.print()
    out.print(heading)
    out.print(tables.pairs(list(_came_of_it(run))))
    out.print()
    out.print(tables.words("Next: ", "bold").append_text(tables.hint(_next(found))))


def _came_of_it(run: RunSummary) -> Iterator[tuple[str, Text | str]]:
    if any(run.documents.values()):
        yield "documents", tables.statuses(run.documents)
    if any(run.deliveries.values()):
        yield "deliveries", tables.statuses(run.deliveries)
    yield "took", wording.lasted(run.seconds) if run.seconds is not None else ""
    yield "error", tables.words(run.error, "red") if run.error else ""
    if run.documents[DocumentStatus.RENDERED]:
        yield "files", _there(settings().var / "reports" / run.schedule / run.period["label"])
    if run.deliveries[DeliveryStatus.ACCEPTED]:
        yield "e-mails", _there(settings().var / "outbox") if mail_mode(settings()) == "catch" else mail(settings())


def _there(folder: Path) -> str:
    return f"{tables.near(folder)}/" if folder.is_dir() else ""


def _next(found: RunDetail) -> str:
    run, short = found.run, wording.short(found.run.id)
    if run.status == "succeeded" and not any(run.documents.values()):
        return f"`pipeline show {short}`, `pipeline schedules`"
    if run.all_arrived and run.status == "succeeded":
        return f"`pipeline show {short}`, `pipeline files {short}`, `pipeline who NAME`, `pipeline schedules`"
    return f"`pipeline show {short}` says more; {found.next}"
