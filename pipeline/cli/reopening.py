"""`pipeline who --open`: the message and the documents of each answer, as files on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from pipeline.adapters import copies
from pipeline.cli import filing, tables
from pipeline.db import reading
from pipeline.errors import PermanentError, Waiting
from pipeline.models import Channel, Delivery, Run
from pipeline.services import answers, documents, ledger
from pipeline.services.answers import Answer
from pipeline.settings import settings
from pipeline.workflows.report import reopening

if TYPE_CHECKING:
    from rich.console import Console


_SAID = {
    True: "byte by byte what was sent",
    False: "made anew, and not what was sent: a setting, such as the sender or a key, has changed since",
    None: "as it would be sent",
}


@dataclass(frozen=True)
class Opened:
    """Where one answer's message and documents are; `problem`: why there is no message.

    `exact`: byte by byte what was sent; None where nothing was.
    """

    delivery_id: UUID
    message: Path | None
    sha256: str | None
    exact: bool | None
    documents: list[Path]
    problem: str | None = None

    def show(self, out: Console) -> None:
        """Say where the message is, whether it is what was sent, and where its documents are."""
        if self.message:
            out.print(tables.words(f"  {tables.near(self.message)}: {_SAID[self.exact]}", "dim"), soft_wrap=True)
        if self.problem:
            out.print(tables.words(f"  no message: {self.problem}", "yellow"))
        for path in self.documents:
            out.print(tables.words(f"  {tables.near(path)}", "dim"), soft_wrap=True)


def reopen(found: Sequence[Answer]) -> dict[UUID, Opened]:
    """What can be opened of the answers, by delivery; each message is written to var/opened/."""
    return {one.delivery_id: _reopen(one.delivery_id) for one in found if one.delivery_id is not None}


def _reopen(delivery_id: UUID) -> Opened:
    with reading() as session:
        delivery = session.get_one(Delivery, delivery_id)
        run, sent = session.get_one(Run, delivery.run_id), ledger.sent_digest(session, delivery_id)
        carried = documents.carried(session, [delivery]).get(delivery_id, [])
        files = answers.files(session, run, of=carried)
    places = [one.path for one in filing.place(run, files, None)]
    if delivery.channel == Channel.FILE:
        return Opened(delivery_id, None, None, None, places)
    try:
        made = reopening.reopen(run, delivery, sent)
    except (PermanentError, Waiting) as error:
        return Opened(delivery_id, None, sent, None, places, str(error))
    name = copies.safe_name(f"{run.schedule_key}-{delivery.key}-{delivery_id}")
    ending = "json" if delivery.channel == Channel.WEBHOOK else "eml"
    path = settings().var / "opened" / f"{name}.{ending}"
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.write_bytes(made.data)
    return Opened(delivery_id, path, made.sha256, made.exact, places)
