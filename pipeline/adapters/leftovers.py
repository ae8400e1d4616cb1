"""Files that have served their time: temporary ones of processes that died, caches, second names of old documents."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path


def sweep(folder: Path, pattern: str, before: datetime) -> Iterator[Path]:
    """Remove what matches `pattern` in `folder` and was not touched since `before` (aware); yields each thing removed.

    A folder goes as a whole, in one instant: nobody finds half of it. Folders left empty by it go too. What cannot be
    removed stays; the next sweep tries again.
    """
    for path in sorted(folder.glob(pattern)):
        with contextlib.suppress(OSError):
            if path.lstat().st_mtime < before.timestamp():
                _remove(path)
                _remove_empty(path.parent, folder)
                yield path


def _remove(path: Path) -> None:
    if path.is_symlink() or not path.is_dir():
        path.unlink()
        return
    # Hidden names are whoever's died here before: they match the pattern again next time.
    doomed = path.with_name(f".{path.name}.{os.getpid()}.removed")
    path.rename(doomed)
    shutil.rmtree(doomed)


def _remove_empty(folder: Path, top: Path) -> None:
    while folder != top and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent
