"""Which templates and code files are not the same on both sides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.authoring.against.sides import Side


@dataclass(frozen=True)
class FileChange:
    """A file, relative to the home."""

    file: str
    kind: Literal["added", "removed", "changed"]


def changed_files(before: Side, after: Side, places: Sequence[str]) -> list[FileChange]:
    """The files at or below these places (relative to the home) that differ, or are on one side only."""
    if before.folder is None or after.folder is None:
        return []
    old, new = (_contents(folder, places) for folder in (before.folder, after.folder))
    return [
        FileChange(name, "added" if name not in old else "changed" if name in new else "removed")
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    ]


def _contents(folder: Path, places: Sequence[str]) -> dict[str, bytes]:
    paths = [path for place in places for path in (folder / place, *(folder / place).rglob("*"))]
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in paths
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
    }
