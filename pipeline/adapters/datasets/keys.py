"""The values of a split column as text: one text per value, whatever type a source gave it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.adapters.datasets.form import STREAMED
from pipeline.errors import PermanentError
from pipeline.mistakes import did_you_mean


def as_text(array: Any) -> Any:
    """Give an Arrow array's values as text, NULL staying NULL, in the one form that keys are compared in.

    Numbers without an exponent and without trailing zeros (`42` for the integer, the float 42.0 and the decimal 42.00,
    `1.5`), `true` and `false`, dates as `2026-11-16`, instants in UTC as `2026-11-16T07:00:00Z` (with six digits of a
    second where they are not zero), text as it is.
    """
    kind = array.type
    if pa.types.is_floating(kind):
        return _plain(array.cast(pa.string()))
    if pa.types.is_decimal(kind):
        text = pc.replace_substring_regex(_plain(array.cast(pa.string())), r"(\.\d*?)0+$", r"\1")
        return pc.replace_substring_regex(text, r"\.$", "")
    if pa.types.is_timestamp(kind):
        text = array.cast(pa.timestamp("us")).cast(pa.string())
        text = pc.replace_substring(pc.replace_substring_regex(text, r"\.0+$", ""), " ", "T")
        return pc.binary_join_element_wise(text, pa.scalar("Z"), "")
    return array.cast(pa.string())


def _plain(text: Any) -> Any:
    """Write numbers such as 1.5e+11 out; few columns have any."""
    if pc.any(pc.match_substring_regex(text, r"\d[eE][+-]|^-0$")).as_py():
        return pa.array([_written_out(value) for value in text.to_pylist()], pa.string())
    return text


def _written_out(value: str | None) -> str | None:
    if value is None or value.lstrip("-") in {"nan", "inf"}:
        return value
    return "0" if value == "-0" else format(Decimal(value), "f")


def count_keys(path: Path, column: str) -> dict[str | None, int]:
    """Count the rows per value of `column`, in order of first appearance; rows without a value count under None.

    Raises PermanentError naming the columns there are when `column` is not one of them.
    """
    counts: Counter[str | None] = Counter()
    for part in key_counts(path, column):
        for key, count in part:
            counts[key] += count
    return dict(counts)


def key_counts(path: Path, column: str) -> Iterator[list[tuple[str | None, int]]]:
    """The same in parts, in each of which a key comes once: memory is flat, however many keys there are."""
    with pq.ParquetFile(path, **STREAMED) as file:
        if not known_column(file, column):
            return
        for batch in file.iter_batches(columns=[column], use_threads=False):
            counted = pc.value_counts(as_text(batch.column(0)))
            yield [(found["values"], found["counts"]) for found in counted.to_pylist()]


def known_column(file: Any, column: str) -> bool:
    """Say whether the Parquet file has the column; False only if it has no rows and no columns at all.

    Raises PermanentError naming the columns there are.
    """
    names = file.schema_arrow.names
    if column in names:
        return True
    if not names:
        return False
    hint = did_you_mean(column, names, lead="; ")
    raise PermanentError(f'column "{column}" is not in the rows: they have {", ".join(names)}{hint}')
