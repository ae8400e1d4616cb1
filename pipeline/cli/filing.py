"""Where documents lie on this machine, and copies of them under names that people can read."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.adapters import copies, storage
from pipeline.cli import tables
from pipeline.errors import PermanentError
from pipeline.models import Run
from pipeline.services.answers import DocumentFile, as_json, wording
from pipeline.settings import settings


@dataclass(frozen=True)
class Placed:
    """A document's file, and the path at which it can be opened here."""

    file: DocumentFile
    path: Path


def place(run: Run, files: Sequence[DocumentFile], copy_to: Path | None) -> list[Placed]:
    """Every file with its path: in var/reports where it is still there under that name, else in the store.

    With `copy_to`, copies are made there and theirs are the paths. Raises PermanentError when the folder takes none.
    """
    if copy_to is None:
        return [Placed(file, _shown(run, file)) for file in files]
    taken: set[str] = set()
    try:
        copy_to.mkdir(parents=True, exist_ok=True)
        return [_copied(file, copy_to, taken) for file in files]
    except OSError as error:
        raise PermanentError(f"{error.filename or copy_to}: cannot be written: {error.strerror}") from error


def _stored(file: DocumentFile) -> Path:
    return storage.store().local_path(file.uri, settings().var / "cache")


def _shown(run: Run, file: DocumentFile) -> Path:
    """Its second name in var/reports, unless a later run for the same period has taken that."""
    stored, folder = _stored(file), settings().var / "reports" / run.schedule_key / run.period["label"]
    shown = folder / f"{copies.safe_name(file.key)}.{file.format}"
    return shown if shown.is_file() and stored.is_file() and shown.samefile(stored) else stored


def _copied(file: DocumentFile, folder: Path, taken: set[str]) -> Placed:
    stem, number = copies.safe_name(file.key), 1
    name = f"{stem}.{file.format}"
    while name.lower() in taken:  # two keys that only some file systems tell apart
        number += 1
        name = f"{stem}-{number}.{file.format}"
    taken.add(name.lower())
    shutil.copyfile(_stored(file), folder / name)
    return Placed(file, folder / name)


def placed_as_json(placed: Sequence[Placed]) -> list[dict[str, Any]]:
    return [{**as_json(one.file), "path": str(one.path)} for one in placed]


def show_files(run: Run, placed: Sequence[Placed], copy_to: Path | None) -> None:
    """Print the paths; the many of a copy are one folder."""
    out = tables.console()
    if not placed:
        short = wording.short(run.id)
        out.print(tables.hint(f"Run {short} of {run.schedule_key} has no documents: `pipeline show {short}` says why"))
        return
    if copy_to is not None:
        out.print(tables.words(f"{wording.counted(len(placed), 'file')} copied to {copy_to}/"))
        return
    made = tables.table("key", "pages", "size", "file", right=("pages", "size"), whole=("pages", "size"))
    for one in placed:
        made.add_row(
            tables.words(one.file.key),
            str(one.file.pages) if one.file.pages and one.file.format == "pdf" else "-",
            size(one.file.size),
            tables.words(tables.near(one.path)),
        )
    out.print(made)


def size(number: int) -> str:
    """`12 kB`: as file managers say it."""
    if number < 1000:
        return f"{number} B"
    return f"{number / 1000:.0f} kB" if number < 1_000_000 else f"{number / 1e6:.1f} MB"
