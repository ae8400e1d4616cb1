"""A new home: the folders and files a team starts from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pipeline.authoring import schema
from pipeline.errors import Refused

STARTER = Path(__file__).parent / "starter"
# Under their own names they would be hidden, or mean something, inside of the package.
_RENAMED = {"env.example": ".env", "gitignore": ".gitignore", "dockerignore": ".dockerignore"}
# What an editor, Git or a desktop leaves in a folder that people call empty.
_HARMLESS = {".git", ".idea", ".vscode", ".DS_Store", "lost+found"}


def create(folder: Path) -> list[Path]:
    """Lay out a home in `folder`, which is made or empty; the files written, relative to it.

    Raises Refused naming what is in the way.
    """
    _refuse_what_is_there(folder)
    written = []
    for source, name in sorted(_files(), key=lambda pair: pair[1]):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
        written.append(Path(name))
    # It will hold passwords.
    (folder / ".env").chmod(0o600)
    (folder / schema.FILE).write_text(schema.text(), encoding="utf-8")
    return [*written, Path(schema.FILE)]


def _files() -> Iterator[tuple[Path, str]]:
    for path in STARTER.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            name = path.relative_to(STARTER).as_posix()
            yield path, _RENAMED.get(name, name)


def _refuse_what_is_there(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise Refused(f"{folder} is a file: name a folder that is empty or does not exist yet")
    there = sorted(path.name for path in folder.iterdir() if path.name not in _HARMLESS) if folder.is_dir() else []
    if there:
        more = f" and {len(there) - 4} more" if len(there) > 4 else ""
        raise Refused(
            f"{folder} is not empty: {', '.join(there[:4])}{more} would be in the way. Name a folder that is empty "
            "or does not exist yet"
        )
