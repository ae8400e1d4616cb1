"""How the lists look: runs, schedules, and who got what."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from pipeline.cli import tables
from pipeline.services.answers import Answer, RunSummary, ScheduleSummary, Who, wording

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from pipeline.cli.reopening import Opened

# Failures that are explained below the table of runs.
EXPLAINED = 5
# Columns from which on a table has room for more than what was asked.
WIDE = 110
# Characters of what a schedule is for.
ABOUT = 44


def show_runs(runs: Sequence[RunSummary], name: str | None, *, filtered: bool, full: bool) -> None:
    """Print the runs as a table, and below it why those that went wrong did."""
    out = tables.console()
    if not runs:
        out.print(tables.hint(_no_runs(name, filtered=filtered)))
        return
    short = wording.shortest(run.id for run in runs)
    wide = out.width >= WIDE
    more = ("took", "by") if wide else ()
    numbers = ("took", "docs", "sent")
    made = tables.table(
        *("run", "schedule", "period", "status", "due", *more, "docs", "sent"),
        right=numbers,
        whole=("run", "status", "due", *numbers),
    )
    for run in runs:
        made.add_row(*_run(run, short[run.id], wide=wide))
    out.print(made)
    _explain(out, runs, short)
    out.print(tables.words(f"\nTimes are {_clocks(runs)}.", "dim"))
    if full:
        out.print(tables.words(f"The newest {len(runs)}; --limit shows more.", "dim"))


def _clocks(runs: Sequence[RunSummary]) -> str:
    """Whose clock it is: `Berlin time`, or each with its schedules where they live in several zones."""
    schedules_of: dict[str, list[str]] = {}
    for run in sorted(runs, key=lambda run: run.schedule):
        named = schedules_of.setdefault(wording.time_of(run.zone), [])
        if run.schedule not in named:
            named.append(run.schedule)
    if len(schedules_of) == 1:
        return next(iter(schedules_of))
    return "; ".join(f"{clock} for {wording.listed(names)}" for clock, names in sorted(schedules_of.items()))


def _run(run: RunSummary, short: str, *, wide: bool) -> Iterator[Text]:
    yield tables.words(short, "cyan")
    yield tables.words(run.schedule)
    yield tables.words(run.period["label"])
    yield tables.status(run.status)
    yield tables.words(wording.brief(run.due_at, run.zone))
    if wide:
        yield tables.words(wording.lasted(run.seconds) if run.seconds is not None else "")
        yield tables.words(run.triggered_by)
    yield tables.share(run.documents["rendered"], run.documents_wanted, over=run.over)
    yield tables.share(run.deliveries["accepted"], run.deliveries_wanted, over=run.over)


def _no_runs(name: str | None, *, filtered: bool) -> str:
    if filtered:
        return "No run fits; without --status and --since there may be some: `pipeline runs`"
    return f"No run yet: `pipeline trigger {name or 'NAME'}` makes one, `pipeline schedules` says when one is due"


def _explain(out: Console, runs: Sequence[RunSummary], short: Mapping[UUID, str]) -> None:
    wrong = [run for run in runs if run.error and run.status != "succeeded"]
    for run in wrong[:EXPLAINED]:
        line = tables.words("\n").append_text(tables.words(short[run.id], "cyan")).append(" ")
        out.print(line.append_text(tables.status(run.status)).append_text(tables.words(f": {run.error}")))


def show_schedules(found: Sequence[ScheduleSummary]) -> None:
    """Print a card for each schedule: what and when on the left, next and last on the right."""
    out = tables.console()
    if not found:
        out.print(tables.hint("There is no schedule yet: `pipeline new NAME` makes one, `pipeline init DIR` a home"))
        return
    made = tables.table("schedule", "when", "next", "last run")
    for number, one in enumerate(found):
        if number:
            made.add_row()
        made.add_row(_what(one), _when(one), _next(one), _last(one))
    out.print(made)
    for one in found:
        if one.note:
            line = tables.words("\n" + one.key, "bold").append(": ")
            out.print(line.append_text(tables.hint(one.note)))


def _what(one: ScheduleSummary) -> Text:
    """The key, and what it is for, as far as a line or two hold it."""
    about = one.title if one.title != one.key else (one.description or "")
    found = tables.words(one.key, "bold")
    return (
        found.append_text(tables.words(f"\n{textwrap.shorten(about, ABOUT, placeholder=' …')}", "dim"))
        if about
        else found
    )


def _when(one: ScheduleSummary) -> Text:
    if one.when is None:
        return tables.words("-" if one.state == "bad file" else "by hand only", "dim")
    return tables.words(one.when)


def _next(one: ScheduleSummary) -> Text:
    if one.state not in {"active", "changed"} and (one.state != "bad file" or one.next_due_at is None):
        return tables.status(one.state)
    found = tables.words("-", "dim")
    if one.next_due_at:
        at = wording.clock_time(one.next_due_at, one.zone)[:5]
        found = tables.words(f"{wording.day(one.next_due_at, one.zone)}\n{at} {wording.time_of(one.zone)}")
    return found if one.state == "active" else found.append("\n").append_text(tables.status(one.state))


def _last(one: ScheduleSummary) -> Text:
    if one.last_run is None:
        return tables.words("never", "dim")
    at = wording.brief(one.last_run.due_at, one.last_run.zone).strip()
    return tables.status(one.last_run.status).append_text(tables.words(f"\n{at}", "dim"))


def show_who(found: Who, since: str | None, opened: Mapping[UUID, Opened] | None = None) -> None:
    """Print one sentence an answer, marked by how it ended, and where what was `opened` of it is."""
    out = tables.console()
    span = f" since {since}" if since and since.count("-") == 2 else f" in the last {since}" if since else ""
    if not found.answers:
        further = f"`pipeline who {shlex.quote(found.text)} --since 400d` looks further back"
        out.print(tables.hint(f'Nobody called "{found.text}" was to get anything{span}: {further}'))
        _say_left_out(out, found)
        return
    if found.match == "contains":
        out.print(tables.words(f'Nobody is called just "{found.text}"; these contain it:\n', "dim"))
    for answer in found.answers:
        out.print(_marked(answer))
        if opened and answer.delivery_id is not None:
            opened[answer.delivery_id].show(out)
    if found.more:
        out.print(tables.words(f"\n… and {wording.counted(found.more, 'older answer')}: --limit shows more", "dim"))
    _say_left_out(out, found)


def _say_left_out(out: Console, found: Who) -> None:
    if found.left_out:
        out.print("", *(tables.words(f"{sentence}.") for sentence in found.left_out), sep="\n")


def _marked(answer: Answer) -> Table:
    from rich.table import Table

    mark = {"green": "✓", "red": "✗", "yellow": "!", "dim": "-"}.get(tables.STYLES.get(answer.status, ""), "…")
    row = Table.grid(padding=(0, 1))
    row.add_column(no_wrap=True)
    row.add_column(overflow="fold")
    sentence = tables.words(answer.sentence).append_text(tables.words(f" (run {wording.short(answer.run_id)})", "dim"))
    row.add_row(tables.words(mark, tables.STYLES.get(answer.status, "cyan")), sentence)
    return row
