"""Files that sources name: a path in the home, or any fsspec URL, brought to this machine's disk."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, Literal

from pipeline.errors import PermanentError, TransientError

# jsonl: known to be one object a line.
Format = Literal["csv", "parquet", "json", "jsonl"]

_FORMATS: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
}
_COMPRESSED = {".gz", ".bz2", ".xz", ".zip", ".zst"}
_PIECE = 1024 * 1024


def format_of(url: str) -> Format | None:
    """Tell the format by the ending, also of a compressed file (`flights.csv.gz`); None if it says nothing."""
    endings = [suffix.lower() for suffix in PurePosixPath(_path(url)).suffixes]
    while endings and endings[-1] in _COMPRESSED:
        endings.pop()
    return _FORMATS.get(endings[-1]) if endings else None


@dataclass(frozen=True)
class Limits:
    """What may be downloaded: for `timeout` seconds altogether, up to `max_bytes`."""

    timeout: float
    max_bytes: int


def obtained(url: str, home: Path, scratch: Path, limits: Limits, *, place: str) -> Path:
    """Give a local, uncompressed file with the URL's content: the file itself or, if need be, a copy in `scratch`.

    A relative path lies in the home and must not leave it. Raises PermanentError for what does not exist, may not be
    read, is too large to be copied, or needs a package that is missing (with the command that installs it);
    TransientError for a remote side that does not answer in time.
    """
    if "://" not in url and "::" not in url:
        path = _path_in(home, url, place)
        if path.suffix.lower() not in _COMPRESSED:
            return path
        url = str(path)
    elif ".." in PurePosixPath(_path(url)).parts:
        raise PermanentError(f'{place}: "{url}" must not contain ".."')
    copy = scratch / "download"
    with copy.open("wb") as target:
        save(_pieces(url, place), target, limits, place=place)
    return copy


def is_there(url: str, home: Path, *, place: str) -> bool:
    """Whether the URL, which may hold patterns such as *, names anything; a relative path lies in the home.

    Raises as `obtained` does, but for what does not exist.
    """
    if ".." in PurePosixPath(_path(url)).parts:
        raise PermanentError(f'{place}: "{url}" must not contain ".."')
    if "://" not in url and "::" not in url:
        url = str(home / url)
    with _told(url, place):
        import fsspec

        system, path = fsspec.core.url_to_fs(url)
        system.invalidate_cache()  # some remember what was not there
        return bool(system.glob(path)) if re.search(r"[*?\[]", path) else bool(system.exists(path))


def save(pieces: Iterator[bytes], target: IO[bytes], limits: Limits, *, place: str) -> None:
    """Write what comes in, within the limits.

    Raises PermanentError past the size, TransientError past the time.
    """
    size, end = 0, time.monotonic() + limits.timeout
    for piece in pieces:
        size += len(piece)
        if size > limits.max_bytes:
            raise PermanentError(
                f"{place}: sends more than {limits.max_bytes:,} bytes, the limit that PIPELINE_SOURCE_MAX_BYTES sets"
            )
        if time.monotonic() > end:
            raise TransientError(
                f"{place}: was not complete after {limits.timeout:g} s, the limit that PIPELINE_SOURCE_TIMEOUT sets"
            )
        target.write(piece)


def _path(url: str) -> str:
    return re.split(r"[?#]", url)[0] if "://" in url else url


def _path_in(home: Path, name: str, place: str) -> Path:
    if ".." in Path(name).parts:
        raise PermanentError(
            f'{place}: "{name}" must not contain "..": a file outside the home is named by its full path'
        )
    path = home / name
    if not path.exists():
        raise PermanentError(f"{place}: {path} does not exist")
    if not path.is_file():
        raise PermanentError(f"{place}: {path} is a folder, not a file")
    return path


def _pieces(url: str, place: str) -> Iterator[bytes]:
    with _told(url, place):
        import fsspec

        with fsspec.open(url, "rb", compression="infer") as opened:
            while piece := opened.read(_PIECE):
                yield piece


@contextmanager
def _told(url: str, place: str) -> Iterator[None]:
    """What any file system may raise, as the pipeline's errors."""
    try:
        yield
    except ImportError as error:
        named = re.search(r"install ([\w\[\],-]+)", str(error), re.IGNORECASE)
        command = f"pip install {named[1]}" if named else str(error)
        raise PermanentError(f"{place}: a package for {url.partition(':')[0]}:// is missing: {command}") from error
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        raise PermanentError(f"{place}: {_reason(error)}") from error
    except (EOFError, ValueError) as error:
        raise PermanentError(f"{place}: cannot be read: {error}") from error
    except PermanentError:
        raise
    except Exception as error:
        # Every remote file system has exceptions of its own.
        raise TransientError(f"{place}: {_reason(error)}") from error


def _reason(error: Any) -> str:
    if isinstance(error, FileNotFoundError):
        return f"{error.filename or error} does not exist"
    return f"{getattr(error, 'strerror', None) or error or type(error).__name__}"
