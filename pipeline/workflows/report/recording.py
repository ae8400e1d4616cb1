"""What became of deliveries, kept in memory until the next commit: one answer and the next final dot share it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from pipeline.db import persist, transaction
from pipeline.errors import StaleClaim
from pipeline.models import Delivery, DeliveryStatus, Run
from pipeline.own_commits import OwnCommits, own_commits
from pipeline.services import deliveries, handing, ledger, steps
from pipeline.services.handing import Accepted

# Seconds for which replies are kept while the database is away: without them messages that went out are uncertain.
PATIENCE = 3600


class Journal:
    """What happened to deliveries, committed in order; the answer to one message waits for the dot of the next."""

    def __init__(self, attempt_id: UUID) -> None:
        self.attempt_id = attempt_id
        self._known: list[Accepted | Callable[[Session], object]] = []
        self._progressed = False
        self._connection: OwnCommits | None = None

    @property
    def knows(self) -> bool:
        """Whether something is known that is not yet written."""
        return bool(self._known)

    def dot(self, delivery: Delivery, relay: str, data: bytes) -> None:
        """Commit, durably, that the dot of `data` is about to be written. Raises StaleClaim when it must not be."""
        text = ledger.digest(data)
        if self._is_simple() and self._at_once(delivery, relay, text):
            return
        with transaction() as session:
            self.write(session)
            ledger.dot(session, delivery.id, self.attempt_id, relay, text)
            if not self._progressed:
                # Whoever comes next does not begin with this one again, whatever becomes of it.
                steps.progressed(session, self.attempt_id)
        self.forget()
        self._progressed = True

    def _is_simple(self) -> bool:
        """Whether nothing is known but, once something has progressed, that the message before was accepted."""
        if not self._known:
            return True
        return self._progressed and len(self._known) == 1 and isinstance(self._known[0], Accepted)

    def _at_once(self, delivery: Delivery, relay: str, text: str) -> bool:
        """All of it in one round trip, where the database can; False where it has to be done step by step."""
        if self._connection is None:
            self._connection = own_commits()
            if self._connection is None:
                return False
        answer = next((one for one in self._known if isinstance(one, Accepted)), None)
        try:
            handing.dot(self._connection, delivery.id, self.attempt_id, relay, answer, text=text)
        except StaleClaim:
            self.forget()
            raise
        except DBAPIError:
            self.close()
            raise
        self.forget()
        self._progressed = True
        return True

    def close(self) -> None:
        """Give back the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def accepted(self, delivery: Delivery, relay: str, code: int | None, reply: str) -> None:
        self._known.append(Accepted(delivery.id, relay, code, reply, datetime.now(UTC)))

    def not_sent(self, delivery: Delivery) -> None:
        """It was certainly not sent, though the dot may have been announced: it is queued again."""
        self._known.append(lambda s: ledger.take_back(s, delivery.id, self.attempt_id))

    def settle(self, delivery: Delivery, status: DeliveryStatus, reason: str, **details: Any) -> None:
        self._known.append(lambda s: ledger.settle(s, delivery.id, self.attempt_id, status, reason, **details))

    def unknown(self, run: Run, delivery: Delivery, why: str, **details: Any) -> None:
        """It may or may not have gone out: the schedule's `on_uncertain` decides what becomes of it."""
        self._known.append(lambda s: ledger.unknown(s, run, delivery.id, self.attempt_id, why, **details))

    def suppress(self, address: str, reason: str, source: str) -> None:
        self._known.append(lambda s: deliveries.suppress(s, address, reason, source))

    def flush(self) -> None:
        """Commit what is known; while the database is away, the replies are kept and written when it returns."""
        if self._known:
            persist(self.write, patience=PATIENCE)
            self.forget()

    def forget(self) -> None:
        """What was written is committed."""
        self._progressed = self._progressed or self.knows
        self._known.clear()

    def write(self, session: Session) -> None:
        """Write what is known in somebody's transaction; `forget` it once that is committed."""
        if self._known and not self._progressed:
            steps.progressed(session, self.attempt_id)
        for one in self._known:
            if isinstance(one, Accepted):
                ledger.accepted(
                    session, one.delivery_id, self.attempt_id,
                    relay=one.relay, code=one.code, reply=one.reply, at=one.at,
                )  # fmt: skip
                continue
            with suppress(StaleClaim):  # it wrote nothing: what became of the others is still told
                one(session)
