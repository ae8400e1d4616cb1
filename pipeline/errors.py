"""What can go wrong, told apart by what to do about it."""

from __future__ import annotations

from typing import Any
from uuid import UUID


class PipelineError(Exception):
    """Base of every error the pipeline raises on purpose; its text is a sentence for an operator.

    `trace` is the traceback of what went wrong in another process; empty where ours would tell nobody anything.
    """

    trace: str | None = None


class TransientError(PipelineError):
    """Likely to pass by itself: the step is tried again.

    `retry_after` (seconds) is what the other side asked for; the step waits at least that long.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class BrokerAway(TransientError):
    """The broker cannot be reached: what was to be published stays so, and reconcile comes back to it."""


class PermanentError(PipelineError):
    """Trying again would fail the same way: recorded, and the step stops."""


class DefinitionError(PermanentError):
    """A schedule, report, template or setting says something that cannot be meant.

    `place` is the file (relative to the home), `field` the dotted path in it; both become part of the text.
    """

    def __init__(self, message: str, *, place: str = "", field: str = "") -> None:
        super().__init__(": ".join(filter(None, [place, f"{field} {message}".strip()])))
        self.place, self.field, self.reason = place, field, message


class Refused(PermanentError):
    """A request that cannot be granted as it stands; the text says why and what would be.

    `field` is what is wrong in the request itself, such as `params.region`; without one it is how things stand.
    """

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class Occupied(Refused):
    """Another run is in the way: the one with the id `run_id`.

    None where the error was made anew from its text alone, as Celery does for whoever asks for a task's result.
    """

    def __init__(self, message: str, run_id: UUID | None = None) -> None:
        super().__init__(message)
        self.run_id = run_id


class NotFound(Refused):
    """The named thing does not exist; the text says what does."""


class Cancelled(PermanentError):
    """Somebody ends the run while this step is at work: it stops here, and is not tried again."""


class StaleClaim(PipelineError):
    """Another process has taken this step over since it was claimed: nothing more may be written for it."""


class Parked(TransientError):
    """Waits for something outside, such as a dead relay: the step is tried again without using up an attempt."""


class Waiting(Parked):
    """Waits for something that takes its time: the step is looked at again after just `again_in` seconds.

    It waits as long as its function raises this: giving up is the function's affair. `memory` (JSON) is what the next
    look is given as `run.memory`; `for_data` makes the whole run one that waits for its data.
    """

    def __init__(
        self, message: str, *, again_in: float, memory: dict[str, Any] | None = None, for_data: bool = False
    ) -> None:
        super().__init__(message)
        self.again_in, self.memory, self.for_data = again_in, memory or {}, for_data


class Blocked(Waiting):
    """The whole run waits for a person to mend or allow something; its owner is told, unless it is `known`."""

    def __init__(self, message: str, *, again_in: float, known: bool = False) -> None:
        super().__init__(message, again_in=again_in)
        self.known = known


class ApprovalWanted(Waiting):
    """Nothing goes out before a person approves it, and the text says why. `facts` (JSON) is what they are told."""

    def __init__(self, message: str, *, again_in: float, facts: dict[str, Any]) -> None:
        super().__init__(message, again_in=again_in)
        self.facts = facts


class Skip(PipelineError):
    """There is nothing to do: the run ends as skipped, and the text says why."""
