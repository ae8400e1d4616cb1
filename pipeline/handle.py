"""What a step function is given as `run`: the frozen facts of its run, its files, and whether it may go on."""

from __future__ import annotations

import tempfile
from datetime import datetime
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from uuid import UUID
from zoneinfo import ZoneInfo

from celery.exceptions import SoftTimeLimitExceeded

from pipeline import log, schedule, stopping, targets
from pipeline.db import clock, persist, reading, transaction
from pipeline.errors import Cancelled, PermanentError, StaleClaim, Waiting
from pipeline.report import Scalar
from pipeline.services import artifacts, steps
from pipeline.settings import settings
from pipeline.timing import Period

if TYPE_CHECKING:
    from pipeline.adapters.storage import Stored

logger = log.get(__name__)


def store(data: bytes | Path, kind: str, suffix: str) -> Stored:
    """Put bytes, or a file, into the artifact store. Raises Parked where what was stored before is not there."""
    from pipeline.adapters import storage  # beat imports this module, and stores nothing

    place = storage.store()
    if not place.is_there():
        with reading() as session:
            known = artifacts.newest_uri(session)
        place.begin(known)
    return place.put(data, kind, suffix)


class RunHandle:
    """One claimed step's view of its run. Everything here was frozen when the run was opened or planned."""

    def __init__(self, claim: steps.Claim) -> None:
        self.claim = claim
        self.lost = False
        # Why the step is to stop, once somebody has cancelled its run.
        self.cancelled: str | None = None
        # Whether the step was interrupted, for its limit of time or a cancelled run; it may have passed over that.
        self.interrupted = False
        # By time.monotonic(), since when the process is to end; and whether how the step ended is being recorded.
        self.ending = 0.0
        self.recording = False
        # An answer is on its way that nobody could ask for again: the step is not interrupted now.
        self.is_waiting_for_an_answer = False
        self._scratch: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._scratch is not None:
            self._scratch.cleanup()

    @property
    def id(self) -> UUID:
        return self.claim.run.id

    @property
    def attempt_id(self) -> UUID:
        """The attempt that carries the step out: what it claims is stamped with this."""
        return self.claim.attempt_id

    @property
    def memory(self) -> dict[str, Any]:
        """What the step's last look, which raised Waiting, has left for this one."""
        return self.claim.memory

    @property
    def tries(self) -> int:
        """How often the step was tried in vain before, without what did not count as a try."""
        with reading() as session:
            return steps.tries(session, self.claim)

    @property
    def now(self) -> datetime:
        """When this try began (UTC), by the clock that everyone reads."""
        return self.claim.at

    @property
    def name(self) -> str:
        """The schedule's key."""
        return self.claim.run.schedule_key

    @property
    def params(self) -> dict[str, Any]:
        return self.claim.run.params

    @property
    def scope(self) -> dict[str, Any]:
        """What a trigger by hand narrowed: `keys`, `to`, `send`."""
        return self.claim.run.scope

    @property
    def due_at(self) -> datetime:
        """The nominal time (UTC), the same on every retry and rerun."""
        return self.claim.run.due_at

    @property
    def zone(self) -> str:
        return self.claim.run.zone

    @property
    def revision(self) -> str:
        """The sha256 of the schedule's definition, see `definition`, as it was when the run was opened."""
        return self.claim.run.revision

    @property
    def local_due_at(self) -> datetime:
        """The nominal time by the clocks of the schedule's zone."""
        return self.due_at.astimezone(ZoneInfo(self.zone))

    @cached_property
    def period(self) -> Period:
        """The half-open interval that the run is about."""
        return Period.from_json(self.claim.run.period)

    @cached_property
    def definition(self) -> schedule.Schedule:
        """The schedule as it was when the run was opened."""
        return schedule.parse(self.claim.run.definition, f"schedule {self.name}")

    @cached_property
    def placeholders(self) -> dict[str, Scalar]:
        """What the words in braces of a command or task stand for in this run."""
        return targets.values(
            schedule=self.name, run=self.id, due_at=self.due_at, zone=self.zone, period=self.period, params=self.params
        )

    @property
    def home(self) -> Path:
        return settings().home

    @property
    def scratch(self) -> Path:
        """A folder for temporary files, gone when the step ends."""
        if self._scratch is None:
            (settings().var / "scratch").mkdir(parents=True, exist_ok=True)
            self._scratch = tempfile.TemporaryDirectory(
                dir=settings().var / "scratch", prefix=f"{self.claim.step.kind}-"
            )
        return Path(self._scratch.name)

    def alive(self) -> None:
        """A safe point: raises StaleClaim when another process took the step over, Cancelled when its run is ended.

        Raises SoftTimeLimitExceeded, also again, when its time is over.
        Raises Waiting when the worker is to stop, and half of the time that it has for that is over.
        """
        if self.cancelled:
            raise Cancelled(self.cancelled)
        if self.ending:
            raise self.given_back()
        if self.interrupted:
            raise SoftTimeLimitExceeded
        if self.lost:
            raise StaleClaim(f"step {self.claim.step.name} of run {self.id} was taken over by another process")
        asked = stopping.since()
        if asked is not None and asked > settings().stop_within / 2:
            raise self.given_back()

    def given_back(self) -> Waiting:
        """What to raise where somebody else is to carry the step out: it is no failed try."""
        return Waiting("its worker was stopped", again_in=0)

    def keep_output(self, text: str) -> None:
        """Keep what a program said with this attempt, where `pipeline show` shows it; the last text counts.

        A database that is away for a moment is waited for: the work is done, and would be done again.
        """
        persist(lambda session: steps.keep_output(session, self.attempt_id, text))

    def put(
        self,
        name: str,
        data: bytes | Path,
        *,
        kind: str = "file",
        suffix: str = ".bin",
        media_type: str = "application/octet-stream",
    ) -> None:
        """Store bytes, or a file, under a name that later steps of this run `get`.

        `kind` is the folder in the artifact store, `suffix` the file's ending there; both are for people who look.
        """
        stored = store(data, kind, suffix)
        file = artifacts.StoredFile(name, stored.sha256, stored.size, stored.uri, kind, media_type)
        with transaction() as session:
            steps.renew(session, self.claim)
            artifacts.record(session, self.id, [file], clock(session))

    def get(self, name: str) -> Path:
        """The local file that an earlier step `put` under this name. Raises PermanentError when there is none."""
        with reading() as session:
            uri = artifacts.uri(session, self.id, name)
        if uri is None:
            raise PermanentError(f'the run has no file "{name}": an earlier step should have put it')
        from pipeline.adapters import storage

        return storage.store().local_path(uri, settings().var / "cache")

    def has(self, name: str) -> bool:
        with reading() as session:
            return artifacts.uri(session, self.id, name) is not None
