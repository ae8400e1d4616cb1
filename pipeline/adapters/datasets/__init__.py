"""Datasets: the Parquet files that sources are streamed into, counted by key, split into batches and read as rows.

Importing this package loads pyarrow: only a process that touches rows does so.
"""

from pipeline.adapters.datasets.keys import as_text, count_keys, key_counts
from pipeline.adapters.datasets.rows import Row, Shape, rows, rows_by_key, shape
from pipeline.adapters.datasets.splitting import split
from pipeline.adapters.datasets.texts import TextFile, texts

__all__ = [
    "Row",
    "Shape",
    "TextFile",
    "as_text",
    "count_keys",
    "key_counts",
    "rows",
    "rows_by_key",
    "shape",
    "split",
    "texts",
]
