"""Parquet files, a part of a row group at a time."""

from __future__ import annotations

from collections import Counter
from datetime import tzinfo
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.adapters.datasets.form import STREAMED
from pipeline.adapters.sources.instants import to_utc
from pipeline.adapters.sources.kinds import TEXT, Kind, decimal_kind
from pipeline.adapters.sources.writer import DatasetWriter
from pipeline.errors import PermanentError

_ROWS = 8_192


def read(path: Path, writer: DatasetWriter, *, place: str, zone: tzinfo) -> None:
    """Append the file's rows to `writer`; timestamps without a zone are wall times in `zone`, nanoseconds are cut off.

    Raises PermanentError for a file that is no Parquet, has two columns of one name or one of bytes.
    """
    try:
        with pq.ParquetFile(path, **STREAMED) as file:
            columns = file.schema_arrow.names
            twice = [name for name, count in Counter(columns).items() if count > 1]
            if twice:
                raise PermanentError(f"{place}: more than one column is named {', '.join(twice)}")
            writer.append_values(dict.fromkeys(columns, ()), 0)
            for batch in file.iter_batches(batch_size=_ROWS, use_threads=False):
                arrays = {name: _known(name, batch.column(name), writer, zone) for name in columns}
                writer.append(arrays, batch.num_rows)
    except pa.ArrowException as error:
        raise PermanentError(f"{place}: {error}") from error


def _known(  # noqa: PLR0911 - one return per kind of column
    name: str, array: Any, writer: DatasetWriter, zone: tzinfo
) -> tuple[Any, Kind]:
    """Give a column as one of the kinds that datasets have."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    kind = array.type
    if kind in {pa.string(), pa.large_string(), pa.string_view()}:
        return array.cast(pa.string()), TEXT
    if pa.types.is_integer(kind) and kind != pa.uint64():
        return array.cast(pa.int64()), Kind(pa.int64())
    if pa.types.is_floating(kind):
        return array.cast(pa.float64()), Kind(pa.float64())
    if pa.types.is_decimal(kind):
        to = decimal_kind(max(kind.scale, 0), wide=pa.types.is_decimal256(kind))
        return array.cast(to.type), to
    if pa.types.is_timestamp(kind):
        if kind.tz:
            array = array.cast(pa.timestamp("us", "UTC"), safe=False)
        else:
            array = to_utc(array.cast(pa.timestamp("us"), safe=False), zone)
        return array, Kind(array.type)
    if pa.types.is_date(kind):
        return array.cast(pa.date32()), Kind(pa.date32())
    if pa.types.is_boolean(kind):
        return array, Kind(kind)
    return writer.inference.column(name, array.to_pylist())
