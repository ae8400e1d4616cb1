"""`pipeline up --reload`: what has changed in the home is told, and the processes that use it start again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path

from pipeline.authoring.watching import changes
from pipeline.embedded import Tree
from pipeline.settings import settings

# What a process reads once: code and templates. In a clone the pipeline's own are among them.
RESTARTED = ("worker", "beat", "web")
FOLDERS = {"reports", "templates", "workflows", "pipeline"}
# Files that one line names.
NAMED = 3


def reload(tree: Tree, say: Callable[[str], None]) -> None:
    """From now on follow the home's files, in a thread that ends with the process."""
    found = changes(settings().home)
    threading.Thread(target=_follow, args=(found, tree.restart, say), name="reload", daemon=True).start()


def _follow(
    found: Iterator[Collection[Path]], restart: Callable[[Iterable[str]], None], say: Callable[[str], None]
) -> None:
    for changed in found:
        try:
            _react(changed, restart, say)
        except Exception as error:  # noqa: BLE001 - a database that is away, half of a file: the next change is told again
            say(f"reload: {error}")


def _react(changed: Collection[Path], restart: Callable[[Iterable[str]], None], say: Callable[[str], None]) -> None:
    if code := [path for path in changed if path.parts[0] in FOLDERS]:
        say(f"{_named(code)} changed: {', '.join(RESTARTED)} start again")
        restart(RESTARTED)
    if definitions := [path for path in changed if path.parts[0] == "schedules"]:
        _load(_named(definitions), say)
    if Path(".env") in changed:
        say(".env changed: most settings are read when everything starts; Ctrl-C, and `pipeline up` again")


def _load(named: str, say: Callable[[str], None]) -> None:
    """Beat loads them by itself; beside a broker of the team's it does not, and somebody who writes here wants it."""
    if settings().watches_schedules:
        say(f"{named} changed: beat loads it")
        return
    from pipeline.watcher import Watcher

    Watcher().look()
    say(f"{named} changed: loaded; `pipeline check` says what is wrong with it, if anything")


def _named(paths: Collection[Path]) -> str:
    names = sorted(path.as_posix() for path in paths)
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
