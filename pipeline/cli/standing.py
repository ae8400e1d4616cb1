"""`pipeline up`: the embedded tree, for good or for one run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import typer

from pipeline.adapters import storage
from pipeline.adapters.flower import USER
from pipeline.adapters.secret_keys import flower_password
from pipeline.cli import tables, triggering, waiting
from pipeline.cli.users import login_link
from pipeline.db import reading
from pipeline.embedded import Tree, running
from pipeline.embedded.parts import parts
from pipeline.embedded.state import State
from pipeline.embedded.tree import tell
from pipeline.models import Run
from pipeline.services import answers
from pipeline.settings import settings

Troubles = Callable[[], Sequence[str]]


def stay_up(*, follow: bool, reload: bool = False) -> None:
    """Start the tree and stay until a signal ends it; with `reload` its processes follow the home's files.

    Raises Refused when one runs here already.
    """
    storage.store()  # refused in a sentence here, not by a worker that keeps dying
    err = tables.console(stderr=True)
    err.print(tables.words("Starting broker, database, worker and beat …", "dim"))
    with Tree(settings(), follow=follow, made_of=partial(parts, web=True)) as tree:
        _show_up(tree.state)
        if reload:
            from pipeline.cli import reloading

            reloading.reload(tree, tell)
        tree.wait()
        tell("Stopping …")


def _show_up(state: State) -> None:
    from pipeline.settings import masked

    configured = settings()
    out = tables.console()
    rows = [
        ("home", str(configured.home)),
        ("database", masked(configured.database_url)),
        ("broker", masked(configured.broker_url)),
        ("console", f"{state.web_url}/" if state.web_url else ""),
        ("log in once", login_link(state.web_url) if state.web_url else ""),
        ("flower", _flower(state)),
        ("mail", triggering.mail(configured)),
        ("caught in", f"{tables.near(configured.var / 'outbox')}/ ({state.catcher_url})" if state.catcher_url else ""),
        ("logs", f"{tables.near(configured.var / 'log')}/"),
    ]
    out.print(tables.words("Up. Ctrl-C stops everything.", "bold green"))
    out.print(tables.pairs(rows))
    out.print(
        tables.words("Next: ", "bold").append_text(
            tables.hint("in another terminal, `pipeline schedules` and `pipeline trigger NAME`")
        )
    )


def _flower(state: State) -> str:
    """Its address, and how to get in; the password itself where only people read it."""
    if not state.flower_url:
        return ""
    if settings().flower_auth:
        return f"{state.flower_url}/ (PIPELINE_FLOWER_AUTH)"
    file = flower_password(settings())
    password = file.read_text().strip() if sys.stdout.isatty() else f"in {tables.near(file)}"
    return f"{state.flower_url}/ (user {USER}, password {password})"


def run_once(name: str, period: str | None, *, follow: bool) -> bool:
    """Run a schedule in the tree that runs here, or in one that is started for it; whether everything arrived."""
    wish = triggering.request(name, [], period=period)
    with _tree(follow=follow) as troubles:
        opened = triggering.trigger(wish, ask=True)
        tables.console(stderr=True).print(
            tables.words(f"Run {opened.run.id} of {name}. Mail is {triggering.mail(settings())}.", "dim")
        )
        try:
            waiting.wait(opened.run.id, troubles)
        except KeyboardInterrupt:
            typer.secho("Stopped; the run is kept and goes on with the next `pipeline up`.", err=True)
            raise
    with reading() as session:
        found = answers.show(session, session.get_one(Run, opened.run.id), stories=1)
    triggering.show_end(found)
    return found.run.status == "succeeded" and found.run.all_arrived


@contextmanager
def _tree(*, follow: bool) -> Iterator[Troubles]:
    """What is wrong with the tree's processes, as long as it is up; a tree that ran before is left running."""
    if running(settings()):
        typer.secho("Using what `pipeline up` runs here.", err=True, dim=True)
        yield list
        return
    storage.store()
    typer.secho("Starting broker, database, worker and beat …", err=True, dim=True)
    with Tree(settings(), follow=follow) as tree:
        yield tree.troubles
