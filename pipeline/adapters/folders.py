"""Folders that files are written into whole or not at all: what one can do, and directories of this machine."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Protocol

from pipeline.errors import DefinitionError, PermanentError, TransientError
from pipeline.settings import settings

Data = bytes | Path | BinaryIO
# What a file is called until it is complete; left behind only by a process or a machine that died.
PART = ".part"
CHUNK = 1024 * 1024
REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file is larger than is allowed there",
    errno.ENOTDIR: "there is a file where a directory should be",
    errno.EROFS: "it is read-only",
    errno.EACCES: "permission denied",
}


class Folder(Protocol):
    """What a directory and a remote folder have in common; `path` is relative, with slashes.

    Raises TransientError naming the folder when it cannot be used now, FileNotFoundError from `open`.
    """

    def write(self, path: str, data: Data, *, replace: bool, durable: bool = True) -> None:
        """Write a file whole or not at all; FileExistsError if not `replace`. `durable`: it survives a power cut."""

    def refresh(self, path: str) -> bool:
        """Make a file that is there count as written now; False where only writing it again does that."""

    def written_at(self, path: str) -> datetime | None:
        """When it was last written or refreshed (UTC), or None when there is no such file or nobody can say."""

    def size(self, path: str) -> int | None:
        """Its bytes, or None when there is no such file."""

    def open(self, path: str) -> BinaryIO: ...

    def names(self) -> list[str]:
        """The files and folders directly in it, as they are really spelled."""

    def delete(self, path: str) -> None:
        """Remove a file, if it is there."""

    def free_bytes(self) -> int | None:
        """Room left, or None where nobody can say."""

    def remove_leftovers(self, older_than: float) -> int:
        """Remove files that never became complete, untouched for `older_than` seconds; how many they were."""


def folder(url: str) -> Folder:
    """The folder at a path, which begins in the home, a file:// or any other fsspec URL.

    Raises DefinitionError for what cannot be one.
    """
    if url.startswith("file://"):
        if not url.startswith("file:///"):
            raise DefinitionError("needs three slashes before an absolute path: file:///reports", place=url)
        return Directory(Path(url.removeprefix("file://")))
    if "://" not in url:
        return Directory(settings().home / Path(url).expanduser())
    from pipeline.adapters.remote_folder import remote_folder

    return remote_folder(url)


def check(url: str) -> None:
    """Raises DefinitionError for a URL at which there can be no folder; touches and connects nothing."""
    if url.startswith("file://") or "://" not in url:
        folder(url)
        return
    from pipeline.adapters import remote_folder

    remote_folder.check(url)


class Directory:
    """A directory of this machine, made on first use."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __str__(self) -> str:
        return str(self.root)

    def path(self, path: str) -> Path:
        """Where a file lies. Raises PermanentError for a path that leads out."""
        if ".." in Path(path).parts or path.startswith("/"):
            raise PermanentError(f'"{path}" leads out of {self}')
        return self.root / path

    def write(self, path: str, data: Data, *, replace: bool, durable: bool = True) -> None:
        # A rename is durable only when its directory is synced as well: fsync of the file alone leaves it, after a
        # power cut, under its temporary name. Measured on ext4: 0.55 ms for the file, 0.95 ms for both.
        final = self.path(path)
        part = final.parent / f".{secrets.token_hex(8)}{PART}"
        with self._failing("store", path):
            _make(final.parent)
            try:
                _fill(part, data, durable=durable)
                if replace:
                    part.replace(final)
                else:
                    _rename_to_new(part, final)
            finally:
                part.unlink(missing_ok=True)
            if durable:
                _sync(final.parent)

    def refresh(self, path: str) -> bool:
        with self._failing("store", path):
            os.utime(self.path(path))
            _sync(self.path(path).parent)
        return True

    def written_at(self, path: str) -> datetime | None:
        with suppress(FileNotFoundError, NotADirectoryError):
            return datetime.fromtimestamp(self.path(path).stat().st_mtime, UTC)
        return None

    def size(self, path: str) -> int | None:
        try:
            return self.path(path).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def open(self, path: str) -> BinaryIO:
        with self._failing("read", path):
            return self.path(path).open("rb")

    def names(self) -> list[str]:
        return [entry.name for entry in self.root.iterdir()] if self.root.is_dir() else []

    def delete(self, path: str) -> None:
        with self._failing("remove", path):
            self.path(path).unlink(missing_ok=True)

    def free_bytes(self) -> int | None:
        place = next(place for place in (self.root, *self.root.parents) if place.exists())
        return shutil.disk_usage(place).free

    def remove_leftovers(self, older_than: float) -> int:
        removed = 0
        for part in self.root.rglob(f".*{PART}"):
            with suppress(FileNotFoundError):
                if time.time() - part.stat().st_mtime > older_than:
                    part.unlink()
                    removed += 1
        return removed

    @contextmanager
    def _failing(self, act: str, path: str) -> Iterator[None]:
        try:
            yield
        except FileExistsError:
            raise
        except OSError as error:
            if act == "read" and isinstance(error, FileNotFoundError):
                raise
            raise cannot(self, act, path, REASONS.get(error.errno or 0) or error.strerror or str(error)) from error


def cannot(place: object, act: str, path: str, reason: str) -> TransientError:
    """The error for `act` (store, read, remove) that a place did not allow; a failed `store` leaves nothing behind."""
    kept = "; nothing of it was kept" if act == "store" else ""
    return TransientError(f"{place}: cannot {act} {path}: {reason}{kept}")


def _fill(part: Path, data: Data, *, durable: bool) -> None:
    with part.open("xb") as file:
        if isinstance(data, bytes):
            file.write(data)
        elif isinstance(data, Path):
            with data.open("rb") as source:
                shutil.copyfileobj(source, file, CHUNK)
        else:
            shutil.copyfileobj(data, file, CHUNK)
        if durable:
            file.flush()
            os.fsync(file.fileno())


def _rename_to_new(part: Path, final: Path) -> None:
    """Give `part` its name unless that is taken: a link fails where a rename would overwrite."""
    try:
        final.hardlink_to(part)
    except OSError as error:
        if error.errno not in {errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}:
            raise
        # A file system without links (FAT, some network shares).
        if final.exists():
            raise FileExistsError(errno.EEXIST, "File exists", str(final)) from error
        part.rename(final)


def _make(directory: Path) -> None:
    """Make a directory and its parents, each one durably."""
    if directory.is_dir():
        return
    _make(directory.parent)
    try:
        directory.mkdir(exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, "Not a directory", str(directory)) from error
    _sync(directory.parent)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network shares cannot sync a directory, and do not need it.
        if error.errno not in {errno.EINVAL, errno.ENOTSUP, errno.EBADF}:
            raise
    finally:
        os.close(descriptor)
