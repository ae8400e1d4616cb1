"""A thousand documents rendered and mailed: the whole product and the bare loop, taking turns."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from pypdf import PdfReader

from benchmarks.bare_loop import Job
from benchmarks.product import FOLDER, PROCESSES, ROOT, Product, RunTimes, database, product, query
from benchmarks.results import Result, Target, seconds
from benchmarks.sink import Sink, sink

PERIOD = {"start": "2013-09-09", "end": "2013-09-23"}
# Compared page by page before any time is taken; the worker has then rendered before, as one that runs for days has.
COMPARED = 40


@dataclass(frozen=True)
class LoopTimes:
    """One run of the bare loop: its own seconds, without starting and importing; its processor time with them."""

    documents: int
    pages: int
    seconds: float
    cpu: float


def bare_loop(job: Job) -> LoopTimes:
    """Run the loop in a process of its own."""
    words = [sys.executable, "-m", "benchmarks.bare_loop", json.dumps(asdict(job))]
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    told = process.stdout.read() if process.stdout else ""
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit("the bare loop failed")
    return LoopTimes(**json.loads(told), cpu=used.ru_utime + used.ru_stime)


def job_for(found: Product, mail: Sink, documents: int) -> Job:
    """The same work as `Product.run`: same database, query, template files and server."""
    templates = found.home / "bare"
    for name in ("_base", "aircraft_log"):
        shutil.copytree(ROOT / "templates" / name, templates / name, dirs_exist_ok=True)
    parameters = {**PERIOD, "airport": "all", "documents": documents}
    return Job(str(database()), query(), parameters, str(templates), mail.port, PROCESSES)


def measure(documents: int, rounds: int, *, database_url: str = "", name: str = "SQLite") -> Result:
    """Both by turns, `rounds` times; the loop with everything reused once, for honesty."""
    with ExitStack() as stack:
        mail = stack.enter_context(sink())
        found = stack.enter_context(product(mail.port, database_url=database_url))
        job = job_for(found, mail, documents)
        compare(found, job)
        ours, loops = [], []
        for number in range(rounds):
            # Whoever goes first may find the machine cooler: they take turns at that, too.
            turns = [lambda: ours.append(run(found, documents)), lambda: loops.append(bare_loop(job))]
            for turn in turns if number % 2 else reversed(turns):
                turn()
        tuned = bare_loop(replace(job, tuned=True))
        if any(one.pages != loops[0].pages for one in (*ours, *loops, tuned)):
            raise SystemExit("the product and the bare loop made a different number of pages")
    return _result(name, ours, loops, tuned)


def run(found: Product, documents: int) -> RunTimes:
    return found.run("aircraft_log", "-p", f"documents={documents}")


def compare(found: Product, job: Job) -> None:
    """A few documents of both must have the same pages and the same text. Raises SystemExit naming one that differs."""
    run(found, COMPARED)
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER) as kept:
        parameters = {**job.parameters, "documents": COMPARED}
        bare_loop(replace(job, parameters=parameters, keep=kept))
        theirs = sorted(Path(kept).glob("*.pdf"))
        (folder,) = (found.home / "var" / "reports" / "aircraft_log").iterdir()
        if [one.name for one in theirs] != sorted(one.name for one in folder.glob("*.pdf")):
            raise SystemExit("the product and the bare loop made documents for different keys")
        for one in theirs:
            if read(one) != read(folder / one.name):
                raise SystemExit(f"{one.name} differs:\n{read(one)}\n{read(folder / one.name)}")


def read(path: Path) -> list[str]:
    """The text of each page, without the moment at which it was made."""
    return [re.sub(r"Generated .*[AP]M", "", page.extract_text()) for page in PdfReader(path).pages]


def _result(name: str, ours: list[RunTimes], loops: list[LoopTimes], tuned: LoopTimes) -> Result:
    took, seen = median(one.seconds for one in ours), median(one.seen for one in ours)
    loop, count = median(one.seconds for one in loops), ours[0].documents
    cpu, loop_cpu = median(one.cpu for one in ours), median(one.cpu for one in loops)

    def row(label: str, wall: float, busy: float) -> tuple[str, ...]:
        return label, seconds(wall), f"{count / wall:.1f}", seconds(busy), f"{loop / wall:.2f}"

    facts: dict[str, Any] = {
        "database": name,
        "product": [asdict(one) | {"id": str(one.id)} for one in ours],
        "loop": [asdict(one) for one in loops],
        "tuned_loop": asdict(tuned),
        "documents_per_second": count / took,
        "loop_documents_per_second": count / loop,
        "speed_ratio": loop / took,
        "cpu_ratio": loop_cpu / cpu,
    }
    return Result(
        "documents" if name == "SQLite" else name.lower(),
        f"{count:,} documents of one page each, rendered and mailed ({name}, {PROCESSES} processes)",
        ("median", "time", "documents/s", "processor time", "speed, loop = 1"),
        [
            row("the product: the run", took, cpu),
            row("the product: from typing `pipeline trigger` to seeing its end", seen, cpu),
            row("the bare loop", loop, loop_cpu),
            row("the bare loop, fonts, CSS and garbage kept (one round)", tuned.seconds, tuned.cpu),
        ],
        facts,
        [Target("time of the run, bare loop = 1", took / loop, 1.0)],
        [
            f"Rounds by turns, product: {', '.join(seconds(one.seconds) for one in ours)}.",
            f"Rounds by turns, loop: {', '.join(seconds(one.seconds) for one in loops)}.",
            f"{COMPARED} documents of both were read back first: the same keys, pages and text.",
        ],
    )
