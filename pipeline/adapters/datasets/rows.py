"""Rows as templates and build() see them: light values with attributes and items."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.adapters.datasets.keys import as_text, known_column
from pipeline.mistakes import did_you_mean

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Row(tuple[Any, ...]):
    """One row: `row.delivered_at`, `row["delivered_at"]`, `dict(row)`; each dataset has a subclass with its columns.

    A tuple underneath, so that 100,000 of them are made in a moment. A column named `keys` is reached as `row["keys"]`
    only. An unknown column raises AttributeError or KeyError naming those there are.
    """

    __slots__ = ()
    _positions: ClassVar[Mapping[str, int]] = {}

    def __getitem__(self, column: Any) -> Any:
        if isinstance(column, str):
            try:
                return tuple.__getitem__(self, self._positions[column])
            except KeyError:
                raise KeyError(self._unknown(column)) from None
        return tuple.__getitem__(self, column)

    def __getattr__(self, column: str) -> Any:
        """Find the columns that are no Python names, such as `class`; called only where no attribute was found."""
        if column.startswith("__"):
            raise AttributeError(column)
        try:
            return tuple.__getitem__(self, self._positions[column])
        except KeyError:
            raise AttributeError(self._unknown(column)) from None

    def keys(self) -> Sequence[str]:
        return tuple(self._positions)

    def items(self) -> Sequence[tuple[str, Any]]:
        return tuple(zip(self._positions, self, strict=True))

    def __repr__(self) -> str:
        return f"Row({', '.join(f'{name}={value!r}' for name, value in zip(self._positions, self, strict=True))})"

    def _unknown(self, column: str) -> str:
        hint = did_you_mean(column, self._positions, lead="; ")
        return f'no column "{column}": the columns are {", ".join(self._positions)}{hint}'


def row_class(columns: Sequence[str]) -> type[Row]:
    """Make the class of rows with these columns."""
    # Only for its descriptors: they read a tuple's field in C, three times as fast as a property.
    fields = namedtuple("fields", columns, rename=True).__dict__  # noqa: PYI024
    attributes = {name: fields[name] for name in columns if name in fields and name != "keys"}
    positions = {name: position for position, name in enumerate(columns)}
    return type("Row", (Row,), {"__slots__": (), "_positions": positions, **attributes})


@dataclass(frozen=True)
class Shape:
    """How many rows a dataset has, and its columns in order."""

    rows: int
    columns: tuple[str, ...]


def shape(path: Path) -> Shape:
    """Read a dataset's shape from its footer; costs the same for ten rows and ten million."""
    with pq.ParquetFile(path) as file:
        return Shape(file.metadata.num_rows, tuple(file.schema_arrow.names))


def rows(path: Path) -> list[Row]:
    """Read all rows of a dataset, in its order.

    Values are int, float, Decimal, str, bool, date, datetime (aware, UTC) and None. Everything is held in memory:
    look at `shape` first where a dataset may be large.
    """
    with pq.ParquetFile(path) as file:
        make = row_class(file.schema_arrow.names)
        return [row for batch in file.iter_batches(use_threads=False) for row in _made(make, batch)]


def rows_by_key(path: Path, column: str) -> Iterator[tuple[str, list[Row]]]:
    """Yield each key of `column` (as text, see `as_text`) with its rows in their order; rows without one are left out.

    Keys come in order of first appearance. Only one key's rows are Python objects at a time; the rest of this file
    (one batch of `split`) stays in Arrow's compact form. Raises PermanentError for an unknown column.
    """
    with pq.ParquetFile(path) as file:
        if not known_column(file, column):
            return
        table = file.read(use_threads=False).combine_chunks()
    key_column = table.column(column)
    keys = as_text(key_column.combine_chunks()).dictionary_encode()
    order = pc.sort_indices(keys.indices)
    make, start = row_class(table.column_names), 0
    for found in pc.value_counts(keys.indices.take(order)).to_pylist():
        count, position = found["counts"], found["values"]
        if position is not None:
            part = table.take(order.slice(start, count)).combine_chunks()
            yield keys.dictionary[position].as_py(), list(_made(make, part))
        start += count


def _made(make: type[Row], batch: Any) -> Iterator[Row]:
    columns = [_values(column) for column in batch.columns]
    return map(partial(tuple.__new__, make), zip(*columns, strict=True))


def _values(column: Any) -> list[Any]:
    if not pa.types.is_timestamp(column.type):
        values: list[Any] = column.to_pylist()
        return values
    # Five times as fast as Arrow's own way, and datetime.UTC instead of a zone looked up by name.
    moments = column.cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_pylist()
    return [None if moment is None else _EPOCH + timedelta(microseconds=moment) for moment in moments]
