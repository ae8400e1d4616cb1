"""The home as it is, as it was at a revision of Git, and as the database has it."""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from sqlalchemy import select

from pipeline import schedule
from pipeline.adapters import home
from pipeline.db import reading
from pipeline.errors import DefinitionError, Refused
from pipeline.models import Schedule as ScheduleRow
from pipeline.models import ScheduleRevision
from pipeline.schedule import Schedule
from pipeline.settings import settings

# The word for what the database has, instead of a revision.
DEPLOYED = "deployed"


@dataclass(frozen=True)
class Side:
    """Schedules by name, those that cannot be read with the reason; the folder with their files where there is one."""

    name: str
    schedules: Mapping[str, Schedule]
    broken: Mapping[str, str]
    folder: Path | None
    # What to tell people of this side as a whole.
    note: str = ""


def here() -> Side:
    """The active home as its files are now."""
    return _loaded("here", settings().home)


def deployed() -> Side:
    """What the database has: what beat fires. Its templates and code are not known."""
    good, broken = {}, {}
    with reading() as session:
        current = (ScheduleRow.key == ScheduleRevision.schedule_key) & (
            ScheduleRow.revision == ScheduleRevision.revision
        )
        found = session.execute(
            select(ScheduleRow.key, ScheduleRevision.definition)
            .join(ScheduleRevision, current)
            .where(ScheduleRow.retired_at.is_(None))
        )
        for key, definition in found:
            try:
                good[key] = schedule.parse(definition, f"schedule {key}")
            except DefinitionError as error:  # of an older version of ours
                broken[key] = str(error)
    return Side("what is deployed", good, broken, None)


@contextmanager
def revision(ref: str) -> Iterator[Side]:
    """The active home as it was at a revision of Git, laid out in a temporary folder for as long as the block lasts.

    Where the home's folder is not in it, everything is new. Raises Refused where the home is in no repository, or there
    is no such revision.
    """
    commit = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}").decode().strip()
    if not commit:
        raise Refused(f'Git knows no revision "{ref}" in {settings().home}: {_way_out()} (or say --against {DEPLOYED})')
    name, place = f"{ref} ({commit[:9]})", _git("rev-parse", "--show-prefix").decode().strip()
    with TemporaryDirectory(prefix="pipeline-against-") as folder:
        if place and not _git("rev-parse", "--verify", "--quiet", f"{commit}:{place}"):
            yield Side(name, {}, {}, Path(folder), f"there is no folder {place} in {name}: everything counts as new")
            return
        _lay_out(_git("archive", "--format=tar", commit), Path(folder))
        yield _loaded(name, Path(folder))


def _way_out() -> str:
    if _git("rev-parse", "--is-shallow-repository").strip() == b"true":
        return "this clone is shallow, as a CI's are: `git fetch --unshallow` brings the rest"
    return "`git branch -a` and `git log --oneline` list them"


def _git(*words: str) -> bytes:
    """What Git says in the home, and nothing where it found nothing."""
    try:
        done = subprocess.run(["git", "-C", str(settings().home), *words], capture_output=True, check=False)
    except FileNotFoundError:
        raise Refused(f"--against REF needs Git, which is not installed; --against {DEPLOYED} does not") from None
    if done.returncode > 1:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["it failed without a word"]
        # The one fault that Git itself knows a way out of: a CI's container is not who owns the folder.
        way = next((f": `{line.strip()}`" for line in said if "safe.directory" in line), "")
        raise Refused(f"Git in {settings().home}: {said[0]}{way}; --against {DEPLOYED} needs no repository")
    return done.stdout


def _lay_out(packed: bytes, folder: Path) -> None:
    """Write the archive's plain files; links and what would lie elsewhere are left out."""
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        for member in archive:
            path = PurePosixPath(member.name)
            file = archive.extractfile(member) if member.isfile() else None
            if file is None or path.is_absolute() or ".." in path.parts:
                continue
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read())


def _loaded(name: str, folder: Path) -> Side:
    loaded = home.load(folder)
    return Side(
        name,
        {key: file.schedule for key, file in loaded.files.items()},
        {key: str(error) for key, error in loaded.errors_by_key.items()},
        folder,
    )
