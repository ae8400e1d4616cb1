"""What a notice is about and where it goes, as values: kinds, targets, and for how long nothing more is said."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID


class Kind(StrEnum):
    """What happened; each kind is a folder of words in templates/_notices/."""

    RUN_FAILED = "run_failed"
    RUN_PARTIAL = "run_partial"
    # The run waits for somebody to mend a setting, an account or the relay.
    RUN_BLOCKED = "run_blocked"
    APPROVAL_WANTED = "approval_wanted"
    # Nobody can say whether these messages went out; they are held.
    UNCERTAIN = "uncertain"
    # A run waited for its data or for another schedule, and no longer does.
    GAVE_UP = "gave_up"
    # A mail relay does not answer: it is tried again, and what goes through it waits.
    RELAY_DOWN = "relay_down"
    SLOT_DROPPED = "slot_dropped"
    LATE_START = "late_start"
    LATE_FINISH = "late_finish"
    FILE_REFUSED = "file_refused"
    # Beat is alive, and yet slots that are due are not decided.
    NOT_FIRED = "not_fired"
    BEAT_SILENT = "beat_silent"
    NOBODY_WORKS = "nobody_works"
    RECOVERED = "recovered"
    DIGEST = "digest"
    TEST = "test"


# Matters that go on until they end (`notices.settle`); the others are over when they are told.
LASTING = frozenset(
    {
        Kind.RUN_FAILED,
        Kind.RUN_PARTIAL,
        Kind.RUN_BLOCKED,
        Kind.APPROVAL_WANTED,
        Kind.UNCERTAIN,
        Kind.GAVE_UP,
        Kind.LATE_START,
        Kind.LATE_FINISH,
        Kind.FILE_REFUSED,
        Kind.RELAY_DOWN,
        Kind.NOT_FIRED,
        Kind.BEAT_SILENT,
        Kind.NOBODY_WORKS,
    }
)
# What is not told again and again while, or soon after, the same has been (`QUIET`).
SPARING = LASTING | {Kind.SLOT_DROPPED}
# States rather than events: kept back soon after the same one, they are told once they have lasted long enough.
STANDING = LASTING - {Kind.RUN_FAILED, Kind.RUN_PARTIAL, Kind.GAVE_UP}
# Nothing goes on before a person has acted: they are told again as long as nobody has.
WANTS_A_PERSON = frozenset(
    {Kind.RUN_BLOCKED, Kind.APPROVAL_WANTED, Kind.UNCERTAIN, Kind.NOT_FIRED, Kind.NOBODY_WORKS, Kind.FILE_REFUSED}
)

# After a notice nothing more of the same kind and subject is told for so long; each time longer.
QUIET = (timedelta(hours=1), timedelta(hours=4), timedelta(hours=24))


def level_after(level: int, since: timedelta) -> int | None:
    """The level of a notice told `since` after one of `level` about the same, or None where it is kept back.

    Longer and longer under a storm, and from the beginning after a rest: a schedule that fails every minute is told of
    at once and after 1, 5, 29 and 53 hours, one that fails once a day every day.
    """
    if since < QUIET[level]:
        return None
    longer = min(level + 1, len(QUIET) - 1)
    return longer if since < 2 * QUIET[longer] else 0


class Shape(StrEnum):
    """How a target is spoken to."""

    MAIL = "mail"
    SLACK = "slack"
    TEAMS = "teams"
    JSON = "json"


# Whose incoming webhooks are known by their host.
_HOSTS = (
    (re.compile(r"(^|\.)slack(-gov)?\.com$"), Shape.SLACK),
    (re.compile(r"\.webhook\.office\.com$|\.logic\.azure\.(com|us)$|\.api\.powerplatform\.com$"), Shape.TEAMS),
)
_EXPLICIT = re.compile(r"(slack|teams|json)\+(?=https?://)")
_NAMED = re.compile(r"hook:([a-z][a-z0-9_]*)")
_ADDRESS = re.compile(r"[^@\s<>,;:]+@[^@\s<>,;:]+")


@dataclass(frozen=True)
class Target:
    """Somebody who is told: an e-mail address, or the URL of a webhook and the shape that it takes.

    One with a name, `hook:ops`, has its URL, which is a secret, in the settings: `where` is empty.
    """

    where: str
    shape: Shape
    name: str = ""

    def __str__(self) -> str:
        """The target as it may be shown: who knows a webhook's path may write to it."""
        if self.shape == Shape.MAIL:
            return self.where
        if self.name:
            return f"hook:{self.name}"
        return f"{self.shape} webhook {urlsplit(self.where).hostname} …{self.where[-4:]}"


