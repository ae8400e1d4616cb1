"""Folders anywhere else: S3, SFTP and whatever fsspec knows."""

from __future__ import annotations

import errno
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from fsspec.core import url_to_fs

from pipeline.adapters.folders import CHUNK, PART, Data, cannot
from pipeline.errors import DefinitionError, PermanentError, PipelineError
from pipeline.settings import masked

# Stores whose files appear whole or not at all when they are put, and whose renames are copies.
OBJECT_STORES = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oci", "oss", "memory"}
UNWRITABLE = {"http", "https", "data", "github"}


def remote_folder(url: str) -> RemoteFolder:
    """The folder at an fsspec URL. Raises DefinitionError for one that is unknown, or lacks its driver."""
    place = masked(url)
    if url.partition("://")[0] in UNWRITABLE:
        raise DefinitionError("cannot be written to: use a directory, s3://, sftp:// or another store", place=place)
    try:
        system, root = url_to_fs(url)
    except ImportError as error:
        raise DefinitionError(f"lacks its driver ({error}): add it to every worker with pip", place=place) from error
    except ValueError as error:
        raise DefinitionError(f"is no place to store: {error}", place=place) from error
    return RemoteFolder(system, root, place)


class RemoteFolder:
    """A folder of any fsspec file system."""

    def __init__(self, system: Any, root: str, url: str) -> None:
        self.system, self.root, self.url = system, root.rstrip("/"), url.rstrip("/")
        protocol = system.protocol if isinstance(system.protocol, str) else system.protocol[0]
        self.appears_whole = protocol in OBJECT_STORES

    def __str__(self) -> str:
        return self.url

    def path(self, path: str) -> str:
        if ".." in path.split("/"):
            raise PermanentError(f'"{path}" leads out of {self}')
        return f"{self.root}/{path}"

    def write(self, path: str, data: Data, *, replace: bool, durable: bool = True) -> None:  # noqa: ARG002 - theirs
        final = self.path(path)
        if not replace and self.size(path) is not None:
            raise FileExistsError(errno.EEXIST, "File exists", final)
        with self._failing("store", path):
            if self.appears_whole:
                self._put(final, data)
            else:
                self._put_and_rename(final, data)

    def _put_and_rename(self, final: str, data: Data) -> None:
        parent = final.rpartition("/")[0]
        part = f"{parent}/.{secrets.token_hex(8)}{PART}"
        self.system.makedirs(parent, exist_ok=True)
        try:
            self._put(part, data)
            self.system.mv(part, final)
        except BaseException:
            with suppress(Exception):
                self.system.rm_file(part)
            raise

    def _put(self, path: str, data: Data) -> None:
        if isinstance(data, bytes):
            self.system.pipe_file(path, data)
        elif isinstance(data, Path):
            self.system.put_file(str(data), path)
        else:
            with self.system.open(path, "wb") as file:
                shutil.copyfileobj(data, file, CHUNK)

    def refresh(self, path: str) -> bool:  # noqa: ARG002 - a remote store has no date that we could set
        return False

    def written_at(self, path: str) -> datetime | None:
        with self._failing("read", path), suppress(FileNotFoundError, NotImplementedError):
            self.system.invalidate_cache()
            at: datetime = self.system.modified(self.path(path))
            return at.replace(tzinfo=UTC) if at.tzinfo is None else at
        return None

    def size(self, path: str) -> int | None:
        with self._failing("read", path):
            # Listings are cached, and another process may have written since.
            self.system.invalidate_cache()
            try:
                return int(self.system.info(self.path(path))["size"])
            except FileNotFoundError:
                return None

    def open(self, path: str) -> BinaryIO:
        with self._failing("read", path):
            file: BinaryIO = self.system.open(self.path(path), "rb")
            return file

    def names(self) -> list[str]:
        with self._failing("read", "its names"):
            self.system.invalidate_cache()
            return [str(name).rstrip("/").rpartition("/")[2] for name in self.system.ls(self.root, detail=False)]

    def delete(self, path: str) -> None:
        with self._failing("remove", path), suppress(FileNotFoundError):
            self.system.rm_file(self.path(path))

    def free_bytes(self) -> int | None:
        return None

    def remove_leftovers(self, older_than: float) -> int:  # noqa: ARG002 - nothing is known of its clock
        return 0

    @contextmanager
    def _failing(self, act: str, path: str) -> Iterator[None]:
        try:
            yield
        except (FileExistsError, PipelineError):
            raise
        except Exception as error:
            if act == "read" and isinstance(error, FileNotFoundError):
                raise
            # The drivers behind fsspec have no error in common.
            raise cannot(self, act, path, str(error) or type(error).__name__) from error
