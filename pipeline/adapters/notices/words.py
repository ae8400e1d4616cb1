"""Puts a notice into words: a kind is a folder of templates, the home's own before those that come with the package."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pipeline
from pipeline import log
from pipeline.notice import Letter, Tone, Words
from pipeline.settings import settings

if TYPE_CHECKING:
    from jinja2 import Environment

logger = log.get(__name__)
FOLDER = "_notices"
COLOURS = {Tone.BAD: "#c0362c", Tone.WARNING: "#d08700", Tone.GOOD: "#2e7d4f", Tone.PLAIN: "#4a6fa5"}
# Characters that a line of a subject or a card has room for.
TITLE = 200


def put(kind: str, context: Mapping[str, Any], about: Mapping[str, Any]) -> Words:
    """The notice in words. A mistake in templates is logged, and never keeps anybody from hearing of it."""
    from jinja2 import TemplateError

    own = settings().home / "templates" / FOLDER
    places = [own] if own.is_dir() and own != shipped() else []
    for place in [*places, None]:
        try:
            return _put(_environment(place), kind, context, about)
        except TemplateError as error:
            where = f"templates/{FOLDER}/{kind}"
            logger.exception(
                "the words of a notice cannot be used", place=where, error=f"{type(error).__name__}: {error}"
            )
    said = "\n\n".join(f"{name}: {value}" for name, value in context.items() if value is not None)
    return Words(kind, kind.replace("_", " ").capitalize(), said, "pipeline notices", about)


def shipped() -> Path:
    """The words that come with the package: in an installed wheel inside of it, in a clone beside it."""
    package = Path(pipeline.__file__).parent
    installed = package / "_notice_templates"
    return installed if installed.is_dir() else package.parent / "templates" / FOLDER


def page(letter: Letter, kind: str) -> str:
    """The body of a letter's e-mail; `kind` is txt or html."""
    single = letter.notices[0]
    if kind == "html" and single.html and len(letter.notices) == 1:
        return single.html
    environment = _environment(None, trimmed=True)
    said = {"title": letter.title, "notices": letter.notices, "more": letter.more, "why": letter.why}
    return environment.get_template(f"_mail/body.{kind}").render(**said, colours=COLOURS)


def _put(environment: Environment, kind: str, context: Mapping[str, Any], about: Mapping[str, Any]) -> Words:
    def said(name: str) -> str:
        return environment.get_template(f"{kind}/{name}").render(context)

    html = f"{kind}/body.html" in environment.list_templates()
    return Words(
        kind=kind,
        title=" ".join(said("subject.txt").split())[:TITLE],
        text=_paragraphs(said("body.txt")),
        command=said("command.txt").strip(),
        about=about,
        html=said("body.html") if html else None,
    )


def _paragraphs(text: str) -> str:
    """Paragraphs without line breaks of their own, but for lists: how wide a line is, the reader's program knows."""
    found = [part.strip() for part in re.split(r"\n\s*\n", text)]
    return "\n\n".join(part if part.startswith("- ") else " ".join(part.split()) for part in found if part)


@lru_cache(maxsize=4)
def _environment(own: Path | None, *, trimmed: bool = False) -> Environment:
    from jinja2 import FileSystemLoader, StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    return ImmutableSandboxedEnvironment(
        loader=FileSystemLoader([folder for folder in (own, shipped()) if folder]),
        undefined=StrictUndefined,
        autoescape=lambda name: bool(name) and not name.endswith(".txt"),
        trim_blocks=trimmed,
        lstrip_blocks=trimmed,
    )
