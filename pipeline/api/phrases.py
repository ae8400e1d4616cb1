"""Refusals in the words of HTTP: services name commands and options, and pydantic has words of its own."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import quote

from pipeline.mistakes import no_field

# Options of the command line, and what says the same in a body.
OPTIONS = {
    "--from": "`from`",
    "--all": "`all`",
    "--failed": "a rerun of what failed",
    "--failed-deliveries": "`failed_deliveries`",
    "--newest-definition": "`newest_definition`",
    "--force": "`force`",
    "--concurrency": "`concurrency`",
    "--key": "`keys`",
    "--to": "`to`",
    "--no-send": '`"send": false`',
}
# Commands, and the call that does the same. What is not here is for whoever is at the machine, over HTTP as well.
CALLS = {
    "show": "GET /api/runs/{}",
    "runs": "GET /api/runs?schedule={}",
    "cancel": "POST /api/runs/{}/cancel",
    "resolve": "POST /api/runs/RUN/deliveries/resolve",
    "trigger": "POST /api/runs",
    "slots": "GET /api/schedules/{}/slots",
    "schedules": "GET /api/schedules",
    "backfill --list": "GET /api/backfills",
    "backfill --cancel": "POST /api/backfills/{}/cancel",
}
_COMMAND = re.compile(r"`pipeline ([a-z]+(?: --list| --cancel)?)(?: ([^`\s]+))?[^`]*`")
_OPTION = re.compile(r"(?<![\w-])--[a-z-]+")
# What pydantic calls a mistake, as the end of a sentence that begins with the field.
_REASONS = {
    "missing": "is missing",
    "string_type": "must be a text",
    "string_too_long": "may have {max_length} characters",
    "string_too_short": "must not be empty",
    "list_type": "must be a list",
    "too_long": "may have {max_length} entries",
    "dict_type": "must be an object of names and values",
    "model_attributes_type": "must be a JSON object; its Content-Type is application/json",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be {ge} or more",
    "less_than_equal": "must be {le} or less",
    "json_invalid": "is no JSON: {error}",
    "enum": "must be {expected}",
    "timezone_aware": "must say its zone, such as 2026-11-01T00:00:00Z",
}


def in_http(sentence: str) -> str:
    """What a service has refused, for somebody who has no command line."""

    def call(found: re.Match[str]) -> str:
        told = CALLS.get(found[1])
        return f"`{told.format(quote(found[2] or 'RUN', safe='@'))}`" if told else found[0]

    quoted = _COMMAND.sub(call, sentence)
    return "".join(
        part if part.startswith("`") else _OPTION.sub(lambda found: OPTIONS.get(found[0], found[0]), part)
        for part in re.split(r"(`[^`]*`)", quoted)
    )


def mistake(found: Mapping[str, Any], field: str, known: Collection[str]) -> str:
    """What pydantic has found wrong with `field`, as a sentence; `known` are the fields that there are."""
    kind = found["type"]
    if kind == "extra_forbidden":
        return f"{field} {no_field(field.rpartition('.')[2], known)}"
    if kind.startswith("datetime"):
        return f"{field} must be an instant, such as 2026-11-01T00:00:00Z"
    if kind in _REASONS:
        return f"{field} {_REASONS[kind].format_map(found.get('ctx', {}))}"
    reason = str(found["msg"]).removeprefix("Value error, ")
    return f"{field}: {reason[:1].lower()}{reason[1:]}"
