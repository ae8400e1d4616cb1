"""Messages handed over by the whole product, its ledger on, beside smtplib in the same number of processes."""

from __future__ import annotations

import json
import random
import string
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from benchmarks.bare_sending import Job
from benchmarks.postgresql import server
from benchmarks.product import PROCESSES, ROOT, Product, product
from benchmarks.results import Result, Target
from benchmarks.sink import Sink, sink
from pipeline.models import Step

REPORT = """
report:
  title: Aircraft log
  template: aircraft_log
  period: 2013-W37
  url: rows.csv
  formats: [csv]
  {split}
recipients: {{file: people.csv}}
message: {{attach: {attach}}}
"""
# A document of 12 kB of its own: letters that do not compress, as the inside of a PDF does not.
ROWS, WIDTH = 96, 120
# Seconds that a run may take.
PATIENCE = 900


def files(count: int, *, own: bool) -> dict[str, str]:
    """What the report is made from: people, and rows that make a document of 12 kB, for each of them or for all."""
    dice = random.Random(12)
    keys = [f"K{number:05}" for number in range(count)] if own else ["all"]
    line = ["".join(dice.choices(string.ascii_letters, k=WIDTH)) for _ in range(ROWS)]
    rows = "\n".join(f"{key},{text}" for key in keys for text in line)
    people = "\n".join(f"{keys[number if own else 0]},a{number}@example.org,Ann {number}" for number in range(count))
    return {"rows.csv": f"key,text\n{rows}\n", "people.csv": f"key,email,name\n{people}\n"}


def measure(many: int, few: int) -> Result:
    """`many` messages without attachment, `few` with one of their own, and as many that share one.

    These once more by twice the senders: they wait most of the time, and the loop does not.
    """
    cases = [
        (f"{many:,} without attachment", "none", many, PROCESSES),
        (f"{few:,}, each with 12 kB of its own", "own", few, PROCESSES),
        (f"{few:,} that share 12 kB", "shared", few, PROCESSES),
        (f"the same, {2 * PROCESSES} processes of the product", "shared", few, 2 * PROCESSES),
    ]
    rows, facts, speeds = [], {}, {}
    for name, attachment, count, senders in cases:
        found = _case(attachment, count, senders)
        ours, building, prebuilt = found["product"], found["building"], found["prebuilt"]
        speeds.setdefault(attachment, building / ours)
        facts[name] = found
        each = [f"{one:,.0f}" for one in (ours, building, prebuilt)]
        rows.append((name, *each, f"{ours / building:.2f}", f"{ours / prebuilt:.2f}"))
    return Result(
        "sending",
        f"Messages a second ({PROCESSES} processes, PostgreSQL, smtp-sink)",
        ("", "the product", "a loop that makes each", "a loop of ready bytes", "to the first loop", "to the second"),
        rows,
        facts,
        [
            Target("time without attachment, the loop that makes each = 1", speeds["none"], 1.25),
            Target("time with one of their own, likewise", speeds["own"], 1.25),
            Target("time with one that all share, likewise", speeds["shared"], 0.5),
        ],
        ["The product: from the first deliver step's start to the last one's end, every dot committed durably."],
    )


def _case(attachment: str, count: int, senders: int) -> dict[str, float]:
    own = attachment == "own"
    text = REPORT.format(split="split_by: key" if own else "", attach="[]" if attachment == "none" else "[csv]")
    with ExitStack() as stack:
        url, mail = stack.enter_context(server()), stack.enter_context(sink())
        made = {**files(count, own=own), "schedules/mails.yaml": text}
        processes = {"PIPELINE_CONCURRENCY": str(senders)}
        found = stack.enter_context(product(mail.port, database_url=url, files=made, settings=processes))
        warm = made["people.csv"].splitlines()[:41]
        (found.home / "people.csv").write_text("\n".join(warm) + "\n")
        found.command("trigger", "mails", "--yes", "--wait")
        (found.home / "people.csv").write_text(made["people.csv"])
        ours = _deliver(found, count)
        bare = {
            name: bare_loop(found, mail, count, attachment, prebuilt=prebuilt)
            for name, prebuilt in (("building", False), ("prebuilt", True))
        }
    return {"product": ours, **bare}


def _deliver(found: Product, count: int) -> float:
    """Messages a second of a run's deliver steps, from the first one's start to the last one's end."""
    run_id = UUID(json.loads(found.command("trigger", "mails", "--yes", "--json"))["id"])
    found.finished(run_id, time.perf_counter() + PATIENCE)
    with Session(found.engine) as session:
        mine = (Step.run_id == run_id, Step.task == "report.deliver")
        began, ended = session.execute(select(func.min(Step.started_at), func.max(Step.finished_at)).where(*mine)).one()
    return count / (ended - began).total_seconds()


def bare_loop(found: Product, mail: Sink, count: int, attachment: str, *, prebuilt: bool) -> float:
    job = Job(str(ROOT / "templates"), mail.port, count, attachment, prebuilt, PROCESSES)
    words = [sys.executable, "-m", "benchmarks.bare_sending", json.dumps(asdict(job))]
    done = subprocess.run(words, cwd=ROOT, env=found.environment, stdout=subprocess.PIPE, text=True, check=True)
    told = json.loads(done.stdout)
    return float(told["messages"]) / float(told["seconds"])
