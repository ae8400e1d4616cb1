"""Template bundles: the folders a report's documents are made from, as one file with the same bytes every time."""

from __future__ import annotations

import io
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pipeline
from pipeline.errors import DefinitionError, PermanentError

BASE = "_base"
# The oldest date a zip can say: the time of a file is no part of its content.
_EPOCH = (1980, 1, 1, 0, 0, 0)


def base_templates() -> Path:
    """The `_base` folder that every home inherits: in an installed wheel inside the package, in a clone beside it."""
    package = Path(pipeline.__file__).parent
    installed = package / "_base_templates"
    return installed if installed.is_dir() else package.parent / "templates" / BASE


def bundle(templates: Path, name: str) -> bytes:
    """The files of `_base` and, where it exists, `name` in the folder `templates` as a zip: same content, same bytes.

    `_base` is the inherited one with the home's own `_base` laid over it, file by file. Raises DefinitionError for a
    link that leads out of the templates.
    """
    files = dict(_files(base_templates(), BASE))
    files |= _files(templates / BASE, BASE)
    files |= _files(templates / name, name)
    packed = io.BytesIO()
    # Stored, not deflated: another zlib compresses the same files to other bytes.
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for member, path in sorted(files.items()):
            archive.writestr(zipfile.ZipInfo(member, _EPOCH), path.read_bytes())
    return packed.getvalue()


def unpack(data: bytes, folder: Path) -> Path:
    """Lay a bundle's files out in `folder` and return it; when it is there, it only counts as used now.

    The folder appears whole or not at all, also when several processes unpack at once: name it by the bundle's sha256.
    Raises PermanentError where `data` is no bundle.
    """
    if folder.is_dir():
        os.utime(folder)
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name[:16]}-"))
    try:
        _extract(data, partial)
        partial.chmod(0o755)
        partial.rename(folder)
    except OSError:
        # Somebody else was faster; their folder has the same files.
        if not folder.is_dir():
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _extract(data: bytes, folder: Path) -> None:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for member in archive.infolist():
                path = PurePosixPath(member.filename)
                if path.is_absolute() or ".." in path.parts:
                    raise PermanentError(f'the template bundle holds "{member.filename}", which leads out of it')
                target = folder / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(archive.read(member))
    except zipfile.BadZipFile as error:
        raise PermanentError(f"the template bundle cannot be read: {error}") from error


def _files(folder: Path, prefix: str) -> Iterator[tuple[str, Path]]:
    """Each file below `folder` with its name in the bundle; hidden files and editors' backups stay out."""
    if not folder.is_dir():
        return
    home = folder.parent.resolve()
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if any(part.startswith(".") or part == "__pycache__" or part.endswith("~") for part in relative.parts):
            continue
        if not path.resolve().is_relative_to(home):
            place = f"{folder.parent.name}/{prefix}/{relative.as_posix()}"
            raise DefinitionError("is a link out of the templates: copy the file into the folder", place=place)
        if path.is_file():
            yield f"{prefix}/{relative.as_posix()}", path
