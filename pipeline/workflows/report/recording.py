"""What became of deliveries, kept in memory until the next commit: one answer and the next final dot share it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from pipeline.db import persist, transaction
from pipeline.errors import StaleClaim
from pipeline.models import Delivery, DeliveryStatus
from pipeline.services import deliveries, ledger


class Journal:
    """What happened to deliveries, committed in order; the answer to one message waits for the dot of the next."""

    def __init__(self, attempt_id: UUID) -> None:
        self.attempt_id = attempt_id
        self._known: list[Callable[[Session], None]] = []

    def dot(self, delivery: Delivery, relay: str) -> None:
        """Commit, durably, that the final dot is about to be written. Raises StaleClaim when it must not be."""
        with transaction() as session:
            self._write(session)
            ledger.dot(session, delivery.id, self.attempt_id, relay)
        self._known.clear()

    def accepted(self, delivery: Delivery, relay: str, code: int | None, reply: str) -> None:
        at = datetime.now(UTC)
        self._known.append(
            lambda s: ledger.accepted(s, delivery.id, self.attempt_id, relay=relay, code=code, reply=reply, at=at)
        )

    def not_sent(self, delivery: Delivery) -> None:
        """It was certainly not sent, though the dot may have been announced: it is queued again."""
        self._known.append(lambda s: ledger.take_back(s, delivery.id, self.attempt_id))

    def settle(self, delivery: Delivery, status: DeliveryStatus, reason: str, **details: Any) -> None:
        self._known.append(lambda s: ledger.settle(s, delivery.id, self.attempt_id, status, reason, **details))

    def suppress(self, address: str, reason: str, source: str) -> None:
        self._known.append(lambda s: deliveries.suppress(s, address, reason, source))

    def flush(self) -> None:
        """Commit what is known; while the database is away, the replies are kept and written when it returns."""
        if self._known:
            persist(self._write)
            self._known.clear()

    def _write(self, session: Session) -> None:
        for write in self._known:
            with suppress(StaleClaim):  # it wrote nothing: what became of the others is still told
                write(session)
