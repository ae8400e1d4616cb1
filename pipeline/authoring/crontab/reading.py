"""The lines of a crontab (crontab(5) of Vixie cron and cronie): variables, and jobs with what applies to them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

_VARIABLE = re.compile(r"""\s*(?P<name>[A-Za-z_]\w*|"[^"]+"|'[^']+')\s*=\s*(?P<value>.*?)\s*$""")
# Random minutes, as in `0~59`, are for the fields to refuse, in a sentence.
_JOB = re.compile(r"\s*-?(?P<when>@\S+|[\d*][^\s=]*(?:\s+\S+){4})\s+(?P<rest>\S.*?)\s*$")
_WORDS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * sun",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
    "@every_minute": "* * * * *",
}


@dataclass(frozen=True)
class Job:
    """A line that runs something. `cron` has five fields; `given` is what follows the first `%`, on standard input."""

    number: int
    text: str
    cron: str
    command: str
    variables: Mapping[str, str]
    given: str | None = None
    user: str | None = None
    comment: str | None = None


@dataclass(frozen=True)
class Problem:
    """A line that cannot be carried over, and why."""

    number: int
    text: str
    why: str


@dataclass
class _Reader:
    system: bool
    variables: dict[str, str] = field(default_factory=dict)
    comments: list[str] = field(default_factory=list)

    def read(self, number: int, line: str) -> Iterator[Job | Problem]:
        text = line.strip()
        if not text or text.startswith("#"):
            # A comment right above a job says what it is for; one that is a job switched off does not.
            self._comment(text)
            return
        job = _JOB.match(line)
        if job:
            yield self._job(number, text, job["when"], job["rest"])
        elif variable := _VARIABLE.match(line):
            self.variables[_unquoted(variable["name"])] = _unquoted(variable["value"])
        else:
            yield Problem(number, text, "is neither a variable nor five fields and a command")
        self.comments = []

    def _comment(self, text: str) -> None:
        said = text.lstrip("#").strip()
        if not said or _JOB.match(said) or _VARIABLE.match(said):
            self.comments = []
        else:
            self.comments.append(said)

    def _job(self, number: int, text: str, when: str, rest: str) -> Job | Problem:
        user = None
        if self.system:
            user, _, rest = rest.partition(" ")
            rest = rest.strip()
            if not rest:
                return Problem(number, text, f'has a user, "{user}", and no command')
        if when.startswith("@") and when.lower() not in _WORDS:
            return Problem(number, text, _no_slot(when.lower()))
        command, given = _split(rest)
        if not command:
            return Problem(number, text, "has no command")
        cron = _WORDS.get(when.lower(), " ".join(when.split()))
        return Job(number, text, cron, command, dict(self.variables), given, user, " ".join(self.comments) or None)


def read(text: str, *, system: bool) -> Iterator[Job | Problem]:
    """The jobs of a crontab, and the lines that are none; with `system` the sixth field is a user (/etc/crontab)."""
    reader = _Reader(system)
    for number, line in enumerate(text.splitlines(), start=1):
        yield from reader.read(number, line)


def _no_slot(word: str) -> str:
    if word == "@reboot":
        return "@reboot is not an instant: let the system start it (a systemd unit), or run it by hand"
    return f"{word} is not known: write it as five fields, or as `every:` in a schedule file"


def _split(rest: str) -> tuple[str, str | None]:
    """The command, and what cron gives it on standard input: behind the first `%`, each further one a new line."""
    parts = [part.replace(r"\%", "%") for part in re.split(r"(?<!\\)%", rest)]
    return parts[0].strip(), "\n".join(parts[1:]) if len(parts) > 1 else None


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text
