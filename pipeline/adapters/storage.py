"""The artifact store: bytes under the name of their sha256, in a directory or at any fsspec URL."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from pipeline.adapters.folders import Directory, folder
from pipeline.errors import Parked, PermanentError
from pipeline.settings import settings

# In the root of every store that was begun: where it is missing, the disk or share is not mounted.
MARKER = "artifact-store.txt"
SAYS = b"Here are the artifacts of a report pipeline. It looks for this file to know that the right disk is mounted.\n"


@dataclass(frozen=True, slots=True)
class Stored:
    """What was put: `size` in bytes; `uri` is relative to the store, so that the store can be moved."""

    sha256: str
    size: int
    uri: str


class Storage:
    """A store at a path or URL (a directory, file://, s3://, sftp://, memory://).

    Every method raises TransientError naming the store when it cannot be used now (full, read-only, away), and
    PermanentError for an artifact that is missing or damaged; one that is missing with all others means that the store
    is not mounted, and raises Parked.
    """

    def __init__(self, url: str) -> None:
        self.folder = folder(url)
        self._seen = False

    def is_there(self) -> bool:
        """Whether the store was begun, and is not an empty folder where it should be mounted."""
        if not self._seen or isinstance(self.folder, Directory):
            self._seen = self.folder.size(MARKER) is not None
        return self._seen

    def begin(self, known: str | None) -> None:
        """Mark the store as one to be found again. `known` is an artifact that it must have if it is not new.

        Raises Parked when that is missing: nothing may be written where the store only should be mounted.
        """
        if known is not None and self.folder.size(known) is None:
            raise self._away()
        self.folder.write(MARKER, SAYS, replace=True)

    def check(self) -> None:
        """Raise Parked when the store is not there: missing files would then mean nothing."""
        if not self.is_there():
            raise self._away()

    def __str__(self) -> str:
        return str(self.folder)

    def put(self, data: bytes | Path, kind: str, suffix: str) -> Stored:
        """Store bytes, or a copy of a file, as kind/ab/ab….suffix; once it returns, they survive a power cut.

        Bytes that are there already count as stored now, so that whoever deletes by age spares them. A failed put
        leaves nothing behind.
        """
        sha256, size = _digest(data)
        uri = f"{kind}/{sha256[:2]}/{sha256}.{suffix.lstrip('.')}"
        if self.folder.size(uri) != size or not self.folder.refresh(uri):
            self.folder.write(uri, data, replace=True)
        return Stored(sha256, size, uri)

    def open(self, uri: str) -> BinaryIO:
        """The artifact, opened for reading."""
        try:
            return self.folder.open(uri)
        except FileNotFoundError:
            raise self._missing(uri) from None

    def open_inside(self, uri: str) -> BinaryIO:
        """The artifact for somebody outside: what leads out of the store, as a link in it may, counts as missing."""
        if not re.fullmatch(r"[a-z0-9_-]+/[0-9a-f]{2}/[0-9a-f]{64}\.[A-Za-z0-9.]+", uri):
            raise self._missing(uri)
        if isinstance(self.folder, Directory):
            place = self.folder.path(uri)
            if place.is_symlink() or not place.resolve().is_relative_to(self.folder.root.resolve()):
                raise self._missing(uri)
        return self.open(uri)

    def read(self, uri: str, *, verify: bool = False) -> bytes:
        """The artifact's bytes; `verify` compares them with the sha256 in its name."""
        with self.open(uri) as file:
            data = file.read()
        if verify and hashlib.sha256(data).hexdigest() != _named(uri):
            raise self._damaged(uri)
        return data

    def local_path(self, uri: str, cache: Path) -> Path:
        """The artifact as a file of this machine; from a remote store it is fetched into `cache` once, and verified."""
        if isinstance(self.folder, Directory):
            if self.folder.size(uri) is None:
                raise self._missing(uri)
            return self.folder.path(uri)
        copies = Directory(cache)
        if copies.size(uri) is None:
            with self.open(uri) as file:
                copies.write(uri, file, replace=True, durable=False)
            if _digest(copies.path(uri))[0] != _named(uri):
                copies.delete(uri)
                raise self._damaged(uri)
        else:
            copies.refresh(uri)
        return copies.path(uri)

    def delete(self, uri: str, unless_stored_since: datetime | None = None) -> bool:
        """Remove the artifact, if it is there; False, and nothing is done, where it was stored since that instant."""
        if unless_stored_since is not None:
            stored_at = self.folder.written_at(uri)
            if stored_at is not None and stored_at >= unless_stored_since:
                return False
        self.folder.delete(uri)
        return True

    def free_bytes(self) -> int | None:
        """Room left in the store, or None where nobody can say (S3)."""
        return self.folder.free_bytes()

    def remove_leftovers(self, older_than: float = 86400.0) -> int:
        """Remove what killed processes left half-written more than `older_than` seconds ago; how many files."""
        return self.folder.remove_leftovers(older_than)

    def _missing(self, uri: str) -> Parked | PermanentError:
        return PermanentError(f"artifact {uri} is missing from {self}") if self.is_there() else self._away()

    def _away(self) -> Parked:
        return Parked(
            f"the artifact store is not at {self}: there is no {MARKER}, which is in every store that holds something; "
            "mount it, or correct PIPELINE_STORAGE_URL"
        )

    def _damaged(self, uri: str) -> PermanentError:
        return PermanentError(f"artifact {uri} in {self} is damaged: its bytes are not those that were stored")


def store() -> Storage:
    """This process's store, at PIPELINE_STORAGE_URL."""
    return _store(settings().storage_url)


@lru_cache(maxsize=4)
def _store(url: str) -> Storage:
    return Storage(url)


# Connections to a remote store do not survive a fork.
os.register_at_fork(after_in_child=_store.cache_clear)


def _digest(data: bytes | Path) -> tuple[str, int]:
    if isinstance(data, bytes):
        return hashlib.sha256(data).hexdigest(), len(data)
    with data.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest(), file.tell()


def _named(uri: str) -> str:
    found = re.search(r"[0-9a-f]{64}", uri)
    return found[0] if found else ""
