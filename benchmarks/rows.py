"""Ten million rows streamed from a database into a dataset, in a process whose peak is then known."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.product import FOLDER, ROOT
from benchmarks.results import Result, Target, megabytes, seconds

# Six columns as a warehouse has them: numbers, texts with holes, instants.
QUERY = """
with recursive n(i) as (select 1 union all select i + 1 from n where i < {rows})
select i as id, i % 4000 as customer_id, 'customer ' || (i * 7919 % 100003) as name, i * 0.37 as amount,
       datetime(1767225600 + i, 'unixepoch') as at, case when i % 3 then 'note ' || i end as note
from n
"""


def fetch(rows: int, folder: Path) -> dict[str, float]:
    """What the step `fetch` does, in this process; bytes of its peak, before and after."""
    # What a worker has loaded anyway.
    import httpx  # noqa: F401
    import ijson  # noqa: F401
    import sqlalchemy  # noqa: F401

    from pipeline.adapters import sources
    from pipeline.report import Source
    from pipeline.timing import period

    def database_url(_name: str) -> str:
        return f"sqlite:///{folder / 'warehouse.db'}"

    before, began = peak(), time.perf_counter()
    dataset = sources.fetch(
        Source(database="warehouse", sql=QUERY.format(rows=rows)),
        name="rows",
        period=period("last_week", datetime(2026, 11, 16, tzinfo=UTC), "UTC"),
        parameters={},
        destination=folder / "rows.parquet",
        home=folder,
        database_url=database_url,
        timeout=3600,
        max_bytes=10**11,
    )
    took = time.perf_counter() - began
    return {"rows": dataset.rows, "bytes": dataset.bytes, "seconds": took, "before": before, "after": peak()}


def peak() -> int:
    """Bytes; from the kernel's own book, since getrusage's are inherited from whoever started this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def measure(rows: int) -> Result:
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        Path(folder, "warehouse.db").touch()
        words = [sys.executable, "-m", "benchmarks.rows", str(rows), folder]
        done = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(done.stdout)
    if found["rows"] != rows:
        raise SystemExit(f"{found['rows']} of {rows} rows were fetched")
    grown = found["after"] - found["before"]
    line = (f"{rows:,}", seconds(found["seconds"]), f"{rows / found['seconds']:,.0f}", megabytes(found["bytes"]))
    return Result(
        "rows",
        "Rows of six columns from a database into a dataset",
        ("rows", "time", "rows/s", "dataset", "peak before", "peak after"),
        [(*line, megabytes(found["before"]), megabytes(found["after"]))],
        found,
        [Target("growth of the peak, MB", grown / 2**20, 300)],
    )


if __name__ == "__main__":
    print(json.dumps(fetch(int(sys.argv[1]), Path(sys.argv[2]))))
