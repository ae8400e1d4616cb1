"""`pipeline pools`: who has the places that there are, and who waits for one."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

import typer

from pipeline.cli.options import Json, looking, print_json

if TYPE_CHECKING:
    from rich.text import Text

    from pipeline.services.answers import Holder, PoolStatus

# Runs, and steps of each, of those who have a place and of those who wait: as many as a screen has room for.
SHOWN = 3


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Look")(pools)


def pools(as_json: Json = False) -> None:
    """Show the pools of PIPELINE_POOLS: who has their places, and who waits for one.

    Schedules and reports with `concurrency` are shown while runs wait for their turn.
    """
    from pipeline.services import answers

    with looking() as session:
        found = answers.pools(session)
    if as_json:
        print_json(found)
    else:
        _show(found)


def _show(found: list[PoolStatus]) -> None:
    from pipeline.cli import tables

    out = tables.console()
    if not found:
        out.print(tables.hint("There are no pools: PIPELINE_POOLS=warehouse=2 lets two queries at once run there"))
        return
    made = tables.table("pool", "taken", "by", "waiting", right=("taken",), whole=("pool", "taken"))
    for one in found:
        name = one.name if one.kind == "pool" else f"{one.kind} {one.name}"
        full = len(one.holders) >= one.places
        share = tables.words(f"{len(one.holders)} of {one.places}", "yellow" if full else "")
        made.add_row(
            tables.words(name, "bold"), share, _named(one.holders, len(one.holders)), _named(one.next, one.waiting)
        )
    out.print(made)


def _named(some: list[Holder], count: int) -> Text:
    """By their runs: which schedule's, and which of its steps."""
    from pipeline.cli import tables
    from pipeline.services.answers import wording

    lines: list[str] = []
    shown = 0
    for (run_id, schedule), found in groupby(some, key=lambda one: (one.run_id, one.schedule)):
        same = list(found)
        if len(lines) == SHOWN:
            break
        shown += len(same)
        steps = [one.step for one in same if one.step]
        more = f", {len(steps) - SHOWN} more" if len(steps) > SHOWN else ""
        lines.append(f"{schedule} ({wording.short(run_id)})" + (f": {', '.join(steps[:SHOWN])}{more}" if steps else ""))
    if count > shown:
        lines.append(f"and {count - shown} more")
    return tables.words("\n".join(lines) or "-", "" if lines else "dim")
