"""Rerunning from a terminal: what is said about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipeline import log
from pipeline.cli import tables
from pipeline.db import reading
from pipeline.services import answers, runs
from pipeline.services.answers import RunSummary, wording
from pipeline.services.audit import Actor


@dataclass(frozen=True)
class Reopened:
    """The run after that; `new` unless the same wish, or somebody, had done it before."""

    run: RunSummary
    generation: int
    new: bool
    again: str


def rerun(text: str | None, actor: Actor, **wished: Any) -> Reopened:
    """Rerun the run that `text` names, as `rerunning.Wish` says. Raises Refused or NotFound with a sentence."""
    from pipeline import tasks
    from pipeline.services.rerunning import Wish

    with reading() as session:
        run_id = runs.find(session, text).id
    with log.silenced():  # a broker that is away costs time, and reconcile knows of it
        run, new = tasks.rerun(run_id, actor, Wish(**wished))
    with reading() as session:
        found = session.get_one(type(run), run_id)
        said = runs.last_event(session, run_id, "rerun")
        return Reopened(answers.summarise(session, [found])[0], found.generation, new, said.text if said else "")


def show_rerun(found: Reopened) -> None:
    """Say which generation it is, what is done again, and what comes next."""
    run, out = found.run, tables.console()
    name = f"Run {wording.short(run.id)} of {run.schedule}"
    if found.new:
        out.print(tables.words(f"{name} is reopened: {found.again}."))
    else:
        out.print(tables.words(f"{name} was reopened before, as generation {found.generation}: nothing was changed."))
    out.print(tables.hint(f"Next: `pipeline show {wording.short(run.id)}` shows how far it is."))
