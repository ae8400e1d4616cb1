"""The JSON Schema of a schedule file, by which editors complete and check it while it is typed."""

from __future__ import annotations

import json
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from pipeline.policies import Mode
from pipeline.retry import Retry
from pipeline.schedule import RETRIES, Schedule

# Where editors look for it: `# yaml-language-server: $schema=../schedule.schema.json` in a schedule file.
FILE = "schedule.schema.json"
DIALECT = "https://json-schema.org/draft/2020-12/schema"

_TEXT: dict[str, Any] = {"type": "string"}
_SECONDS: dict[str, Any] = {"type": "number", "exclusiveMinimum": 0}
# A number that YAML makes of a word is taken as it was written.
_WORD: dict[str, Any] = {"anyOf": [_TEXT, {"type": "integer"}]}
# The forms that a validator turns into the field's own type before pydantic looks at it.
_SHORT: dict[tuple[str, str], list[dict[str, Any]]] = {
    ("Schedule", "when"): [{**_TEXT, "description": 'A cron expression: "0 7 * * mon".'}],
    ("Schedule", "catch_up"): [{"enum": [*Mode]}],
    ("Webhook", "link_above"): [_TEXT],
    ("Webhook", "attach"): [{"enum": ["pdf", "xlsx", "csv", "html"]}],
    ("Schedule", "notify"): [_TEXT],
    ("Schedule", "approvers"): [_TEXT],
    ("Schedule", "lapse_after"): [_SECONDS],
    ("Schedule", "period"): [{"type": "integer"}],
    ("Schedule", "allow_failed"): [{**_TEXT, "pattern": r"^\d+(\.\d+)?%$"}],
    ("Schedule", "task"): [{**_TEXT, "description": "Its name: myapp.tasks.nightly."}],
    ("Schedule", "command"): [
        {"type": "array", "items": _WORD, "minItems": 1, "description": "The program and its arguments."}
    ],
    ("Schedule", "after"): [_TEXT, {"type": "array", "items": _TEXT, "description": "The schedules' keys."}],
    ("Command", "time_limit"): [_SECONDS],
    ("ForeignTask", "time_limit"): [_SECONDS],
    ("ReadyWhen", "every"): [_SECONDS],
    ("ReadyWhen", "give_up_after"): [_SECONDS],
    ("After", "schedules"): [_TEXT],
    ("After", "give_up_after"): [_SECONDS],
    ("When", "at"): [_TEXT],
    ("When", "every"): [_SECONDS],
    ("When", "jitter"): [_SECONDS],
    ("CatchUp", "window"): [_SECONDS],
    ("Deadline", "start_within"): [_SECONDS],
    ("Deadline", "finish_within"): [_SECONDS],
    ("Message", "link_above"): [_TEXT],
    ("Message", "attach"): [{"enum": ["pdf", "xlsx", "csv", "html"]}],
    ("Person", "key"): [{"type": "integer"}],
    ("Report", "period"): [{"type": "integer"}],
    ("Report", "formats"): [{"enum": ["pdf", "xlsx", "csv", "html"]}],
    ("Report", "columns"): [{"type": "array", "items": _TEXT, "description": "Names only."}],
    ("Chart", "y"): [_TEXT],
}
# What the models say in their docstrings, or leave to the reader.
_DESCRIPTIONS = {
    (
        "Schedule",
        "when",
    ): "When it is due: a cron expression, or cron, every or at with its options. Left out: by hand.",
    ("Schedule", "deadline"): "When its runs have to have started and finished; later somebody is told.",
    (
        "Schedule",
        "catch_up",
    ): "What is made up for after a downtime of beat: latest, all or none, or mode with its options.",
    (
        "Schedule",
        "recipients",
    ): "Who gets the documents: addresses, people with a key each, a query, a file, subscriptions.",
    ("Schedule", "task"): "A Celery task of another application, by its name or with its arguments, queue and limit.",
    ("Schedule", "command"): "A program and its arguments, or these with folder, environment and time limit.",
    ("Schedule", "ready_when"): "What a run waits for before it starts: a query that gives a true value, or a file.",
    ("Schedule", "after"): "Schedules whose run for the same period has to succeed before this one's starts.",
    ("Schedule", "message"): "How the e-mail around the documents looks.",
    ("Message", "reply_to"): "Where answers go, an address.",
    ("Person", "email"): "The address, without a name.",
    ("Person", "key"): "Whose document it is: a value of the column that the report is split by.",
    ("Person", "name"): "How the message addresses the person.",
    ("Person", "locale"): "The person's own, such as de_DE.",
    ("Person", "zone"): "The person's own, an IANA name.",
    ("Report", "page"): "The paper.",
    ("Report", "formats"): "What is made of each document.",
    ("Report", "pdf"): "pdf/ua-1: accessible; pdf/a-3a: for archives.",
}


_KIND_OF_DAYS = {
    "anyOf": [
        {**_TEXT, "description": "business_days, holidays:DE-BY, sat, mon-fri, 2026-12-24, or closed.txt."},
        *(
            {"type": "object", "properties": {name: _TEXT}, "required": [name], "additionalProperties": False}
            for name in ("holidays", "file")
        ),
    ]
}


