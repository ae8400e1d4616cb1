"""Sends what people are to be told: threads of beat, since a notice must go out when all else is dead."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
# Seconds between two looks for what is to be sent.
LOOK = 2.0
# Seconds that a beat has been up before it looks for anything else: after a night it decides first what is overdue.
SETTLING = 10.0


@dataclass(frozen=True)
class Look:
    """What is done every so many seconds in a transaction of its own."""

    seconds: float
    work: Callable[[Session, datetime], None]


LOOKS: dict[str, Look] = {
    "deadlines": Look(5, deadlines.check),
    "signs of life": Look(10, signs.check),
    "metrics": Look(15, tallies.advance),
    "digest": Look(20, digest.send_if_due),
    "what is over": Look(20, standing.check),
    "reminders": Look(60, reminders.remind),
}
# Notices that a letter tells in full; of the others it has the first line.
IN_FULL = 10


class Notifier:
    """A thread of one beat that finds what is to be told, and two that it calls to send mail and to call webhooks.

    A relay that hangs delays no webhook, and neither delays a look. `safely` carries out a piece of work and swallows,
    and tells, whatever goes wrong with it; the threads end soon after `stopped` is set.
    """

    def __init__(self, safely: Callable[[Callable[[], object]], object], stopped: threading.Event) -> None:
        self._safely, self._stopped = safely, stopped
        self._senders: dict[bool, threading.Thread] = {}
        self._due = dict.fromkeys(LOOKS, time.monotonic() + SETTLING)

    def start(self) -> list[threading.Thread]:
        """The thread, running."""
        thread = threading.Thread(target=self._watch, name="beat-notices", daemon=True)
        thread.start()
        return [thread]

    def _watch(self) -> None:
        while not self._stopped.wait(LOOK):
            self._safely(self._call_senders)
            for what, look in LOOKS.items():
                if time.monotonic() >= self._due[what]:
                    self._due[what] = time.monotonic() + look.seconds
                    self._safely(partial(_look, at=what))
        for sender in self._senders.values():  # one that waits for a dead relay is left behind
            sender.join(1)

    def _call_senders(self) -> None:
        with reading() as session:
            ways = outbox.waiting(session)
        for mail in ways:
            if mail not in self._senders or not self._senders[mail].is_alive():
                name = "beat-mail" if mail else "beat-webhooks"
                sender = threading.Thread(target=partial(self._send, mail=mail), name=name, daemon=True)
                sender.start()
                self._senders[mail] = sender

    def _send(self, *, mail: bool) -> None:
        while not self._stopped.is_set() and self._safely(partial(send_next, mail=mail)):
            pass


def _look(*, at: str) -> None:
    # Not durable: what a power cut takes back is seen again at the next look.
    with transaction(durable=False) as session:
        LOOKS[at].work(session, clock(session))


def send_next(*, mail: bool) -> bool:
    """Send the next letter by mail or by webhook; whether there was one."""
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
    matter = _matter(taken.notices[0]) if len(put) == 1 else str(taken.letter_id)
    return Letter(
        id=taken.letter_id,
        notices=put[:IN_FULL],
        more=[words.title for words in put[IN_FULL:]],
        about=str(uuid5(NAMESPACE_URL, matter)),
        why=_why(taken.notices),
        at=taken.notices[-1].created_at,
    )


def _matter(one: Notice) -> str:
    """The same for a notice, its reminders and its end."""
    kind, _, episode = one.episode.partition(" ") if one.kind == Kind.RECOVERED else (one.kind, "", one.episode)
    return f"{one.subject} {kind} {episode.partition('#')[0]}"


def _why(notices: Sequence[Notice]) -> str:
    if notices[0].kind == Kind.DIGEST:
        return "You get this because PIPELINE_DIGEST names you."
    keys = sorted({one.schedule_key for one in notices if one.schedule_key})
    asked = any(Kind.APPROVAL_WANTED in (one.kind, *one.facts.get("of", ())) for one in notices)
    fields = "`approvers` or `notify`" if asked else "`notify`"
    named = f"{fields} of {', '.join(keys[:3])}{' …' if len(keys) > 3 else ''}, or " if keys else ""
    return f"You are told because {named}PIPELINE_NOTIFY names you."
