"""Rows of texts as a dataset, written in chunks with flat memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.adapters.datasets.form import WRITTEN


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
