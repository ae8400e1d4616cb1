"""How answers look on a terminal: colours that mean the same everywhere, tables that fit 80 columns."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

STYLES = {
    "succeeded": "green", "finished": "green", "rendered": "green", "accepted": "green", "active": "green",
    "ok": "green", "ready": "green",
    "running": "cyan", "queued": "cyan", "sending": "cyan", "planned": "cyan", "cancelling": "cyan",
    "waiting": "yellow", "deferred": "yellow", "partial": "yellow", "uncertain": "yellow", "retry": "yellow",
    "parked": "yellow", "abandoned": "yellow", "warning": "yellow", "paused": "yellow", "changed": "yellow",
    "not loaded": "yellow", "suppressed": "yellow", "slowed down": "yellow",
    "failed": "red", "rejected": "red", "expired": "red", "bounced": "red", "complained": "red", "fault": "red",
    "fired": "green", "coalesced": "dim", "late": "yellow",
    "bad file": "red", "down": "red", "blocked": "red", "stopped": "red",
    "skipped": "dim", "cancelled": "dim", "pending": "dim", "retired": "dim",
}  # fmt: skip
# A pipe has no width: lines as long as their content are what grep and files want.
PIPE_WIDTH = 200


def console(*, stderr: bool = False) -> Console:
    """Standard output (or error) as it is now; data is never read as markup."""
    import os

    from rich.console import Console

    found = Console(stderr=stderr, markup=False, highlight=False, emoji=False)
    if not found.is_terminal and "COLUMNS" not in os.environ:
        found.width = PIPE_WIDTH
    return found


def words(text: object, style: str = "") -> Text:
    """`text` in a style, with what a terminal would obey, such as escape codes in a server's reply, made harmless."""
    from rich.text import Text

    harmless = (one if one.isprintable() or one == "\n" else "\N{REPLACEMENT CHARACTER}" for one in str(text))
    # Appended and not its base, so that what is appended to it later does not get the style.
    return Text().append("".join(harmless), style)


def status(text: str) -> Text:
    """A status in its colour."""
    return words(text, STYLES.get(text, ""))


def statuses(counts: Mapping[str, int]) -> Text:
    """`15 rendered, 1 failed`, each in its colour; what there is none of is left out."""
    from rich.text import Text

    return Text(", ").join(words(f"{count:,} {name}", STYLES.get(name, "")) for name, count in counts.items() if count)


def hint(text: str) -> Text:
    """A sentence with the commands in it, which stand between backticks, made to stand out."""
    found = words(text)
    found.highlight_regex(re.compile(r"`[^`]+`"), "cyan")
    return found


def share(done: int, wanted: int, *, over: bool) -> Text:
    """`16`, or `15/16` where some are missing: in red once it is over; a dash where none is wanted."""
    if not wanted:
        return words("-", "dim")
    return words(f"{done:,}") if done == wanted else words(f"{done:,}/{wanted:,}", "red" if over else "cyan")


def near(path: Path) -> str:
    """The path as it is shortest from here, so that it can be typed."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def table(*headings: str, right: Iterable[str] = (), whole: Iterable[str] = ()) -> Table:
    """A table without lines; the columns in `right` are numbers, those in `whole` are never broken."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for heading in headings:
        justify = "right" if heading in right else "left"
        made.add_column(heading, justify=justify, no_wrap=heading in whole, overflow="fold")  # type: ignore[arg-type]
    return made


def pairs(rows: Sequence[tuple[str, object]]) -> Table:
    """Names in front, dimmed, and what they are beside them; rows without a value are left out."""
    from rich.table import Table
    from rich.text import Text

    made = Table.grid(padding=(0, 2))
    made.add_column(style="dim", no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in rows:
        if value is not None and value != "":  # a Text has no hash
            made.add_row(name, value if isinstance(value, Text) else words(value))
    return made
