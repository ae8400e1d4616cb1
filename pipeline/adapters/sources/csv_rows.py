"""CSV files: read twice, once to learn what every column holds throughout, once to take the rows."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import tzinfo
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv

from pipeline.adapters.sources.iso import Iso
from pipeline.adapters.sources.kinds import TEXT, Kind
from pipeline.adapters.sources.writer import DatasetWriter
from pipeline.errors import PermanentError

# What is read at a time: a row must fit, so the second is for long ones. Arrow reads up to 32 of them ahead.
_BLOCK, _LONGEST = 128 * 1024, 4 * 1024 * 1024
# NULL, in columns that are not text.
_NULLS = pa.array(["", "NULL", "null", "NA", "N/A", "n/a", "#N/A", "NaN", "nan"])


@dataclass(frozen=True)
class _Form:
    """One way values are written: they match `pattern`, and all of them are `type`."""

    pattern: str
    type: Any

    def parse(self, text: Any) -> Any | None:
        if not pc.all(pc.match_substring_regex(text, self.pattern), min_count=0).as_py():
            return None
        return text.cast(self.type)


# Up to 15 digits a whole number is exact as a float, too; beyond, floats would lose digits. A leading zero makes text:
# 00501 is a postal code.
_WHOLE = _Form(r"^-?(0|[1-9]\d{0,14})$", pa.int64())
_LONG = _Form(r"^-?(0|[1-9]\d{0,17})$", pa.int64())
_FLOAT = _Form(r"^-?((0|[1-9]\d{0,14})(\.\d*)?|\.\d+)([eE][+-]?\d{1,2})?$", pa.float64())
_BOOLEAN = _Form(r"^([Tt]rue|TRUE|[Ff]alse|FALSE)$", pa.bool_())
# What a column can still turn into.
_NEXT: dict[Any, tuple[_Form, ...]] = {None: (_WHOLE, _LONG, _FLOAT, _BOOLEAN), _WHOLE: (_WHOLE, _LONG, _FLOAT)}


def read(path: Path, writer: DatasetWriter, *, place: str, zone: tzinfo) -> None:
    """Append the file's rows to `writer`.

    The first row names the columns; the delimiter is the comma, semicolon, tab or bar that it has most of. A column is
    whole numbers, floats, true and false, ISO dates or instants (without an offset: wall times in `zone`) only if all
    its values are; empty ones are NULL there. Raises PermanentError naming the line that is not UTF-8 or has too few
    or too many values.
    """
    delimiter = _delimiter(path, place)
    columns = _columns(path, delimiter, place)
    block = _BLOCK
    try:
        try:
            forms = _forms(path, delimiter, columns, zone, block)
        except pa.ArrowInvalid as error:
            if "straddling" not in str(error):
                raise
            block = _LONGEST
            forms = _forms(path, delimiter, columns, zone, block)
        writer.append_values(dict.fromkeys(columns, ()), 0)
        for batch in _batches(path, delimiter, columns, block):
            writer.append({name: _converted(batch.column(name), forms[name]) for name in columns}, batch.num_rows)
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise _diagnosed(path, delimiter, place, str(error)) from error


def _forms(path: Path, delimiter: str, columns: list[str], zone: tzinfo, block: int) -> dict[str, Any]:
    """The form that all values of each column have in common."""
    forms: dict[str, Any] = dict.fromkeys(columns)
    for batch in _batches(path, delimiter, columns, block):
        for name in columns:
            if forms[name] != TEXT:
                forms[name] = _narrowed(forms[name], batch.column(name), zone)
    return forms


def _delimiter(path: Path, place: str) -> str:
    with path.open("rb") as file:
        header = file.readline(_LONGEST)
    if not header.strip():
        raise PermanentError(f"{place}: the file is empty: its first row must name the columns")
    return max(",;\t|", key=lambda sign: header.count(sign.encode()))


def _columns(path: Path, delimiter: str, place: str) -> list[str]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            columns = [name.strip() for name in next(csv.reader(file, delimiter=delimiter))]
    except UnicodeDecodeError as error:
        raise _diagnosed(path, delimiter, place, str(error)) from error
    twice = [name for name, count in Counter(columns).items() if count > 1 and name]
    if twice:
        raise PermanentError(f"{place}: the first row names {', '.join(twice)} more than once")
    if not all(columns):
        raise PermanentError(
            f"{place}: the first row must name the columns: number {columns.index('') + 1} has no name"
        )
    if all(re.fullmatch(r"-?[\d.,:/-]+", name) for name in columns):
        raise PermanentError(f"{place}: the first row must name the columns, but it holds values: {', '.join(columns)}")
    return columns


def _batches(path: Path, delimiter: str, columns: list[str], block: int) -> Iterator[Any]:
    """Yield the file's rows as text."""
    with arrow_csv.open_csv(
        path,
        read_options=arrow_csv.ReadOptions(block_size=block, use_threads=False, column_names=columns, skip_rows=1),
        parse_options=arrow_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        convert_options=arrow_csv.ConvertOptions(column_types=dict.fromkeys(columns, pa.string())),
    ) as batches:
        yield from batches


def _narrowed(form: Any, text: Any, zone: tzinfo) -> Any:
    """Give the form that the column's values so far and these have in common."""
    values = pc.utf8_trim_whitespace(text.filter(pc.invert(pc.is_in(text, _NULLS))))
    if not len(values):
        return form
    candidates: tuple[Any, ...] = _NEXT.get(form, (form,))
    if form is None and (iso := Iso.of(values[0].as_py(), zone)):
        candidates = (iso,)
    return next((candidate for candidate in candidates if candidate.parse(values) is not None), TEXT)


def _converted(text: Any, form: Any) -> tuple[Any, Kind]:
    if form is None or form == TEXT:
        return text, TEXT
    trimmed = pc.utf8_trim_whitespace(pc.if_else(pc.is_in(text, _NULLS), None, text))
    return form.parse(trimmed), Kind(form.type)


def _diagnosed(path: Path, delimiter: str, place: str, reason: str) -> PermanentError:
    """Find the line that Arrow's message does not name; slow, and only when something is wrong."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                byte = line[error.start]
                return PermanentError(
                    f"{place}: line {number} is not UTF-8 (byte 0x{byte:02x}): save the file as UTF-8"
                )
    with path.open(encoding="utf-8-sig", newline="") as text:
        rows = csv.reader(text, delimiter=delimiter)
        try:
            width = len(next(rows))
            for row in rows:
                if row and len(row) != width:
                    return PermanentError(
                        f"{place}: line {rows.line_num} has {len(row)} values where the first row names {width} columns"
                    )
        except csv.Error as error:
            reason = f"line {rows.line_num}: {error}"
    if "straddling" in reason:
        reason = f"a row is longer than {_LONGEST:,} bytes; is a quotation mark left open?"
    return PermanentError(f"{place}: {reason}")
