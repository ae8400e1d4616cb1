"""The message of a delivery as it went out, made once more from what was frozen, and compared with what was sent."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from uuid import UUID

from pipeline.db import reading
from pipeline.errors import PermanentError
from pipeline.handle import RunHandle
from pipeline.models import Channel, Delivery, DocumentStatus, Run, Step
from pipeline.services.steps import Claim
from pipeline.workflows.report import requests
from pipeline.workflows.report.composing import Letters


@dataclass(frozen=True)
class Reopened:
    """The message's bytes. `exact`: they are those that were sent; None where nothing was, or none knows which."""

    data: bytes
    sha256: str
    exact: bool | None


def reopen(run: Run, delivery: Delivery, sent: str | None) -> Reopened:
    """The delivery's message; `sent` is the sha256 of what was last on its way, if anything was.

    Raises PermanentError where what it is made of is gone, or never was, and Blocked for a signing key that is none.
    """
    looking = Step(name="look", run_id=run.id)
    with RunHandle(Claim(run, looking, 0, UUID(int=0), "look", run.due_at, ())) as handle:
        letters = Letters(handle)
        with reading() as session:
            letters.load(session, [delivery])
        if all(one.status != DocumentStatus.RENDERED for one in letters.documents_of(delivery)):
            raise PermanentError("no document was made for it")
        if delivery.channel == Channel.WEBHOOK:
            return _compared(requests.payload(letters, delivery), sent)
        data = letters.message(delivery)
        if sent and letters.can_link and _digest(data) != sent:
            # A relay that takes less than most was sent links.
            linked = letters.message(delivery, linked=True)
            data = linked if _digest(linked) == sent else data
    return _compared(data, sent)


def _compared(data: bytes, sent: str | None) -> Reopened:
    digest = _digest(data)
    return Reopened(data, digest, digest == sent if sent else None)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
