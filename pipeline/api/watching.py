"""Runs as they go on: one poller in a process looks for all who watch, and tells what has changed."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from pipeline import log
from pipeline.db import reading
from pipeline.errors import TransientError
from pipeline.services import answers

logger = log.get(__name__)
Look = Callable[[Collection[UUID]], Mapping[UUID, Mapping[str, Any]]]
# Seconds between two looks; a look that takes long is followed by a rest of so many times as long.
PACE, REST = 1.0, 20
# Seconds after which somebody who hears nothing is told that the connection lives.
STILL_HERE = 15.0
# Seconds for which one connection is kept: a token that was revoked meanwhile is looked at again.
LONGEST = 1800.0
# The last event, and its id: a browser that connects again with it is told not to.
END = "end"
# Connections that one process keeps at a time.
MOST = 1000


@dataclass
class _Watched:
    """One run, as it was seen last; `changed` is set, and made anew, whenever that is something else."""

    watchers: int = 0
    seen: str | None = None
    over: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class Watchers:
    """All who watch runs in this process."""

    def __init__(self, look: Look, *, pace: float = PACE) -> None:
        self._look, self._pace = look, pace
        self._watched: dict[UUID, _Watched] = {}
        self._wake = asyncio.Event()
        self._poller: asyncio.Task[None] | None = None
        self._closed = False

    def __len__(self) -> int:
        return sum(one.watchers for one in self._watched.values())

    def close(self) -> None:
        """Let everybody go: the process ends."""
        self._closed = True
        for one in self._watched.values():
            one.changed.set()

    def admit(self) -> None:
        """Raises TransientError when too many watch already."""
        if len(self) >= MOST:
            raise TransientError(f"{MOST:,} watch already: ask for the run's status now and then")

    async def events(self, run_id: UUID) -> AsyncIterator[str]:
        """What has changed, as server-sent events, from how it stands now to the run's end."""
        watched = self._watched.setdefault(run_id, _Watched())
        watched.watchers += 1
        try:
            self._begin()
            async for event in self._told(watched):
                yield event
        finally:
            watched.watchers -= 1
            if not watched.watchers and self._watched.get(run_id) is watched:
                del self._watched[run_id]

    async def _told(self, watched: _Watched) -> AsyncIterator[str]:
        until, told = time.monotonic() + LONGEST, None
        yield "retry: 3000\n\n"
        while not self._closed and time.monotonic() < until:
            changed = watched.changed
            if watched.seen is not None and watched.seen != told:
                told, kind = watched.seen, END if watched.over else "progress"
                yield f"event: {kind}\nid: {kind}\ndata: {told}\n\n"
                if watched.over:
                    return
            try:
                await asyncio.wait_for(changed.wait(), min(STILL_HERE, until - time.monotonic()))
            except TimeoutError:
                yield ": still here\n\n"

    def _begin(self) -> None:
        """A new watcher is told at once how it stands, not after a pace."""
        self._wake.set()
        if self._poller is None or self._poller.done():
            self._poller = asyncio.create_task(self._poll())

    async def _poll(self) -> None:
        while self._watched and not self._closed:
            self._wake.clear()
            began = time.monotonic()
            try:
                self._tell(await asyncio.to_thread(self._look, list(self._watched)))
            except Exception as error:  # noqa: BLE001 - whatever it is, such as a database that is away, those who watch wait
                logger.warning("watched runs could not be looked at", error=f"{type(error).__name__}: {error}")
            took = time.monotonic() - began
            # Whoever is new is served soon, but many who come one after the other are served together.
            soon = max(self._pace / 10, 4 * took)
            await asyncio.sleep(soon)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), max(self._pace, REST * took) - soon)

    def _tell(self, found: Mapping[UUID, Mapping[str, Any]]) -> None:
        for run_id, watched in list(self._watched.items()):
            standing = found.get(run_id)
            if standing is None:
                continue  # it came in while we looked
            text = json.dumps(standing, separators=(",", ":"))
            if text != watched.seen:
                watched.seen, watched.over = text, bool(standing["over"])
                watched.changed.set()
                watched.changed = asyncio.Event()


def answer(request: Request, run_id: UUID, last: str | None) -> Response:
    """The events of a run, for whoever may look; `last` is the last one's id that they had. Raises TransientError."""
    if last == END:
        return Response(status_code=204)
    watchers: Watchers = request.app.state.watchers
    watchers.admit()
    headers = {"X-Accel-Buffering": "no"}  # a proxy would hold them back until it has a page of them
    return StreamingResponse(watchers.events(run_id), media_type="text/event-stream", headers=headers)


def look(run_ids: Collection[UUID]) -> Mapping[UUID, Mapping[str, Any]]:
    """How the runs stand, from the database."""
    with reading() as session:
        return answers.standings(session, run_ids)
