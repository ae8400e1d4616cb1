"""How previews are told: what was made, from what, for whom; opened where there is a desktop."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.cli import tables
from pipeline.cli.group import told
from pipeline.services.answers import wording

if TYPE_CHECKING:
    from rich.text import Text

    from pipeline.authoring.posting import Posted
    from pipeline.authoring.preview import Preview

# Recipients that are named; of the rest their number is told.
NAMED = 5


def show_preview(made: Preview, posted: Posted | None = None) -> None:
    """Print where the document is, the period, the values bound, and the message with its recipients."""
    out = tables.console()
    out.print(tables.words(_title(made), "bold"), soft_wrap=True)
    out.print(tables.pairs(list(_facts(made))))
    for warning in made.warnings:
        out.print(tables.words("note  ", "yellow").append_text(tables.words(warning)), soft_wrap=True)
    if posted is None:
        out.print(tables.words("Nothing was sent.", "dim"))
    else:
        said = f"Handed over for {posted.address} to relay {posted.relay}: {posted.reply}"
        out.print(tables.words(said, "green"), soft_wrap=True)


def _title(made: Preview) -> str:
    return f"{made.schedule}: {made.key}, one of {made.keys:,} documents" if made.keys > 1 else made.schedule


def _facts(made: Preview) -> Iterator[tuple[str, object]]:
    for kind, path in made.files.items():
        pages = f"  {wording.counted(made.pages, 'page')}" if kind == "pdf" and made.pages else ""
        yield kind, tables.words(tables.near(path), "green").append_text(tables.words(pages, "dim"))
    start, end = made.period.local_start, made.period.local_end
    span = f"  {_moment(start)} to {_moment(end)} (not included), {made.period.zone}"
    yield "period", tables.words(made.period.title).append_text(tables.words(span, "dim"))
    for one in made.fetched:
        of_key = f", {made.rows:,} of them in this document" if one is made.fetched[0] and made.keys > 1 else ""
        bound = "".join(f"\n:{name} = {value}" for name, value in one.bound.items())
        yield one.name, f"{wording.counted(one.rows, 'row')}{of_key}{bound}"
    yield "from", made.sender
    yield "subject", made.message.subject
    yield "to", _recipients(made)


def _moment(local: datetime) -> str:
    return f"{local:%Y-%m-%d}" if not (local.hour or local.minute) else f"{local:%Y-%m-%d %H:%M}"


def _recipients(made: Preview) -> Text:
    if not made.recipients:
        return tables.words(
            "nobody has this key" if made.keys > 1 else "nobody: the schedule names no recipients", "yellow"
        )
    named = [f"{one.name} <{one.email}>" if one.name else str(one.email) for one in made.recipients]
    more = f" and {len(named) - NAMED:,} more" if len(named) > NAMED else ""
    return tables.words(", ".join(named[:NAMED]) + more)


def preview_as_json(made: Preview, posted: Posted | None) -> dict[str, Any]:
    """The same for machines; paths are absolute, instants in UTC."""
    return {
        "schedule": made.schedule,
        "key": made.key,
        "documents": made.keys,
        "period": made.period.to_json(),
        "files": {kind: str(path) for kind, path in made.files.items()},
        "pages": made.pages,
        "rows": made.rows,
        "sources": [{"name": one.name, "rows": one.rows, "bound": one.bound} for one in made.fetched],
        "warnings": made.warnings,
        "from": made.sender,
        "subject": made.message.subject,
        "recipients": [{name: said for name, said in one.model_dump().items() if said} for one in made.recipients],
        "sent": {"address": posted.address, "relay": posted.relay, "reply": posted.reply} if posted else None,
    }


def open_first(made: Preview) -> bool:
    """Open the first file where there is a desktop; True when that was tried."""
    program = shutil.which("xdg-open")
    if not program or not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return False
    nowhere = subprocess.DEVNULL
    first = str(next(iter(made.files.values())))
    subprocess.Popen([program, first], stdin=nowhere, stdout=nowhere, stderr=nowhere, start_new_session=True)
    return True


def show_watched(previews: Iterator[tuple[set[Path], Preview | Exception]], *, show: bool) -> None:
    """Print every preview, in full the first time and in a line from then on, until Ctrl-C."""
    out, opened = tables.console(), False
    for changed, made in previews:
        if changed:
            at = datetime.now().astimezone()
            out.print(tables.words(f"\n{at:%H:%M:%S}  {_changed(changed)}", "dim"), soft_wrap=True)
        if isinstance(made, Exception):
            out.print(tables.words(told(made) or f"{type(made).__name__}: {made}", "red"), soft_wrap=True)
        elif opened:
            out.print(_again(made), soft_wrap=True)
        else:
            show_preview(made)
            opened = True
            if show:
                open_first(made)
        if not changed:
            out.print(tables.words("Watching the home: every change makes it anew. Ctrl-C ends it.", "dim"))


def _changed(paths: set[Path]) -> str:
    named = sorted(map(str, paths))
    more = f" and {len(named) - 3} more" if len(named) > 3 else ""
    return f"{', '.join(named[:3])}{more} changed"


def _again(made: Preview) -> Text:
    files = ", ".join(tables.near(path) for path in made.files.values())
    pages = f", {wording.counted(made.pages, 'page')}" if made.pages else ""
    return tables.words(files, "green").append_text(
        tables.words(f"  {wording.counted(made.rows, 'row')}{pages}", "dim")
    )
