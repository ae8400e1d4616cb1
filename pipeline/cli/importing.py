"""`pipeline import-crontab`: reads the crontab, writes the files, and says line by line what became of it."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.authoring import crontab
from pipeline.cli import tables
from pipeline.errors import Refused
from pipeline.services.answers import wording
from pipeline.settings import settings
from pipeline.timing import find_zone

if TYPE_CHECKING:
    from rich.text import Text


def imported(file: Path, into: Path | None, zone: str | None, *, system: bool, dry_run: bool) -> crontab.Imported:
    """What the crontab becomes; written, unless it is a dry run.

    Raises Refused for a file that cannot be read, a folder that cannot be written, or an unknown time zone.
    """
    text = _read(file)
    here = crontab.here()
    if zone is not None:
        try:
            here = replace(here, zone=find_zone(zone).key)
        except ValueError as error:
            raise Refused(str(error)) from None
    folder = _folder(into)
    found = crontab.import_crontab(
        text, "standard input" if str(file) == "-" else file.name, folder, here, system=system
    )
    if not dry_run:
        _write(folder, found.files)
    return found


def _read(file: Path) -> str:
    try:
        return sys.stdin.read() if str(file) == "-" else file.expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"{file} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _folder(into: Path | None) -> Path:
    return into.expanduser() if into else settings().home / "schedules"


def _write(folder: Path, files: dict[str, str]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            # "x": a file that came between looking and writing is not overwritten either.
            with (folder / name).open("x", encoding="utf-8") as new:
                new.write(text)
    except OSError as error:
        raise Refused(f"{error.filename or folder} cannot be written: {error.strerror}") from None


def show_imported(found: crontab.Imported, file: Path, into: Path | None, *, dry_run: bool) -> None:
    """Print a line for each job, with what is not as it was, and the sum."""
    out = tables.console()
    for line in found.lines:
        out.print(tables.words(f"line {line.number}: ", "dim").append_text(_became(line)), soft_wrap=True)
        for note in line.notes:
            out.print(tables.words(f"    note: {note}", "yellow"), soft_wrap=True)
    if not found.lines:
        out.print(tables.words(f"{file} holds no jobs"))
        return
    out.print()
    out.print(tables.hint(_sum(found, _folder(into), dry_run=dry_run)), soft_wrap=True)


def _became(line: crontab.Written) -> Text:
    if line.why:
        said = tables.words("not carried over: ", "red").append_text(tables.words(f"{line.why} ({line.text})"))
    elif line.known:
        said = tables.words(f"{line.file} is there already")
    else:
        said = tables.words(str(line.file), "bold").append_text(tables.words(f"  {line.when}"))
    return said


def _sum(found: crontab.Imported, folder: Path, *, dry_run: bool) -> str:
    lost = sum(1 for line in found.lines if line.why)
    files = wording.counted(len(found.files), "file")
    would = "would be" if dry_run else "is" if len(found.files) == 1 else "are"
    said = f"{files} {would} written to {tables.near(folder)}/"
    if lost:
        said += f", {wording.counted(lost, 'line')} not carried over"
    if dry_run or not found.files:
        return f"{said}."
    return (
        f"{said}. Next: `pipeline check`; take these lines out of the crontab, or both will run them. "
        "Unlike cron, a job that still runs is not started a second time (overlap), the latest slot missed while the "
        "machine was down is made up for (catch_up), and output is kept with the run instead of mailed."
    )