class _Plain(GenerateJsonSchema):
    """Without a title for every property: `split_by` needs no "Split By"."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - pydantic's signature
        return False


def json_schema() -> dict[str, Any]:
    """The schema of what `pipeline.schedule.parse` reads, the short forms included."""
    made = Schedule.model_json_schema(schema_generator=_Plain)
    owners = {"Schedule": made, **made["$defs"]}
    for (owner, name), forms in _SHORT.items():
        _also(owners[owner]["properties"], name, forms)
    for (owner, name), text in _DESCRIPTIONS.items():
        owners[owner]["properties"][name]["description"] = text
    made["properties"]["recipients"] = _recipients(
        made["$defs"]["Source"]["properties"], made["$defs"]["Recipients"]["properties"]
    )
    places = [{**_TEXT, "description": "A folder."}, *({"$ref": f"#/$defs/{kind}"} for kind in ("Folder", "Webhook"))]
    made["properties"]["deliver_to"]["items"] = {"anyOf": places}
    _also(made["properties"], "deliver_to", places)
    owners["Report"]["properties"]["columns"]["anyOf"][-1]["additionalProperties"] = {
        "anyOf": [_TEXT, {"$ref": "#/$defs/Column"}, {"type": "null"}]
    }
    owners["Command"]["properties"]["run"]["items"] = _WORD
    owners["Command"]["properties"]["environment"]["additionalProperties"] = _WORD
    for name in ("only_on", "except_on"):
        _of_days(owners["When"]["properties"], name)
    made["$defs"]["KindOfDays"] = _KIND_OF_DAYS
    made["$defs"]["Retry"] = _retry()
    of_kinds = {kind: {"$ref": "#/$defs/Retry", "default": _default(retry)} for kind, retry in RETRIES.items()}
    made["properties"]["retry"] |= {"properties": of_kinds, "additionalProperties": {"$ref": "#/$defs/Retry"}}
    del made["properties"]["message"]["default"]
    return {"$schema": DIALECT, "title": "A schedule of the report pipeline", **made}


def text() -> str:
    """The schema as the file that is committed and copied into homes."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def _also(properties: dict[str, Any], name: str, forms: list[dict[str, Any]]) -> None:
    """Let a property be written in these forms, too."""
    kept = {key: value for key, value in properties[name].items() if key in {"default", "description"}}
    own = {key: value for key, value in properties[name].items() if key not in kept}
    properties[name] = {"anyOf": [*forms, *(own["anyOf"] if set(own) == {"anyOf"} else [own])], **kept}


def _of_days(properties: dict[str, Any], name: str) -> None:
    kind = {"$ref": "#/$defs/KindOfDays"}
    properties[name] |= {"anyOf": [kind, {"type": "array", "items": kind}, {"type": "null"}]}


def _recipients(source: dict[str, Any], recipients: dict[str, Any]) -> dict[str, Any]:
    """Addresses, people, a query, a file, or the long form; the middle two take fields of `source` and of it, too."""
    person = {"anyOf": [_TEXT, {"$ref": "#/$defs/Person"}]}
    recipients["people"]["items"] = person
    queried = {
        "query": {**_TEXT, "description": "Its columns: email and, for a split report, key; name, locale, zone."}
    }
    filed = {"file": {**_TEXT, "description": "A CSV, Parquet or JSON file with the same columns."}}
    of_file = {name: source[name] for name in ("format", "rows_at", "headers")}
    also = {"people": recipients["people"], "subscriptions": recipients["subscriptions"]}
    return {
        "description": _DESCRIPTIONS["Schedule", "recipients"],
        "anyOf": [
            {**_TEXT, "description": "An address, or subscriptions: those whom `pipeline subscribe` has on record."},
            {"type": "array", "items": person},
            _mapping(queried | {name: source[name] for name in ("database", "time")} | also, ["database", "query"]),
            _mapping(filed | of_file | also, ["file"]),
            {"$ref": "#/$defs/Recipients"},
        ],
    }


def _retry() -> dict[str, Any]:
    """The fields of a retry: those of the report's steps by kind, and of a workflow's own by their names."""
    texts = {
        "attempts": "Tries in all.",
        "first": "The first wait: seconds, or 30s, 2m, 1h.",
        "factor": "Each wait is so many times the one before.",
        "ceiling": "The longest wait.",
        "jitter": "The share of a wait that chance takes off, 0 to 1.",
        "give_up_after": "No attempt starts later than this after the first one.",
        "time_limit": "An attempt that takes longer is stopped, and counts as one that may be tried again.",
    }
    kinds: dict[str, Any] = {"attempts": "integer", "factor": "number", "jitter": "number"}
    duration = ["number", "string", "null"]
    return _mapping(
        {name: {"type": kinds.get(name, duration), "description": text} for name, text in texts.items()}, []
    )


def _default(retry: Retry) -> dict[str, Any]:
    return {name: value for name, value in retry.to_json().items() if value is not None}


def _mapping(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    made = {"type": "object", "properties": properties, "additionalProperties": False}
    return made | ({"required": required} if required else {})
