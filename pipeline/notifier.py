"""Sends what people are to be told: threads of beat, since a notice must go out when all else is dead."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from uuid import NAMESPACE_URL, uuid5

from sqlalchemy.orm import Session

from pipeline import log, notice
from pipeline.adapters import notices as post
from pipeline.db import clock, persist, reading, transaction
from pipeline.errors import PermanentError, PipelineError, TransientError
from pipeline.failpoints import failpoint
from pipeline.models import Notice
from pipeline.notice import Kind, Letter
from pipeline.services import deadlines, tallies
from pipeline.services.notices import digest, outbox, reminders, signs, standing
from pipeline.services.notices.context import about, context
from pipeline.services.notices.outbox import Taken

logger = log.get(__name__)
# Seconds between two looks for what is to be sent, and for what is late or silent.
LOOK, WATCH = 2.0, 5.0
# Seconds that a beat has been up before it looks for what is late or silent.
SETTLING = 10.0
LOOKS: dict[str, Callable[[Session, datetime], None]] = {
    "deadlines": deadlines.check,
    "signs of life": signs.check,
    "what is over": standing.check,
    "reminders": reminders.remind,
    "digest": digest.send_if_due,
    "metrics": tallies.advance,
}
# Notices that a letter tells in full; of the others it has the first line.
IN_FULL = 10


class Notifier:
    """Threads of one beat: one finds what is late or silent, one sends mail, one calls webhooks.

    A relay that hangs delays no webhook. `safely` carries out a piece of work and swallows, and tells, whatever goes
    wrong with it; the threads end soon after `stopped` is set.
    """

    def __init__(self, safely: Callable[[Callable[[], object]], object], stopped: threading.Event) -> None:
        self._safely, self._stopped = safely, stopped

    def start(self) -> list[threading.Thread]:
        """The threads, running."""
        work: dict[str, Callable[[], None]] = {
            "beat-watch": self._watch,
            "beat-mail": partial(self._send, mail=True),
            "beat-webhooks": partial(self._send, mail=False),
        }
        threads = [threading.Thread(target=target, name=name, daemon=True) for name, target in work.items()]
        for thread in threads:
            thread.start()
        return threads

    def _watch(self) -> None:
        # A beat that comes back after a night finds much overdue, and decides it first.
        if self._stopped.wait(SETTLING):
            return
        while True:
            for what in LOOKS:
                self._safely(partial(_look, at=what))
            if self._stopped.wait(WATCH):
                return

    def _send(self, *, mail: bool) -> None:
        while not self._stopped.wait(LOOK):
            while self._safely(partial(send_next, mail=mail)) and not self._stopped.is_set():
                pass


def _look(*, at: str) -> None:
    # Not durable: what a power cut takes back is seen again at the next look.
    with transaction(durable=False) as session:
        LOOKS[at](session, clock(session))


def send_next(*, mail: bool) -> bool:
    """Send the next letter by mail or by webhook; whether there was one."""
    with reading() as session:
        if outbox.is_empty(session):
            return False
    with transaction() as session:
        taken = outbox.take(session, mail=mail)
    if taken is None:
        return False
    failpoint("notice.taken")
    target = notice.target(taken.target)
    try:
        answer = post.send(target, letter(taken))
    except (TransientError, PermanentError) as error:
        _record_failure(taken, error)
    else:
        failpoint("notice.sent")
        persist(lambda session: outbox.sent(session, taken, answer))
        logger.info("told", target=str(target), notices=len(taken.notices), answer=answer)
    return True


def _record_failure(taken: Taken, error: PipelineError) -> None:
    again = []
    persist(lambda session: again.append(outbox.not_sent(session, taken, error)))
    when = again[-1].isoformat() if again[-1] else "never"
    logger.warning("a notice could not be sent", target=str(notice.target(taken.target)), error=str(error), again=when)


def letter(taken: Taken) -> Letter:
    """What one target is sent: a few notices in full, and the first lines of the rest."""
    put = [post.put(one.kind, context(one), about(one)) for one in taken.notices]
    first = taken.notices[0]
    matter = f"{first.subject} {first.episode}" if len(put) == 1 else str(taken.letter_id)
    return Letter(
        id=taken.letter_id,
        notices=put[:IN_FULL],
        more=[words.title for words in put[IN_FULL:]],
        about=str(uuid5(NAMESPACE_URL, matter)),
        why=_why(taken.notices),
        at=taken.notices[-1].created_at,
    )


def _why(notices: Sequence[Notice]) -> str:
    if notices[0].kind == Kind.DIGEST:
        return "You get this because PIPELINE_DIGEST names you."
    keys = sorted({one.schedule_key for one in notices if one.schedule_key})
    named = f"`notify` of {', '.join(keys[:3])}{' …' if len(keys) > 3 else ''}, or " if keys else ""
    return f"You are told because {named}PIPELINE_NOTIFY names you."
