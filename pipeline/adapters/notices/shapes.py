"""A letter as each kind of webhook takes it: Slack's blocks, Teams' adaptive card, or plain JSON."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pipeline.notice import Letter, Shape, Tone, Words

# Slack refuses more (docs.slack.dev, reference/block-kit/blocks): characters of a section and of a header, and blocks.
SECTION, HEADER, BLOCKS = 3000, 150, 50
_SIGNS = {
    Tone.BAD: ":red_circle:",
    Tone.WARNING: ":large_orange_circle:",
    Tone.GOOD: ":large_green_circle:",
    Tone.PLAIN: ":information_source:",
}
# Adaptive Cards: the colours of a TextBlock.
_COLOURS = {Tone.BAD: "Attention", Tone.WARNING: "Warning", Tone.GOOD: "Good", Tone.PLAIN: "Default"}


def payload(letter: Letter, shape: Shape) -> dict[str, Any]:
    """What is posted, before it becomes JSON."""
    return _SHAPES[shape](letter)


def _slack(letter: Letter) -> dict[str, Any]:
    blocks = [block for words in letter.notices for block in _blocks(words)]
    foot = [_context(f"and {len(letter.more)} more: `pipeline notices`")] if letter.more else []
    return {"text": _escaped(letter.title), "blocks": [*blocks[: BLOCKS - len(foot)], *foot]}


def _blocks(words: Words) -> Iterator[dict[str, Any]]:
    head = f"{_SIGNS[words.tone]} *{_escaped(words.title)}*"
    yield {"type": "section", "text": {"type": "mrkdwn", "text": head[:SECTION]}}
    yield {"type": "section", "text": {"type": "mrkdwn", "text": _escaped(words.text)[:SECTION]}}
    yield _context(f"`{_escaped(words.command)}`")


def _context(text: str) -> dict[str, Any]:
    return {"type": "context", "elements": [{"type": "mrkdwn", "text": text}]}


def _escaped(text: str) -> str:
    """Slack's three characters: a reason that holds <!channel> calls nobody."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _teams(letter: Letter) -> dict[str, Any]:
    body = [part for words in letter.notices for part in _card(words)]
    if letter.more:
        body.append(_text(f"and {len(letter.more)} more: pipeline notices", isSubtle=True))
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "msteams": {"width": "Full"},
        "body": body,
    }
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
    return {"type": "message", "summary": letter.title, "attachments": [attachment]}


def _card(words: Words) -> Iterator[dict[str, Any]]:
    yield _text(words.title, weight="Bolder", size="Medium", color=_COLOURS[words.tone])
    yield from (_text(paragraph) for paragraph in words.text.split("\n\n"))
    yield _text(words.command, fontType="Monospace")


def _text(text: str, **looks: Any) -> dict[str, Any]:
    # A card's text is Markdown: what a reason quotes is not to become a link or a list.
    literal = re.sub(r"([\\`*_\[\]#~])", r"\\\1", text) if looks.get("fontType") != "Monospace" else text
    return {"type": "TextBlock", "text": literal, "wrap": True, **looks}


def _json(letter: Letter) -> dict[str, Any]:
    notices = [
        {"kind": one.kind, "tone": one.tone, "title": one.title, "text": one.text, "command": one.command, **one.about}
        for one in letter.notices
    ]
    return {
        "id": str(letter.id),
        "at": letter.at.isoformat(),
        "title": letter.title,
        "text": "\n\n".join(one.text for one in letter.notices),
        "notices": notices,
        "more": list(letter.more),
    }


_SHAPES: Mapping[Shape, Callable[[Letter], dict[str, Any]]] = {
    Shape.SLACK: _slack,
    Shape.TEAMS: _teams,
    Shape.JSON: _json,
}
