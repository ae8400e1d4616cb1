"""The worker's memory between a thousand documents and four thousand."""

from __future__ import annotations

from benchmarks.processes import Memory
from benchmarks.product import PROCESSES, product
from benchmarks.results import Result, Target, megabytes
from benchmarks.sink import sink

# The year has the aircraft for it; each shows no more of its flights than a fortnight has.
MOST_ROWS = 30
# What a peak may grow by and still be called flat.
FLAT = 1.15


def measure(few: int, many: int) -> Result:
    """One worker renders `few` documents and then `many`: a leak would show twice."""
    peaks = []
    with sink() as mail, product(mail.port, most_rows=MOST_ROWS) as found:
        for documents in (few, many):
            with Memory(found.worker) as memory:
                run = found.run("aircraft_log", "--period", "2013", "-p", f"documents={documents}")
            peaks.append((run.documents, memory.largest, memory.sum))
    rows = [(f"{count:,}", megabytes(largest), megabytes(total)) for count, largest, total in peaks]
    return Result(
        "memory",
        f"Worker's memory, one worker of {PROCESSES} processes, one run after the other",
        ("documents", "largest process, peak", "all together, peak"),
        rows,
        {"peaks": [dict(zip(("documents", "largest", "sum"), peak, strict=True)) for peak in peaks]},
        [Target("peak of the largest process, first run = 1", peaks[1][1] / peaks[0][1], FLAT)],
        ["Resident sets; what the processes share is counted in each of them."],
    )
