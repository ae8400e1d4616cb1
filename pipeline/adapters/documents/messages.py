"""The e-mail around documents: subject, text and HTML from the templates, its CSS inlined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.adapters.documents import images
from pipeline.adapters.documents.content import Content, Enclosure, Envelope, MessageParts
from pipeline.adapters.documents.context import base_context, shown
from pipeline.adapters.documents.locales import Localizer, localizer
from pipeline.adapters.documents.templates import Templates, one_line, opened
from pipeline.errors import PermanentError
from pipeline.timing import Period

# Keys of a combined message that its subject names.
MOST_KEYS = 3
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


def render_message_parts(
    enclosures: Sequence[Enclosure], folder: Path, recipient: Mapping[str, Any], envelope: Envelope
) -> MessageParts:
    """The message to one recipient (name, locale, zone; each may be missing) around one document or several.

    Raises PermanentError for an undefined name, an image that is not there, or an empty subject.
    """
    facts = [facts_of(one, folder) for one in enclosures]
    templates = opened(folder, facts[0]["template"])
    reader = reader_of(facts[0], recipient)
    context = message_context(facts, enclosures, templates, recipient, envelope)
    if envelope.subject:
        line = templates.render_text(
            envelope.subject, context, reader, place=f"message.subject of {context['schedule']}"
        )
    else:
        line = one_line(templates.render("subject.txt", context, reader))
    if not line:
        raise PermanentError(f"the subject of {context['schedule']} is empty: see {templates.place('subject.txt')}")
    text = templates.render("body.txt", context, reader).strip() + "\n"
    html, found = images.placed(_inliner().inline(templates.render("body.html", context, reader)), templates)
    return MessageParts(line, text, html, found)


def facts_of(enclosure: Enclosure, folder: Path) -> Mapping[str, Any]:
    about = enclosure.about
    return message_facts(about, folder) if isinstance(about, Content) else about


def reader_of(facts: Mapping[str, Any], recipient: Mapping[str, Any]) -> Localizer:
    """The recipient's own locale and zone, the document's where none is given."""
    return localizer(recipient.get("locale") or facts["locale"], recipient.get("zone") or facts["zone"])


def message_context(
    facts: Sequence[Mapping[str, Any]],
    enclosures: Sequence[Enclosure],
    templates: Templates,
    recipient: Mapping[str, Any],
    envelope: Envelope,
) -> dict[str, Any]:
    """The names that subject.txt, body.txt and body.html are given.

    With several documents the figures, the summary and what build() returned are those of each, in `documents`.
    """
    reader, first = reader_of(facts[0], recipient), facts[0]
    period = Period.from_json(first["period"])
    alone = len(facts) == 1
    return {
        **(first["extra"] if alone else {}),
        **{name: first[name] for name in ("title", "key_label", "report", "params")},
        "key": first["key"] if alone else listed([one["key"] for one in facts]),
        "figures": first["figures"] if alone else [],
        "summary": first["summary"] if alone else "",
        "rows_count": sum(one["rows_count"] for one in facts),
        "documents": [_enclosed(*pair) for pair in zip(facts, enclosures, strict=True)],
        "period": period,
        "period_title": reader.period(period),
        "generated_at": datetime.fromisoformat(first["generated_at"]),
        "name": recipient.get("name") or "",
        "attachments": [name for one in enclosures for name in one.attachments],
        "links": [link for one in enclosures for link in one.links],
        "links_end": envelope.links_end,
        "missing": list(envelope.missing),
        "unsubscribe_url": envelope.unsubscribe_url,
        "schedule": envelope.schedule or first["report"],
        "sender": envelope.sender,
        "locale": str(reader.locale),
        "lang": reader.language,
        "dir": reader.direction,
        "zone": recipient.get("zone") or first["zone"],
        "words": templates.words(reader),
    }


def _enclosed(facts: Mapping[str, Any], enclosure: Enclosure) -> dict[str, Any]:
    said = {name: facts[name] for name in ("title", "key", "key_label", "figures", "summary", "rows_count", "extra")}
    return {**said, "attachments": list(enclosure.attachments), "links": list(enclosure.links)}


def listed(keys: Sequence[str]) -> str:
    """A few keys by name, many by their number: it is read in subjects."""
    shown = ", ".join(keys[:MOST_KEYS])
    return f"{shown}, … ({len(keys)})" if len(keys) > MOST_KEYS else shown


@cache
def _inliner() -> Any:
    """It takes a tenth of a millisecond a message, so each message is inlined whole, after Jinja2.

    Before it, once per template, would be cheaper and wrong: loops in tables and inherited blocks are not HTML yet.
    """
    from css_inline import CSSInliner

    return CSSInliner(load_remote_stylesheets=False, keep_at_rules=True)
