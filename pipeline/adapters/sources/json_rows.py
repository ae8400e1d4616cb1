"""JSON files: a list of objects, such a list somewhere inside, or one object a line; read a chunk at a time."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from decimal import Decimal
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any

import ijson

from pipeline.adapters.sources.writer import DatasetWriter
from pipeline.errors import PermanentError
from pipeline.mistakes import did_you_mean

# Bytes in one line of JSON lines.
_LINE = 64 * 1024 * 1024
_BOM = b"\xef\xbb\xbf"


def read(path: Path, writer: DatasetWriter, *, place: str, rows_at: str | None, lines: bool) -> None:
    """Append the file's rows to `writer`: the list at the dotted path `rows_at`, else the whole file's.

    `lines` says that the file is known to be one object a line; without, it is seen from how the file begins.
    An object may lack fields, and later ones bring new columns. Raises PermanentError with what is wrong where, naming
    the lists there are when `rows_at` does not lead to one.
    """
    with path.open("rb") as file:
        first = _first(file)
        if not first and not lines:
            raise PermanentError(f"{place}: the file is empty: no rows would be []")
        if first == b"[" and rows_at:
            raise PermanentError(f'{place}: the file is a list itself: leave out rows_at "{rows_at}"')
        if lines or (first == b"{" and not rows_at):
            rows: Iterator[Any] = _lines(file, path, place, known=lines)
        else:
            rows = ijson.items(file, f"{rows_at}.item" if rows_at else "item")
        try:
            _append(rows, writer, place)
        except ijson.JSONError as error:
            reason = " ".join(str(error).replace("\\n", " ").split("(right here)")[0].split())
            raise PermanentError(f"{place}: is not JSON: {reason[:200]}") from error
    if rows_at and not writer.rows:
        _check_path(path, rows_at, place)


def _first(file: IO[bytes]) -> bytes:
    """Give the first byte that counts, and leave the file before it."""
    if file.read(3) != _BOM:
        file.seek(0)
    while (byte := file.read(1)).isspace():
        pass
    file.seek(-len(byte), 1)
    return byte


def _append(rows: Iterator[Any], writer: DatasetWriter, place: str) -> None:
    while chunk := list(islice(rows, writer.chunk_rows)):
        for number, row in enumerate(chunk, writer.rows + 1):
            if not isinstance(row, dict):
                raise PermanentError(f"{place}: row {number} is no object of column names and values but {row!r:.50}")
        columns = dict.fromkeys(chain.from_iterable(chunk))
        writer.append_values({name: [_value(row.get(name)) for row in chunk] for name in columns}, len(chunk))


def _value(value: Any) -> Any:
    """Take decimals as floats, as JSON's other readers do; one too large for a float stays what it is."""
    if type(value) is Decimal:
        number = float(value)
        return value if math.isinf(number) else number
    return value


def _lines(file: IO[bytes], path: Path, place: str, *, known: bool) -> Iterator[Any]:
    number = 0
    while line := file.readline(_LINE):
        number += 1
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            if number == 1 and not known and (lists := _lists(path)):
                raise _one_object(place, lists) from error
            reason = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else error.reason
            raise PermanentError(f"{place}: line {number} is not JSON: {reason}") from error
        if number == 1 and not known and (meant := _only_row(file, path)):
            raise _one_object(place, meant)
        yield row


def _only_row(file: IO[bytes], path: Path) -> list[str]:
    """Give the lists of rows in a file of one line: one of them is what is meant."""
    position = file.tell()
    more = file.read(1024).strip()
    file.seek(position)
    return [] if more else [at for at, filled in _lists(path).items() if filled]


def _lists(path: Path) -> dict[str, bool]:
    """Give the dotted paths of the lists of objects in the file's readable beginning, and whether they have any."""
    found: dict[str, bool] = {}
    depth, opened = 0, None
    with path.open("rb") as file:
        _first(file)
        try:
            for prefix, event, _ in ijson.parse(file):
                if opened is not None and event in {"start_map", "end_array"}:
                    found[opened] = event == "start_map"
                opened = prefix if event == "start_array" and not depth else None
                depth += {"start_array": 1, "end_array": -1}.get(event, 0)
        except ijson.JSONError:
            pass
    return found


def _one_object(place: str, lists: Iterable[str]) -> PermanentError:
    return PermanentError(f"{place}: the file is one object, not a list of rows{_hint(lists)}")


def _check_path(path: Path, rows_at: str, place: str) -> None:
    lists = _lists(path)
    if rows_at not in lists:
        meant = did_you_mean(rows_at, lists, lead="; ")
        raise PermanentError(f'{place}: there is no list at rows_at "{rows_at}"{_hint(lists)}{meant}')


def _hint(lists: Iterable[str]) -> str:
    names = ", ".join(lists)
    return f": set rows_at to one of its lists: {names}" if names else ""
