"""The home's schedule files, loaded before they are run or by `pipeline sync`."""

from __future__ import annotations

from typing import Any

from sqlalchemy.exc import OperationalError

from pipeline.adapters import home
from pipeline.cli import tables
from pipeline.db import transaction
from pipeline.errors import DefinitionError, Refused
from pipeline.services import loading
from pipeline.services.audit import Actor
from pipeline.services.loading import Synced
from pipeline.settings import settings


def sync(*, force: bool, actor: Actor) -> tuple[Synced, dict[str, DefinitionError]]:
    """Load all files: what changed, and the error of each bad one by its place; a bad one's last good revision goes on.

    Raises Refused for a folder without any, unless `force`.
    """
    loaded = home.load(settings().home)
    try:
        return _sync(loaded, force=force, actor=actor), loaded.errors
    except OperationalError as error:
        # Beats and workers lock schedules, too, in another order: one of two that meet crosswise has to give way.
        if "deadlock" not in str(error.orig).lower():
            raise
        return _sync(loaded, force=force, actor=actor), loaded.errors


def _sync(loaded: home.Loaded, **how: Any) -> Synced:
    with transaction() as session:
        return loading.sync(session, loaded, **how)


def refresh(name: str, actor: Actor) -> None:
    """Before `name` is run: load the home's files where they are watched, so that what was saved a moment ago counts.

    What is gone is left to who watches: it may be an editor's doing, and back in a moment. Raises the error of the
    named file; those of other files must not be in its way.
    """
    if not settings().watches_schedules:
        return
    loaded = home.load(settings().home)
    if name in loaded.errors_by_key:
        raise loaded.errors_by_key[name]
    try:
        _sync(loaded, retire=False, actor=actor)
    except Refused as refused:
        tables.console(stderr=True).print(tables.hint(f"The schedule files were not loaded: {refused}"))


def unloaded(name: str) -> str:
    """A sentence on a file that is there and has not been loaded; empty where there is none."""
    if settings().watches_schedules:
        return ""
    for suffix in home.SUFFIXES:
        if (settings().home / "schedules" / f"{name}{suffix}").is_file():
            return f"; schedules/{name}{suffix} is there but not loaded: `pipeline sync` loads it"
    return ""
