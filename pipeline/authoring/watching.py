"""Previews that follow the home: its files' times are looked at again and again."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

from pipeline.authoring.preview import Preview, render
from pipeline.authoring.rehearsal import Fetched, Rehearsal, Wish, rehearsal
from pipeline.settings import settings

# Seconds between two looks.
PAUSE = 0.4
# What the pipeline makes itself, and what is no part of any report.
_LEFT_OUT = {"var", "__pycache__", "node_modules"}
# What changes the look of rows, and not the rows.
_LOOKS = {"templates", "reports"}


def previews(wish: Wish, changes: Iterator[set[Path]]) -> Iterator[tuple[set[Path], Preview | Exception]]:
    """Yield a preview at once and after every change, with the files that changed; an error in place of a preview.

    The sources are asked again only when more than templates and reports/ changed.
    """
    with ExitStack() as stack:
        fetched: tuple[Rehearsal, list[Fetched]] | None = None
        changed: set[Path] = set()
        while True:
            try:
                if fetched is None:
                    stack.close()
                    settings.cache_clear()
                    fetched = stack.enter_context(rehearsal(wish))
                made: Preview | Exception = render(*fetched, wish.key, wish.format)
            except Exception as error:  # noqa: BLE001 - whatever a home's own code raises is shown, and watched on
                made = error
            yield changed, made
            found = next(changes, None)
            if found is None:
                return
            changed = found
            if {path.parts[0] for path in changed} - _LOOKS:
                fetched = None


def changes(home: Path, pause: float = PAUSE) -> Iterator[set[Path]]:
    """Yield, whenever files were changed, added or removed since this call, their paths in the home; it never ends."""
    return _changes(home, _times(home), pause)


def _changes(home: Path, before: Mapping[Path, tuple[int, int]], pause: float) -> Iterator[set[Path]]:
    while True:
        time.sleep(pause)
        if _times(home) == before:
            continue
        # An editor may write a file in several steps, and a checkout many files.
        time.sleep(pause / 2)
        now = _times(home)
        changed = {path for path in before.keys() | now.keys() if before.get(path) != now.get(path)}
        before = now
        if changed:
            yield changed


def _times(home: Path) -> dict[Path, tuple[int, int]]:
    """The time and size of each file of the home, hidden files and those left out excepted; .env counts."""
    found = {}
    for folder, folders, files in os.walk(home):
        folders[:] = [name for name in folders if name not in _LEFT_OUT and not name.startswith(".")]
        for name in files:
            if (name.startswith(".") and name != ".env") or name.endswith(("~", ".swp", ".tmp")):
                continue
            path = Path(folder, name)
            try:
                status = path.stat()
            except OSError:
                continue
            found[path.relative_to(home)] = (status.st_mtime_ns, status.st_size)
    return found
