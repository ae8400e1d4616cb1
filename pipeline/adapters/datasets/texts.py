"""Rows of texts as a dataset, written and read in chunks with flat memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import repeat
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.adapters.datasets.form import STREAMED, WRITTEN
from pipeline.adapters.datasets.keys import as_text


class TextFile:
    """A Parquet file with these columns, each of text that may be missing."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self._schema = pa.schema([(name, pa.string()) for name in columns])
        self._file = pq.ParquetWriter(path, self._schema, **WRITTEN)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def append(self, rows: Sequence[Sequence[Any]]) -> None:
        columns = [pa.array(values, pa.string()) for values in zip(*rows, strict=True)]
        self._file.write_table(pa.table(columns, schema=self._schema))


def texts(path: Path, columns: Sequence[str]) -> Iterator[tuple[str | None, ...]]:
    """Each row's values of these columns, as text (see `as_text`) or None; a column that is not there is None."""
    with pq.ParquetFile(path, **STREAMED) as file:
        known = [name for name in columns if name in file.schema_arrow.names]
        for batch in file.iter_batches(batch_size=8192, columns=known, use_threads=False):
            there = {name: as_text(batch.column(name)).to_pylist() for name in known}
            yield from zip(*(there.get(name, repeat(None, batch.num_rows)) for name in columns), strict=True)
