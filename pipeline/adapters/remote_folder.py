"""Folders anywhere else: S3, SFTP and whatever fsspec knows."""

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
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from fsspec import get_filesystem_class
from fsspec.core import url_to_fs

from pipeline.adapters.folders import CHUNK, PART, Data, cannot
from pipeline.destinations import VARIABLE
from pipeline.errors import DefinitionError, PermanentError, PipelineError, TransientError
from pipeline.settings import environment, masked

# Stores whose files appear whole or not at all when they are put, and whose renames are copies.
OBJECT_STORES = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oci", "oss", "memory"}
UNWRITABLE = {"http", "https", "data", "github"}
# Seconds after which a connection that nobody used is not trusted any more, and within which one has to be made.
IDLE, CONNECT = 30.0, 15.0
# This process's connections to what is no object store, and when each was last used.
_connections: dict[tuple[str, str], tuple[Any, float]] = {}
os.register_at_fork(after_in_child=_connections.clear)


def check(url: str) -> None:
    """Raises DefinitionError for a URL that is unknown, cannot be written to, or lacks its driver; connects nowhere."""
    place, protocol = masked(url), url.partition("://")[0]
    if protocol in UNWRITABLE:
        raise DefinitionError("cannot be written to: use a directory, s3://, sftp:// or another store", place=place)
    try:
        get_filesystem_class(protocol.rpartition("::")[2])
    except ImportError as error:
        raise DefinitionError(f"lacks its driver ({error}): add it to every worker with pip", place=place) from error
    except ValueError as error:
        raise DefinitionError(f"is no place to store: {error}", place=place) from error
    _with_password(url)


def remote_folder(url: str) -> RemoteFolder:
    """The folder at an fsspec URL. Raises DefinitionError as `check`, and TransientError where nobody answers."""
    check(url)
    place = masked(url)
    bare, password = _with_password(url)
    try:
        system, root = _opened(bare, password)
    except Exception as error:
        # Some drivers connect at once, and they have no error in common.
        raise TransientError(f"{place} cannot be reached: {error or type(error).__name__}") from error
    return RemoteFolder(system, root, place)


def _opened(url: str, password: str) -> tuple[Any, str]:
    protocol, _, rest = url.partition("://")
    options: dict[str, Any] = {"password": password} if password else {}
    if protocol in OBJECT_STORES or "::" in url:
        system, root = url_to_fs(url, **options)
        return system, str(root)
    key = f"{protocol}://{rest.partition('/')[0]}", password
    system, used = _connections.pop(key, (None, 0.0))
    if system is None or time.monotonic() - used > IDLE:
        if protocol in {"sftp", "ssh"}:
            options |= {"host_key_policy": _known_hosts(), "timeout": CONNECT, "auth_timeout": CONNECT}
        system, _ = url_to_fs(url, skip_instance_cache=True, **options)
    _connections[key] = system, time.monotonic()
    return system, str(system._strip_protocol(url))  # noqa: SLF001 - what url_to_fs calls


def _known_hosts() -> Any:
    """Refuses a server whose key is not in ~/.ssh/known_hosts: fsspec's own default believes whoever answers first."""
    import paramiko

    class KnownHosts(paramiko.MissingHostKeyPolicy):  # type: ignore[misc]  # it has no types
        def missing_host_key(self, client: Any, hostname: str, key: Any) -> None:  # noqa: ARG002 - paramiko's signature
            file = Path("~/.ssh/known_hosts").expanduser()
            if not (file.exists() and paramiko.HostKeys(str(file)).check(hostname, key)):
                raise PermissionError(
                    f"the {key.get_name()} key of {hostname} is not in {file}: compare it, and add it with ssh-keyscan"
                )

    return KnownHosts()


def _with_password(url: str) -> tuple[str, str]:
    """The URL without a password that stands in the environment, and the password."""
    password = urlsplit(url).password or ""
    found = VARIABLE.fullmatch(password)
    if not found:
        return url, ""
    value = environment().get(found[1] or found[2])
    if not value:
        raise DefinitionError(f"needs {password}: set {password[1:]} in the environment or in .env", place=url)
    return url.replace(f":{password}@", "@", 1), value


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
            # The drivers behind fsspec have no error in common; what has failed is not used again.
            for key in [key for key, (system, _) in _connections.items() if system is self.system]:
                del _connections[key]
            raise cannot(self, act, path, str(error) or type(error).__name__) from error
