"""Messages made some dozens at a time: between two of them a processor that sends forgets how they are made."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from uuid import UUID

from pipeline.errors import PipelineError
from pipeline.models import Channel, Delivery

# What is made in one go at most: some dozens of the usual ones, and never so many that the first one has to wait.
SECONDS, BYTES = 0.02, 1_000_000


class Ahead:
    """What `make` makes of the next deliveries of a share, each until it is taken."""

    def __init__(self, make: Callable[[Delivery], bytes]) -> None:
        self._make = make
        self._made: dict[UUID, bytes] = {}

    def prepare(self, deliveries: Sequence[Delivery], at: int) -> None:
        """Make those from `at` on, unless the first of them is made; one that cannot be made is left for its turn."""
        if deliveries[at].id in self._made:
            return
        self._made.clear()
        until, size = time.monotonic() + SECONDS, 0
        for delivery in deliveries[at:]:
            if delivery.channel != Channel.EMAIL or size > BYTES or time.monotonic() > until:
                return
            try:
                self._made[delivery.id] = self._make(delivery)
            except PipelineError:
                return
            size += len(self._made[delivery.id])

    def made(self, delivery: Delivery) -> bytes | None:
        """Its message, if it was made ahead."""
        return self._made.get(delivery.id)

    def take(self, delivery: Delivery) -> bytes:
        """Its message, made now if it was not. Raises PermanentError as `make` does."""
        return self._made.pop(delivery.id, None) or self._make(delivery)

    def forget(self) -> None:
        self._made.clear()
