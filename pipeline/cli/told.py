"""How notices and their targets look, and what comes of a test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from pipeline import notice
from pipeline.adapters import notices as post
from pipeline.cli import tables
from pipeline.cli.options import looking
from pipeline.errors import PipelineError, Refused
from pipeline.notice import Kind, Letter, Shape, Target
from pipeline.services.answers import wording
from pipeline.services.answers.notices import Listener, NoticeAnswer, Told, listeners
from pipeline.services.notices.context import digest_context
from pipeline.settings import settings

if TYPE_CHECKING:
    from rich.text import Text

STYLES = {"sent": "green", "waiting": "yellow", "failed": "red"}


def show_notices(found: Sequence[NoticeAnswer], *, unsettled: bool, full: bool) -> None:
    """Print the notices as a table: what it is about and what to type, and how far each target has heard of it."""
    out = tables.console()
    if not found:
        nothing = "Nothing is open." if unsettled else "Nobody has been told anything."
        out.print(tables.hint(f"{nothing} `pipeline notify` says who would be"))
        return
    made = tables.table("when", "what", "to", whole=("when",))
    for one in found:
        what = tables.words(one.title, "bold")
        what.append_text(tables.words(" (goes on)" if one.open else "", "yellow"))
        what.append_text(tables.words(f"\n{one.command}", "cyan"))
        made.add_row(tables.words(wording.brief(one.at, settings().timezone)), what, _to(one))
    out.print(made)
    if full:
        out.print(tables.words(f"\nThe newest {len(found)}; --limit shows more.", "dim"))


def show_digest(facts: dict[str, Any]) -> None:
    """Print the digest as its e-mail says it."""
    words = post.put(Kind.DIGEST, digest_context(facts), {})
    tables.console().print(tables.hint(words.text))


def _to(one: NoticeAnswer) -> Text:
    if one.kept_back:
        return tables.words("kept back", "dim")
    if not one.to:
        return tables.words("nobody: none is named", "yellow")
    said = tables.words("")
    for number, told in enumerate(one.to):
        said.append("\n" if number else "").append_text(_one(told))
    return said


def _one(told: Told) -> Text:
    line = tables.words(f"{told.target} ").append_text(tables.words(told.status, STYLES[told.status]))
    if told.status != "sent" and told.answer:
        line.append_text(tables.words(f": {told.answer}", "dim"))
    if told.next_try_at and told.answer:
        line.append_text(tables.words(f", again at {wording.clock_time(told.next_try_at, settings().timezone)}", "dim"))
    return line


@dataclass(frozen=True)
class Tried:
    """A target, who names it, and whether a test reached it; None where none was sent."""

    target: str
    shape: str
    named_by: list[str]
    reached: bool | None = None
    answer: str | None = None


def named(targets: Sequence[str]) -> list[Listener]:
    """The targets as they were typed, or everybody who is named anywhere. Raises Refused for what is no target."""
    if not targets:
        with looking() as session:
            return listeners(session)
    try:
        return [Listener(notice.target(written), []) for written in targets]
    except ValueError as error:
        raise Refused(str(error)) from None


def tried(found: Sequence[Listener], *, test: bool) -> list[Tried]:
    """Send each a test notice, one after the other, where that is asked for."""
    return [
        Tried(str(one.target), one.target.shape, one.named_by, *(_reached(one.target) if test else ())) for one in found
    ]


def _reached(target: Target) -> tuple[bool, str]:
    words = post.put(Kind.TEST, {}, {})
    why = "You are told because somebody typed `pipeline notify --test`."
    try:
        return True, post.send(target, Letter(uuid4(), [words], [], str(uuid4()), why, datetime.now(UTC)))
    except PipelineError as error:
        return False, str(error)


def show_listeners(results: Sequence[Tried]) -> None:
    """Print the targets as a table, and where mail to them goes."""
    out = tables.console()
    if not results:
        out.print(tables.hint("Nobody is told of anything: set PIPELINE_NOTIFY, or `notify:` in a schedule file"))
        return
    tested = any(result.reached is not None for result in results)
    made = tables.table("target", "named by", *(["answer"] if tested else []))
    for result in results:
        answer = [tables.words(result.answer or "", "green" if result.reached else "red")] if tested else []
        made.add_row(tables.words(result.target), tables.words(", ".join(result.named_by) or "you"), *answer)
    out.print(made)
    if settings().mail != "live" and any(result.shape == Shape.MAIL for result in results):
        mode = "kept by the catcher" if settings().mail == "catch" else f"sent to {settings().mail.partition(':')[2]}"
        out.print(tables.hint(f"\nPIPELINE_MAIL={settings().mail}: mail to them is {mode}; webhooks are called."))
