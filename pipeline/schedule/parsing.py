"""Reads a schedule's definition, and says in the words of its file what is wrong with it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from pipeline.destinations import Folder, Webhook
from pipeline.errors import DefinitionError
from pipeline.mistakes import Owners, sentences
from pipeline.policies import CatchUp, Deadline, Keep
from pipeline.readiness import After, ReadyWhen
from pipeline.report import Chart, Column, Report, Source
from pipeline.schedule.message import Message
from pipeline.schedule.model import Schedule
from pipeline.schedule.recipients import Person, Recipients
from pipeline.targets import Command, ForeignTask
from pipeline.when import When


def parse(definition: Mapping[str, Any], place: str) -> Schedule:
    """The schedule that `definition` (a mapping read from YAML or JSON) describes.

    Raises DefinitionError: one line per mistake, each with `place`, the field and the way out.
    """
    if not isinstance(definition, Mapping):
        raise DefinitionError("must be a mapping of fields such as report, when, recipients", place=place)
    try:
        return Schedule.model_validate(dict(definition))
    except ValidationError as error:
        found = sentences(error, place, Schedule, _OWNERS)
        raise DefinitionError("\n".join(_as_written(line, definition) for line in found)) from None


# What may stand under which name, for "did you mean".
_OWNERS: Owners = {
    "report": Report,
    "when": When,
    "catch_up": CatchUp,
    "deadline": Deadline,
    "keep": Keep,
    "recipients": Recipients,
    "source": Source,
    "sources": Source,
    "people": Person,
    "message": Message,
    "task": ForeignTask,
    "command": Command,
    "ready_when": ReadyWhen,
    "after": After,
    "columns": Column,
    "chart": Chart,
    "Folder": Folder,
    "Webhook": Webhook,
}
# Where a short form was written, its mistakes are told in its own words.
_SHORT = (
    ("report.sources.rows", "report", ()),
    ("recipients.source", "recipients", (("sql", "query"), ("url", "file"))),
)


def _as_written(line: str, definition: Mapping[str, Any]) -> str:
    """The sentence with the names of the short forms that the file uses."""
    for long, short, words in _SHORT:
        part = definition.get(short)
        if f": {long}" in line and isinstance(part, Mapping) and long.split(".")[1] not in part:
            line = line.replace(long, short, 1)
            for name, written in words:
                line = re.sub(rf"\b{name}\b", written, line)
    return line


def revision(definition: Mapping[str, Any]) -> str:
    """The sha256 of a definition with its queries written out: the same text, the same revision.

    The order counts: it is the order of a report's columns, and the first of its sources is the one that is split.
    """
    return hashlib.sha256(json.dumps(definition, default=str).encode()).hexdigest()
