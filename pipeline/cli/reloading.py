"""`pipeline up --reload`: what has changed in the home is told, and the processes that use it start again."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path

from pipeline.authoring.watching import changes
from pipeline.embedded import Tree
from pipeline.settings import settings

# What a process reads once: code and templates. In a clone the pipeline's own are among them.
RESTARTED = ("worker", "beat", "web")
FOLDERS = {"reports", "templates", "workflows", "pipeline"}
# Files that one line names, and faults that are told after a change.
NAMED = 3
# Seconds after which the look at what is wrong is given up: code of the home runs when it is imported.
PATIENCE = 120.0

Say = Callable[[str], None]
Restart = Callable[[Iterable[str]], None]


def reload(tree: Tree, say: Say) -> None:
    """From now on follow the home's files, in a thread that ends with the process."""
    found = changes(settings().home)
    threading.Thread(target=_follow, args=(found, tree.restart, say, faults), name="reload", daemon=True).start()


def faults() -> list[str]:
    """What `pipeline check` finds wrong with the home: in a process of its own, which loads its code as it is now."""
    command = [sys.executable, "-c", "from pipeline.cli import main; main()", "check", "--json"]
    try:
        done = subprocess.run(
            command, cwd=settings().home, capture_output=True, text=True, check=False, timeout=PATIENCE
        )
    except subprocess.TimeoutExpired:
        return [f"`pipeline check` has not ended within {PATIENCE:g} s: does some code of the home never end?"]
    try:
        said = json.loads(done.stdout)
    except ValueError:  # it could not even begin
        return done.stderr.strip().splitlines()[-1:]
    return [said["error"]] if "error" in said else [fault["text"] for fault in said["faults"]]


def _follow(found: Iterator[Collection[Path]], restart: Restart, say: Say, look: Callable[[], list[str]]) -> None:
    wrong: list[str] = []
    for changed in found:
        try:
            _react(changed, restart, say)
            wrong = _tell(wrong, look(), say)
        except Exception as error:  # noqa: BLE001 - a database that is away, half of a file: the next change is told again
            say(f"reload: {error}")


def _tell(before: list[str], now: list[str], say: Say) -> list[str]:
    """Say what is wrong since the last change, or that nothing is any more."""
    new = [fault for fault in now if fault not in before]
    for fault in new[:NAMED]:
        say(f"wrong: {fault}")
    if len(new) > NAMED:
        say(f"and {len(new) - NAMED} more: `pipeline check` names them")
    if before and not now:
        say("nothing is wrong any more")
    return now


def _react(changed: Collection[Path], restart: Restart, say: Say) -> None:
    if code := [path for path in changed if path.parts[0] in FOLDERS]:
        say(f"{_named(code)} changed: {', '.join(RESTARTED)} start again")
        restart(RESTARTED)
    if definitions := [path for path in changed if path.parts[0] == "schedules"]:
        _load(_named(definitions), say)
    if Path(".env") in changed:
        say(".env changed: most settings are read when everything starts; Ctrl-C, and `pipeline up` again")


def _load(named: str, say: Say) -> None:
    """Beat loads them by itself; beside a broker of the team's it does not, and somebody who writes here wants it."""
    if settings().watches_schedules:
        say(f"{named} changed: beat loads it")
        return
    from pipeline.watcher import Watcher

    Watcher().look()
    say(f"{named} changed: loaded")


def _named(paths: Collection[Path]) -> str:
    names = sorted(path.as_posix() for path in paths)
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
