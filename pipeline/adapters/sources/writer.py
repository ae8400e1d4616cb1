"""Chunks of rows into one Parquet file with flat memory, whatever their values turn out to be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.adapters.datasets.form import STREAMED, WRITTEN
from pipeline.adapters.sources.inference import Inference
from pipeline.adapters.sources.kinds import NOTHING, Kind, fitted, joined

# Arrow bytes in one row group: what is held before it is written.
_ROW_GROUP = 4 * 1024 * 1024
# Arrow bytes in one chunk of rows that are Python objects, which take about ten times as much.
_CHUNK = 2 * 1024 * 1024
_MOST_ROWS = 5_000


@dataclass
class _Part:
    """A file of rows that all fit `kinds`."""

    path: Path
    kinds: dict[str, Kind]


@dataclass
class DatasetWriter:
    """Takes rows in chunks; `finish` makes the dataset of them.

    As long as each chunk fits the columns so far, they go into one file. One that does not (text after numbers,
    decimals with more digits, a new column) starts a file of its own; `finish` joins the files under the widest kinds.
    `on_progress` is called with the rows so far after every chunk, and may raise to stop.
    """

    folder: Path
    inference: Inference
    on_progress: Callable[[int], None] | None = None
    rows: int = 0
    # How many rows the next chunk should have, by the size of the last one's.
    chunk_rows: int = 500
    _parts: list[_Part] = field(default_factory=list)
    _held: list[Any] = field(default_factory=list)
    _held_bytes: int = 0
    _file: Any = None

    @property
    def kinds(self) -> dict[str, Kind]:
        return self._parts[-1].kinds if self._parts else {}

    def append_values(self, columns: Mapping[str, Sequence[Any]], count: int) -> None:
        """Append a chunk of `count` rows, given as Python values per column. Raises PermanentError for bytes."""
        so_far = self.kinds
        self.append(
            {name: self.inference.column(name, values, so_far.get(name, NOTHING)) for name, values in columns.items()},
            count,
        )

    def append(self, chunk: Mapping[str, tuple[Any, Kind]], count: int) -> None:
        """Append a chunk of `count` rows, given as an array and its kind per column."""
        arrays, kinds = {}, {}
        for name in {**self.kinds, **chunk}:
            array, kind = chunk.get(name) or (pa.nulls(count), NOTHING)
            arrays[name], kinds[name] = fitted(array, kind, joined(self.kinds.get(name, NOTHING), kind))
        if not self._parts or (kinds != self.kinds and not self._refit(kinds)):
            self._close()
            self._parts.append(_Part(self.folder / f"part-{len(self._parts):05d}.parquet", kinds))
        batch = _batch(arrays)
        self._hold(batch)
        self.rows += count
        self._resize(batch.nbytes, count)
        if self.on_progress and count:
            self.on_progress(self.rows)

    def finish(self, destination: Path) -> None:
        """Put the complete dataset at `destination`, at once; without rows it still has its columns."""
        if not self._parts:
            self.append({}, 0)
        self._close()
        finished = self._parts[0]
        if len(self._parts) > 1:
            finished, parts = _Part(self.folder / "joined.parquet", self.kinds), self._parts
            while wider := self._join(parts, finished):
                finished.kinds = wider
        finished.path.rename(destination)
        self._parts = [finished]

    def _join(self, parts: Sequence[_Part], joint: _Part) -> dict[str, Kind] | None:
        """Write all parts into one file under its kinds; stop and give wider ones where a value would not fit these."""
        self._parts = [joint]
        for part in parts:
            with pq.ParquetFile(part.path, **STREAMED) as file:
                for batch in file.iter_batches(use_threads=False):
                    arrays, wider = _refitted(batch, part.kinds, joint.kinds)
                    if wider != joint.kinds:
                        self._held, self._held_bytes = [], 0
                        self._close()
                        return wider
                    self._hold(_batch(arrays))
        self._close()
        return None

    def _refit(self, kinds: dict[str, Kind]) -> bool:
        """Widen what is held, if the part is not on disk yet and everything fits; else say no, and change nothing."""
        if self._file is not None:
            return False
        refitted = []
        for batch in self._held:
            arrays, wider = _refitted(batch, self.kinds, kinds)
            if wider != kinds:
                return False
            refitted.append(_batch(arrays))
        self._held, self._parts[-1].kinds = refitted, kinds
        return True

    def _hold(self, batch: Any) -> None:
        """Keep a chunk until there are enough for a row group."""
        self._held.append(batch)
        self._held_bytes += batch.nbytes
        if self._held_bytes >= _ROW_GROUP:
            self._flush()

    def _flush(self) -> None:
        if not self._held:
            return
        if self._file is None:
            self._file = pq.ParquetWriter(self._parts[-1].path, self._held[0].schema, **WRITTEN)
        self._file.write_table(pa.Table.from_batches(self._held))
        self._held, self._held_bytes = [], 0
        pa.default_memory_pool().release_unused()

    def _close(self) -> None:
        self._flush()
        if self._file is not None:
            self._file.close()
        self._file = None

    def _resize(self, size: int, count: int) -> None:
        if count:
            fitting = int(_CHUNK / max(size / count, 1))
            self.chunk_rows = max(1, min(fitting, 4 * self.chunk_rows, _MOST_ROWS))


def _batch(arrays: Mapping[str, Any]) -> Any:
    return pa.RecordBatch.from_arrays(list(arrays.values()), names=list(arrays))


def _refitted(batch: Any, kinds: Mapping[str, Kind], to: Mapping[str, Kind]) -> tuple[dict[str, Any], dict[str, Kind]]:
    """Convert a batch's columns to the kinds in `to`, or wider ones where a value would not fit; give both."""
    arrays, wider = {}, dict(to)
    for name, kind in to.items():
        array = batch.column(name) if name in kinds else pa.nulls(batch.num_rows)
        arrays[name], wider[name] = fitted(array, kinds.get(name, NOTHING), kind)
    return arrays, wider
