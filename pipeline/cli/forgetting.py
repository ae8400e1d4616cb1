"""`pipeline forget`: what would go, the question, and the files that go after the rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from uuid import UUID

import typer

from pipeline import fingerprint
from pipeline.adapters import storage
from pipeline.adapters.messages.addresses import valid_address
from pipeline.adapters.secret_keys import secret_keys
from pipeline.cli import filing, tables
from pipeline.db import clock, reading, transaction
from pipeline.models import Document, Run
from pipeline.services import answers, artifacts, forgetting
from pipeline.services.answers import wording
from pipeline.services.audit import Actor
from pipeline.services.forgetting import Forgotten
from pipeline.settings import settings


@dataclass(frozen=True)
class Told:
    """What went, or would. `copies`: files in var/ with the person's documents or messages."""

    done: bool
    counts: dict[str, int]
    copies: list[Path]
    stays: list[str]


def forget(text: str, actor: Actor, *, wanted: bool) -> Told:
    """Forget an address; without `wanted` nothing is changed, and it is said what would be."""
    address = valid_address(text)
    mark = fingerprint.of(secret_keys(settings()), address)
    with transaction() as session:
        done = forgetting.forget(session, actor, address, mark)
        session.rollback()
    copies = list(_copies(done, address))
    if wanted:
        if done.files:
            storage.store().check()  # else their rows would go, and their bytes come back with the disk
        for path in copies:
            path.unlink(missing_ok=True)
        with transaction() as session:
            began = clock(session)
            done = forgetting.forget(session, actor, address, mark)
        _delete_unused(done, began)
    return Told(wanted, {name: count for name, count in done.counts.items() if count}, copies, done.stays)


def _delete_unused(done: Forgotten, began: datetime) -> None:
    """The bytes that only this person's rows referred to, now and not a day later; not what is stored anew."""
    with reading() as session:
        found = forgetting.unused(session, done)
    gone: list[UUID] = [one.id for one in found if storage.store().delete(one.uri, began)]
    with transaction() as session:
        artifacts.forget(session, gone)


def _copies(done: Forgotten, address: str) -> Iterator[Path]:
    """Caught messages that name the address, messages that were looked at, second names of the documents."""
    var = settings().var
    for path in (var / "outbox").glob("*"):
        if path.is_file() and address.lower().encode() in path.read_bytes().lower():
            yield path
    for delivery_id in done.deliveries:
        yield from (var / "opened").glob(f"*{delivery_id}*")
    with reading() as session:
        for document_id in done.documents:
            run = session.get_one(Run, session.get_one(Document, document_id).run_id)
            for one in filing.place(run, answers.files(session, run, of=[document_id]), None):
                if one.path.is_relative_to(var / "reports"):
                    yield one.path


def show(told: Told) -> None:
    """Say what went, or would go, and what stays."""
    out = tables.console()
    counts = told.counts | ({"copies in var/": len(told.copies)} if told.copies else {})
    said = wording.counts(counts) or "nothing is known of it"
    out.print(tables.words(f"{'Forgotten' if told.done else 'To be forgotten'}: {said}."))
    out.print(tables.words("Kept: a keyed hash of the address, so that nothing is sent to it again; all counts."))
    for sentence in told.stays:
        out.print(tables.words(f"Stays: {sentence}.", "yellow"))


def confirmed() -> bool:
    """Ask; whoever pipes has to say --yes."""
    return typer.confirm("This cannot be undone. Forget it?", default=False, err=True)
