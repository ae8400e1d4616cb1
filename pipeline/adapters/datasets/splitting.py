"""Splitting a dataset into one file per render batch, in bounded memory."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.adapters.datasets.form import STREAMED, WRITTEN
from pipeline.adapters.datasets.keys import as_text, known_column

# Arrow bytes held at a time; reading, sorting and copying them took 160 MB in all with 10 million rows.
_PORTION = 16 * 1024 * 1024


class Batches(Protocol):
    """Which batch a key belongs to, and the numbers of all batches: a dict, or what is not held in memory."""

    def get(self, key: str, /) -> int | None: ...

    def values(self) -> Iterable[int]: ...


def split(path: Path, column: str, batch_of: Batches, folder: Path) -> dict[int, Path]:
    """Write the rows of each batch into a Parquet file of its own in `folder`; give the file per batch number.

    `batch_of` names the batch of each key (as text, see `as_text`); rows with another key, or none, are left out. Rows
    keep their order within a batch. Every batch gets a file, if need be one without rows. Memory and open files do not
    grow with the rows or the batches. Raises PermanentError for an unknown column, OSError for a full disk.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # One spill file, in which each portion's rows lie sorted by batch: 400 open writers would hold 400 buffers.
    with pq.ParquetFile(path, **STREAMED) as file, tempfile.TemporaryDirectory(dir=folder, prefix=".split-") as scratch:
        spill, pieces = Path(scratch) / "spill.arrow", defaultdict[int, list[int]](list)
        with pa.ipc.new_file(spill, file.schema_arrow, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
            if known_column(file, column):
                _sort_into(writer, pieces, file, column, batch_of)
        with pa.OSFile(str(spill)) as opened:
            sorted_rows = pa.ipc.open_file(opened)
            return {
                number: _written(folder / f"batch-{number:05d}.parquet", sorted_rows, pieces[number], Path(scratch))
                for number in sorted(set(batch_of.values()))
            }


def _sort_into(writer: Any, pieces: dict[int, list[int]], file: Any, column: str, batch_of: Batches) -> None:
    """Append every portion to the spill file, sorted by batch, and note which of its pieces belong to which batch."""
    written = 0
    for portion in _portions(file.iter_batches(batch_size=16_384, use_threads=False)):
        keys = as_text(portion.column(column)).dictionary_encode()
        numbers = pa.array([batch_of.get(key) for key in keys.dictionary.to_pylist()], pa.int32())
        batches = numbers.take(keys.indices)
        # Stable, so that rows keep their order; rows of no batch (NULL) are sorted behind all others.
        order = pc.sort_indices(batches).slice(0, len(batches) - batches.null_count)
        rows, start = portion.take(order), 0
        for found in pc.value_counts(batches.take(order)).to_pylist():
            writer.write_batch(rows.slice(start, found["counts"]))
            pieces[found["values"]].append(written)
            written, start = written + 1, start + found["counts"]
        pa.default_memory_pool().release_unused()


def _portions(batches: Iterator[Any]) -> Iterator[Any]:
    """Join record batches into ones of about `_PORTION` bytes."""
    held: list[Any] = []
    size = 0
    for batch in batches:
        held.append(batch)
        size += batch.nbytes
        if size >= _PORTION:
            portion, held, size = pa.concat_batches(held), [], 0
            yield portion
    if held:
        yield pa.concat_batches(held)


def _written(path: Path, sorted_rows: Any, pieces: list[int], scratch: Path) -> Path:
    """Write one batch's pieces, under a temporary name until they are complete."""
    unfinished = scratch / path.name
    with pq.ParquetWriter(unfinished, sorted_rows.schema, **WRITTEN) as writer:
        for portion in _portions(sorted_rows.get_batch(piece) for piece in pieces):
            writer.write_batch(portion)
    pa.default_memory_pool().release_unused()
    return unfinished.rename(path)