def target(written: str) -> Target:
    """The target that a schedule file or PIPELINE_NOTIFY names. Raises ValueError with a sentence for what is none.

    A webhook's shape goes by its host; `slack+https://…`, `teams+https://…` and `json+https://…` say it outright.
    """
    if "://" not in written and _ADDRESS.fullmatch(written):
        return Target(written, Shape.MAIL)
    named = _NAMED.fullmatch(written)
    if named:
        return Target("", Shape.JSON, named[1])
    explicit = _EXPLICIT.match(written)
    url = written[explicit.end() :] if explicit else written
    try:
        parts = urlsplit(url)
        host = parts.hostname if parts.scheme in {"http", "https"} and parts.port != 0 else None
    except ValueError:  # a port above 65535
        host = None
    if not host or re.search(r"\s", url):
        raise ValueError(
            f'"{written}" is neither an e-mail address nor a webhook: write https://host/path or hook:NAME'
        )
    if explicit:
        return Target(url, Shape(explicit[1]))
    return Target(url, next((shape for pattern, shape in _HOSTS if pattern.search(host)), Shape.JSON))


class Tone(StrEnum):
    """How a notice is to be taken; each shape shows it in its own way."""

    BAD = "bad"
    WARNING = "warning"
    GOOD = "good"
    PLAIN = "plain"


_BAD = frozenset({Kind.RUN_FAILED, Kind.RUN_BLOCKED, Kind.RELAY_DOWN, Kind.NOT_FIRED, Kind.NOBODY_WORKS})
_TONES: Mapping[str, Tone] = {
    Kind.RECOVERED: Tone.GOOD,
    Kind.DIGEST: Tone.PLAIN,
    Kind.TEST: Tone.PLAIN,
    **dict.fromkeys(_BAD, Tone.BAD),
}


@dataclass(frozen=True)
class Words:
    """One notice as people read it: a line, paragraphs with an empty line between them, and what to type.

    `about` (JSON) is for machines; `html` takes the place of the paragraphs where a kind has a page of its own.
    """

    kind: str
    title: str
    text: str
    command: str
    about: Mapping[str, Any]
    html: str | None = None

    @property
    def tone(self) -> Tone:
        return _TONES.get(self.kind, Tone.WARNING)


@dataclass(frozen=True)
class Letter:
    """One message to one target: the notices that it holds, in full or, where there are many, by their first line.

    `id` is the same on every attempt: a receiver that remembers it takes a repeated one once. `about` is what mail
    programs gather in one thread; `why` says why the reader gets it; `at` is when the newest notice was made.
    """

    id: UUID
    notices: Sequence[Words]
    more: Sequence[str]
    about: str
    why: str
    at: datetime

    @property
    def title(self) -> str:
        """One line for all of it."""
        others = len(self.notices) - 1 + len(self.more)
        return self.notices[0].title + (f" (and {others} more)" if others else "")


@dataclass(frozen=True)
class DigestPlan:
    """When, by the clock of PIPELINE_TIMEZONE, the digest of the last day goes out, and to whom."""

    at: time
    targets: Sequence[str]


def digest_plan(written: str) -> DigestPlan:
    """What PIPELINE_DIGEST says: `07:00 ops@example.com, https://…`; without targets it goes to PIPELINE_NOTIFY.

    Raises ValueError with a sentence for what cannot be meant.
    """
    clock, *targets = [word for word in re.split(r"[,\s]+", written) if word]
    if not re.fullmatch(r"([01]?\d|2[0-3]):[0-5]\d", clock):
        raise ValueError('must begin with a time of day, such as "07:00 ops@example.com"')
    for one in targets:
        target(one)
    hour, _, minute = clock.partition(":")
    return DigestPlan(time(int(hour), int(minute)), targets)
