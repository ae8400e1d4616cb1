"""A crontab's jobs written as schedule files, and a word on whatever cron does that they do not."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from pipeline import schedule, targets, timing
from pipeline.adapters.reading import Reader
from pipeline.authoring.crontab.naming import name_of
from pipeline.authoring.crontab.reading import Job, Problem, read
from pipeline.errors import DefinitionError

# What cron gives a job that its crontab does not say.
PATH, SHELL = "/usr/bin:/bin", "/bin/sh"
# cron has no limit of time; a job that hangs should not hang for ever.
TIME_LIMIT = "24h"
# Variables that speak to cron, and not to the job.
_FOR_CRON = frozenset({"SHELL", "HOME", "MAILTO", "MAILFROM", "CRON_TZ", "RANDOM_DELAY", "LOGNAME", "USER"})
_MEANINGLESS = {
    "MAILFROM": "PIPELINE_MAIL_FROM is the sender of all notices",
    "START_HOURS_RANGE": "it is anacron's",
    "CONTENT_TYPE": "notices have their own form",
    "CONTENT_TRANSFER_ENCODING": "notices have their own form",
}
_SECRET = re.compile(r"PASS|SECRET|TOKEN|APIKEY|API_KEY|CREDENTIAL", re.IGNORECASE)


@dataclass(frozen=True)
class Written:
    """What became of one line: the schedule file's name, or why there is none; `notes` say what is not as in cron."""

    number: int
    text: str
    key: str | None = None
    file: str | None = None
    when: str | None = None
    # It was imported before: a file with the same command and times is there.
    known: bool = False
    why: str | None = None
    notes: tuple[str, ...] = ()


@dataclass
class Imported:
    """What became of a crontab, line by line; `files` are the texts of the new files by their names."""

    lines: list[Written] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Here:
    """What cron would know of this machine: its time zone, and the home of whoever the job runs as."""

    zone: str | None
    # The home of a user, None being whoever asks; None where it is not known.
    home_of: Callable[[str | None], str | None]


def import_crontab(text: str, source: str, folder: Path, here: Here, *, system: bool = False) -> Imported:
    """The schedule files that the crontab's jobs become; nothing is written. Names that `folder` has are not taken.

    `source` is what the files' first line names as their origin.
    """
    importing = _Import(source, here, dict(_existing(folder)), {path.stem for path in folder.glob("*.y*ml")})
    found = Imported(files=importing.files)
    for one in read(text, system=system):
        if isinstance(one, Problem):
            found.lines.append(Written(one.number, one.text, why=one.why))
        else:
            found.lines.append(importing.write(one))
    return found


def _existing(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted(folder.glob("*.yaml")):
        try:
            yield path.stem, Reader().yaml(path, path.name)
        except DefinitionError:
            continue


@dataclass
class _Import:
    source: str
    here: Here
    existing: Mapping[str, dict[str, Any]]
    taken: set[str]
    files: dict[str, str] = field(default_factory=dict)

    def write(self, job: Job) -> Written:
        definition, notes = _definition(job, self.here)
        same = next((key for key, other in self.existing.items() if _is_same(definition, other)), None)
        if same is not None:
            return Written(job.number, job.text, same, f"{same}.yaml", known=True)
        try:
            parsed = schedule.parse(definition, job.cron)
        except DefinitionError as error:
            return Written(job.number, job.text, why=str(error).removeprefix(f"{job.cron}: when."))
        key = name_of(job.command, self.taken)
        self.taken.add(key)
        self.files[f"{key}.yaml"] = _text(job, self.source, definition)
        zone = definition["when"].get("timezone")
        when = timing.describe(parsed.when.spec(zone or "UTC"), zone) if parsed.when else None
        return Written(job.number, job.text, key, f"{key}.yaml", when, notes=tuple(notes))


def _is_same(definition: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return all(definition[name] == other.get(name) for name in ("command", "when"))


def _definition(job: Job, here: Here) -> tuple[dict[str, Any], list[str]]:
    variables, notes = dict(job.variables), []
    folder = variables.get("HOME") or here.home_of(job.user)
    zone = variables.get("CRON_TZ") or here.zone
    if job.user:
        notes.append(f'runs as whoever runs the workers, not as "{job.user}"')
    if folder is None:
        notes.append("starts in the pipeline's home: the home of its user is not known here")
    if zone is None:
        notes.append("is due by PIPELINE_TIMEZONE: this machine's time zone is not known")
    notes += [f"{name} is left out: {why}" for name, why in _MEANINGLESS.items() if name in variables]
    environment = {"PATH": PATH, **({"HOME": folder} if folder else {})}
    environment |= {name: value for name, value in variables.items() if name not in _FOR_CRON | _MEANINGLESS.keys()}
    notes += [
        f"{name} stands in the file: set it in .env, and write {name}: ${name}"
        for name in environment
        if _SECRET.search(name)
    ]
    if re.search(r"\bdate\b", job.command):
        notes.append('asks for the date: "$PIPELINE_DUE_DATE" is the day it was due on, also on a late retry')
    command = {
        "run": [variables.get("SHELL", SHELL), "-c", targets.literal(_shell(job))],
        "cwd": targets.literal(folder) if folder else None,
        "environment": {name: targets.literal(text.replace("$", "$$")) for name, text in environment.items()},
        "time_limit": TIME_LIMIT,
    }
    when = {"cron": job.cron, "timezone": zone, "jitter": _jitter(variables.get("RANDOM_DELAY"))}
    definition = {"description": job.comment, "command": _said(command), "when": _said(when)}
    return _said({**definition, **_notify(variables.get("MAILTO"), notes)}), notes


def _shell(job: Job) -> str:
    """The command with its standard input, which a program has none of here."""
    if job.given is None:
        return job.command
    return f"printf '%s\\n' {shlex.quote(job.given)} | {{\n{job.command}\n}}"


def _jitter(minutes: str | None) -> str | None:
    return f"{minutes}m" if minutes and minutes.isdigit() and int(minutes) else None


def _notify(mailto: str | None, notes: list[str]) -> dict[str, list[str]]:
    """Write whom to tell: cron mails whatever a job writes; here people are told when it fails."""
    if mailto is None:
        return {}
    named = [word for word in re.split(r"[,\s]+", mailto) if word]
    local = [word for word in named if "@" not in word]
    if local:
        notes.append(f"MAILTO {', '.join(local)} is not an address: name one in `notify`")
    return {"notify": [word for word in named if "@" in word]} if not mailto or len(local) < len(named) else {}


def _said(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _text(job: Job, source: str, definition: Mapping[str, Any]) -> str:
    line = "".join(one if one.isprintable() else "?" for one in job.text)
    body = yaml.dump(dict(definition), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
    return f"# From {source}, line {job.number}:\n# {line}\n{body}"


class _Dumper(yaml.SafeDumper):
    """Lists in one line, texts of several lines as they are: as people write them."""


def _list(dumper: yaml.SafeDumper, items: list[Any]) -> yaml.Node:
    lines = any(isinstance(item, str) and "\n" in item for item in items)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=not lines)


def _string(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(list, _list)
_Dumper.add_representer(str, _string)
