"""What the words of a notice are made from, as its templates see it; no words here."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from pipeline.models import Notice
from pipeline.notice import Kind
from pipeline.services.answers import wording
from pipeline.settings import settings

# Every name that a template may ask for, whatever the kind: what is not known is none.
NAMES = (
    "schedule", "period", "run", "due", "trigger", "reason", "affected", "heals", "command", "since", "times",
    "next_due", "deadline", "file", "name", "others", "count", "how", "first_reason", "reminder",
    "of", "before", "samples", "page",
)  # fmt: skip
# Facts that are instants, in ISO 8601: the templates see them as people say them.
_INSTANTS = {"due_at": "due", "since": "since", "next_due_at": "next_due", "deadline": "deadline"}


def context(notice: Notice) -> dict[str, Any]:
    """The facts of a notice by the names that templates know, instants in the schedule's zone or PIPELINE_TIMEZONE."""
    if notice.kind == Kind.DIGEST:
        return digest_context(notice.facts)
    # What would happen without anybody is no news of what has ended.
    first = {name: value for name, value in notice.facts.get("first", {}).items() if name != "heals"}
    facts: Mapping[str, Any] = {**first, **notice.facts}
    zone = str(facts.get("zone") or settings().timezone)
    said: dict[str, Any] = dict.fromkeys(NAMES)
    said |= {name: value for name, value in facts.items() if name not in _INSTANTS}
    for fact, name in _INSTANTS.items():
        if facts.get(fact):
            said[name] = wording.moment(datetime.fromisoformat(facts[fact]), zone)
    said["schedule"] = said["schedule"] or notice.schedule_key
    if said["run"] and settings().public_url:
        said["page"] = f"{settings().public_url}/runs/{said['run']}"
    said["run"] = wording.short(UUID(said["run"])) if said["run"] else None
    # What a late run was at when it was told of is no reason for what was wrong.
    said["first_reason"] = None if "deadline" in first else first.get("reason")
    said["at"] = wording.moment(notice.created_at, zone)
    return said


def digest_context(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What the words of a digest are made from: its facts, with runs and instants as people name them."""
    zone = facts["zone"]

    def said(at: str) -> str:
        return wording.moment(datetime.fromisoformat(at), zone)

    def named(line: Mapping[str, Any]) -> dict[str, Any]:
        return {**line, "run": wording.short(UUID(line["run"]))}

    return {
        **facts,
        "day": wording.day(datetime.fromisoformat(facts["until"]), zone),
        "since": said(facts["since"]),
        "until": said(facts["until"]),
        "wrong": [named(line) for line in facts["wrong"]],
        "waiting": [named(line) for line in facts["waiting"]],
        "late": [{**named(line), "deadline": said(line["deadline"])} for line in facts["late"]],
        "due": [{**line, "at": said(line["at"])} for line in facts["due"]],
        "total": sum(facts["runs"].values()),
        "well": facts["runs"].get("succeeded", 0),
        "sent": facts["deliveries"].get("accepted", 0),
        "trouble": _trouble(facts),
    }


def _trouble(facts: Mapping[str, Any]) -> list[str]:
    """What is wrong, in a few words each; nothing where all is well."""
    counts = {
        "failed": facts["wrong_counts"].get("failed", 0),
        "partly failed": facts["wrong_counts"].get("partial", 0),
        "late": len(facts["late"]),
        "waiting": len(facts["waiting"]),
        "dropped": sum(line["schedules"] for line in facts["dropped"]),
        "uncertain": facts["uncertain"],
        ("refused file" if len(facts["files"]) == 1 else "refused files"): len(facts["files"]),
    }
    return [f"{count:,} {name}" for name, count in counts.items() if count]


def about(notice: Notice) -> dict[str, Any]:
    """What a machine is told: the row, with its facts."""
    return {
        "notice": str(notice.id),
        "subject": notice.subject,
        "episode": notice.episode,
        "schedule": notice.schedule_key,
        "run": str(notice.run_id) if notice.run_id else None,
        "at": notice.created_at.isoformat(),
        "facts": notice.facts,
    }
