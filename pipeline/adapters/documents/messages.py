"""The e-mail around documents: subject, text and HTML from the templates, its CSS inlined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.adapters.documents.content import Content, MessageParts
from pipeline.adapters.documents.context import base_context, shown
from pipeline.adapters.documents.locales import Localizer, localizer
from pipeline.adapters.documents.templates import Templates, one_line, opened
from pipeline.errors import PermanentError
from pipeline.timing import Period

_SCALARS = (str, int, float, bool, type(None))


def message_facts(content: Content, folder: Path) -> dict[str, Any]:
    """What a message says of a document, as JSON: kept beside the document, it spares `deliver` the rows.

    Numbers are written as the document writes them. Of what build() returned, texts and numbers are kept.
    """
    templates, reader = opened(folder, content.template), localizer(content.locale, content.zone)
    content, table = shown(content, hide_key=True)
    context = base_context(content, table, reader, templates)
    return {
        "template": content.template,
        "title": context["title"],
        "key": context["key"],
        "key_label": context["key_label"],
        "report": content.name,
        "period": content.period.to_json(),
        "figures": [{"label": figure.label, "value": figure.value} for figure in context["figures"]],
        "summary": context["summary"],
        "rows_count": len(content.rows),
        "generated_at": content.generated_at.isoformat(),
        "locale": content.locale,
        "zone": content.zone,
        "params": {name: value for name, value in content.params.items() if isinstance(value, _SCALARS)},
        "extra": {name: value for name, value in content.extra.items() if isinstance(value, _SCALARS)},
    }


def render_message_parts(  # noqa: PLR0913 - the parts of a message, the last ones by name
    content: Content | Mapping[str, Any],
    folder: Path,
    recipient: Mapping[str, Any],
    attachments: Sequence[str],
    *,
    schedule: str = "",
    sender: str = "",
    subject: str | None = None,
) -> MessageParts:
    """The message to one recipient (name, locale, zone; each may be missing) with the files named in `attachments`.

    `content` is a document's Content or its `message_facts`. `subject` is the schedule's own Jinja2 line and wins over
    `subject.txt`. Raises PermanentError for an undefined name or an empty subject.
    """
    facts = message_facts(content, folder) if isinstance(content, Content) else content
    templates = opened(folder, facts["template"])
    reader = reader_of(facts, recipient)
    context = message_context(facts, templates, recipient, attachments, schedule=schedule, sender=sender)
    if subject:
        line = templates.render_text(subject, context, reader, place=f"message.subject of {context['schedule']}")
    else:
        line = one_line(templates.render("subject.txt", context, reader))
    if not line:
        raise PermanentError(f"the subject of {context['schedule']} is empty: see {templates.place('subject.txt')}")
    text = templates.render("body.txt", context, reader).strip() + "\n"
    return MessageParts(line, text, _inliner().inline(templates.render("body.html", context, reader)))


def reader_of(facts: Mapping[str, Any], recipient: Mapping[str, Any]) -> Localizer:
    """The recipient's own locale and zone, the document's where none is given."""
    return localizer(recipient.get("locale") or facts["locale"], recipient.get("zone") or facts["zone"])


def message_context(  # noqa: PLR0913 - as above
    facts: Mapping[str, Any],
    templates: Templates,
    recipient: Mapping[str, Any],
    attachments: Sequence[str],
    *,
    schedule: str = "",
    sender: str = "",
) -> dict[str, Any]:
    """The names that subject.txt, body.txt and body.html are given."""
    reader = reader_of(facts, recipient)
    period = Period.from_json(facts["period"])
    return {
        **facts["extra"],
        **{name: facts[name] for name in ("title", "key", "key_label", "report", "figures", "summary", "rows_count")},
        "params": facts["params"],
        "period": period,
        "period_title": reader.period(period),
        "generated_at": datetime.fromisoformat(facts["generated_at"]),
        "name": recipient.get("name") or "",
        "attachments": list(attachments),
        "schedule": schedule or facts["report"],
        "sender": sender,
        "locale": str(reader.locale),
        "lang": reader.language,
        "dir": reader.direction,
        "zone": recipient.get("zone") or facts["zone"],
        "words": templates.words(reader),
    }


@cache
def _inliner() -> Any:
    """It takes a tenth of a millisecond a message, so each message is inlined whole, after Jinja2.

    Before it, once per template, would be cheaper and wrong: loops in tables and inherited blocks are not HTML yet.
    """
    from css_inline import CSSInliner

    return CSSInliner(load_remote_stylesheets=False, keep_at_rules=True)
