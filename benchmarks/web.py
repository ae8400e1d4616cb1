"""The HTTP API and the console over a long history on PostgreSQL: lists, a large run, opening runs, those who watch."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from uuid import UUID

import httpx
from sqlalchemy import text

from benchmarks.postgresql import server
from benchmarks.results import Result, Target

# Requests of each kind; seconds that runs are opened for, and how many in each; who watches, for how long.
REPEATS, OPENING, PER_SECOND, WATCHERS, WATCHING = 60, 20, 50, 200, 20
SCHEDULES = 200


def measure(runs: int, deliveries: int) -> Result:
    with tempfile.TemporaryDirectory() as home, server() as url:
        Path(home, "schedules").mkdir()
        os.environ |= {"PIPELINE_HOME": home, "PIPELINE_DATABASE_URL": url, "PIPELINE_LOG_LEVEL": "WARNING"}
        large = _fill(runs, deliveries)
        token = _token()
        with (
            _broker(Path(home)),
            _web() as (process, root),
            httpx.Client(
                base_url=root,
                headers={"Authorization": f"Bearer {token}"},
                cookies=_cookies(),
                timeout=30,
                limits=httpx.Limits(max_connections=None),
            ) as http,
        ):
            return _measured(http, process, large, runs, deliveries)


def _measured(http: httpx.Client, process: subprocess.Popen[bytes], large: str, runs: int, deliveries: int) -> Result:
    last = http.get("/api/runs?limit=50").json()["next"]
    for _ in range(min(20, runs // 1000)):
        last = http.get("/api/runs", params={"limit": 500, "after": last}).json()["next"]
    asked = {
        "the newest 50 runs": "/api/runs?limit=50",
        "50 runs, 10,000 further on": f"/api/runs?limit=50&after={last}",
        "those that failed": "/api/runs?limit=50&status=failed",
        "those of one schedule that failed": "/api/runs?limit=50&schedule=bench_7&status=failed",
        "those by hand": "/api/runs?limit=50&trigger=manual",
        "those of one recipient": "/api/runs?limit=50&recipient=person7@acme.example",
        "the large run: progress": f"/api/runs/{large}",
        "the large run: steps and problems": f"/api/runs/{large}/steps",
        "its deliveries": f"/api/runs/{large}/deliveries?limit=50",
        "its accepted deliveries": f"/api/runs/{large}/deliveries?limit=50&status=accepted",
        "its deliveries, searched": f"/api/runs/{large}/deliveries?limit=50&text=person77",
        "console: Today": "/",
        "console: Runs": "/runs",
        "console: Runs that failed": "/runs?status=failed",
        "console: Runs of one recipient": "/runs?q=person7@acme.example",
        "console: the large run": f"/runs/{large}",
        "console: the large run, kept current": f"/runs/{large}/live",
        "console: its deliveries": f"/runs/{large}/deliveries",
        "console: Schedules": "/schedules",
        "console: a schedule": "/schedules/bench_7",
        "console: System": "/system",
    }
    took = {name: _p95(lambda path=path: http.get(path)) for name, path in asked.items()}
    opening = _opened(http)
    share, events = _watched(http, process, large)
    rows = [(name, f"{p50:.0f} ms", f"{p95:.0f} ms") for name, (p50, p95) in took.items()]
    rows += [(f"opening a run, {PER_SECOND} a second", *(f"{one:.0f} ms" for one in opening))]
    return Result(
        part="web",
        title=f"HTTP over {runs:,} runs, one with {deliveries:,} deliveries; PostgreSQL",
        columns=("asked for", "median", "95th percentile"),
        rows=rows,
        facts={"p95": {name: both[1] for name, both in took.items()}, "opening": opening, "share": share},
        targets=[
            *(Target(f"ms for {name}", both[1], 100) for name, both in took.items()),
            Target("ms to open a run", opening[1], 30),
            Target(f"of a core, in percent, for {WATCHERS} who watch", share * 100, 5),
        ],
        notes=[f"{WATCHERS} watched a run that changed every second, for {WATCHING} s: {events:,} events came."],
    )


def _p95(ask: Callable[[], httpx.Response]) -> tuple[float, float]:
    """Median and 95th percentile in ms, the first five calls left out."""
    took = []
    for _ in range(REPEATS + 5):
        began = time.perf_counter()
        ask().raise_for_status()
        took.append((time.perf_counter() - began) * 1000)
    return median(took[5:]), quantiles(took[5:], n=20)[-1]


def _opened(http: httpx.Client) -> tuple[float, float]:
    """Opened at a steady rate, whatever the answers take; measured from when each was due to be asked for."""

    def ask(due: float) -> float:
        time.sleep(max(0.0, due - time.perf_counter()))
        http.post("/api/runs", json={"schedule": "by_hand"}).raise_for_status()
        return (time.perf_counter() - due) * 1000

    begin = time.perf_counter() + 1
    with ThreadPoolExecutor(20) as pool:
        dues = [begin + number / PER_SECOND for number in range(OPENING * PER_SECOND)]
        took = list(pool.map(ask, dues))[PER_SECOND:]
    return median(took), quantiles(took, n=20)[-1]


def _watched(http: httpx.Client, process: subprocess.Popen[bytes], large: str) -> tuple[float, int]:
    """The share of a core that serving takes while many watch a run that goes on; and what they heard."""
    from pipeline.db import transaction
    from pipeline.models import Run

    with transaction() as session:
        session.get_one(Run, UUID(large)).status = "running"
    heard, stopped = [0] * WATCHERS, threading.Event()

    def watch(number: int) -> None:
        try:
            with http.stream("GET", f"/api/runs/{large}/events", timeout=60) as answer:
                for line in answer.iter_lines():
                    heard[number] += line.startswith("event: ")
                    if stopped.is_set():
                        return
        except httpx.TransportError:
            return

    threads = [threading.Thread(target=watch, args=(number,), daemon=True) for number in range(WATCHERS)]
    for thread in threads:
        thread.start()
    patience = time.monotonic() + 30
    while not all(heard):
        if time.monotonic() > patience:
            raise RuntimeError(f"{heard.count(0)} of {WATCHERS} who watch heard nothing in 30 s")
        time.sleep(0.1)
    before, began, first = _processor(process.pid), time.perf_counter(), sum(heard)
    for number in range(WATCHING):
        with transaction() as session:
            session.get_one(Run, UUID(large)).error = f"step {number}"
        time.sleep(1)
    share = (_processor(process.pid) - before) / (time.perf_counter() - began)
    stopped.set()
    return share, sum(heard) - first


def _processor(pid: int) -> float:
    """Seconds of processor time that the process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# ---- what is there


def _fill(runs: int, deliveries: int) -> str:
    """Runs over the last two years and their deliveries, of 200 schedules; the id of a run with very many."""
    from pipeline import db, migrating
    from pipeline.models import Run
    from tests.factories import make_run, make_schedule

    migrating.migrate()
    for number in range(SCHEDULES):
        make_schedule(f"bench_{number}")
    make_schedule("by_hand", report=None, when=None, recipients=None, command=["true"], overlap="allow")
    run = make_run("bench_0", status="partial")
    with db.transaction() as session:
        row = session.get_one(Run, run.id)
        same = {name: json.dumps(getattr(row, name)) for name in ("period", "params", "scope", "definition")}
        session.execute(text(_RUNS), {**same, "runs": runs, "schedules": SCHEDULES})
        session.execute(text(_DELIVERIES), {"some": runs // 10})
        for statement in (_LARGE, _DOCUMENTS, _STEPS, _ATTEMPTS):
            session.execute(text(statement), {"run": run.id, "many": deliveries})
        session.execute(text(_RECIPIENTS))
    with db.engine().connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT").execute(text("VACUUM ANALYZE"))
    return str(run.id)


_RUNS = """
    INSERT INTO runs (id, workflow, schedule_key, revision, trigger, triggered_by, due_at, zone, period, params, scope,
        definition, code_version, generation, status, created_at, started_at, finished_at)
    SELECT gen_random_uuid(), 'report', 'bench_' || (n % :schedules), '1',
        CASE WHEN n % 5000 = 3 THEN 'manual' ELSE 'schedule' END, 'beat', at, 'Europe/Berlin',
        CAST(:period AS json), CAST(:params AS json), CAST(:scope AS json), CAST(:definition AS json), '1', 1,
        CASE WHEN n % 1000 = 7 THEN 'failed' ELSE 'succeeded' END, at, at, at + interval '12 s'
    FROM generate_series(1, :runs) n, LATERAL (SELECT now() - n * interval '1 minute' AS at)
"""
_DELIVERIES = """
    INSERT INTO deliveries (id, run_id, channel, address, key, repeat, batch, status, generation, context, deferrals)
    SELECT gen_random_uuid(), id, 'email', 'person' || (number % 5000) || '@acme.example', 'K' || number, 0, 0,
        'accepted', 1, '{}', 0
    FROM (SELECT id, row_number() OVER () AS number FROM runs ORDER BY created_at DESC LIMIT :some) recent
"""
_LARGE = """
    INSERT INTO deliveries (id, run_id, channel, address, key, repeat, batch, status, generation, context, deferrals,
        relay, reply, reason)
    SELECT gen_random_uuid(), :run, 'email', 'person' || n || '@globex.example', 'K' || n, 0, n / 100,
        CASE WHEN n % 500 = 3 THEN 'failed' ELSE 'accepted' END, 1, '{}', 0, 'smtp.example', '250 queued as ' || n,
        CASE WHEN n % 500 = 3 THEN '550 no such user' END
    FROM generate_series(1, :many) n
"""
_DOCUMENTS = """
    INSERT INTO documents (id, run_id, key, batch, rows, status, pages, context)
    SELECT gen_random_uuid(), :run, 'K' || n, n / 100, 42, CASE WHEN n % 5000 = 3 THEN 'failed' ELSE 'rendered' END, 3,
        json_build_object('title', 'Document ' || n, 'summary', repeat('words ', 50))
    FROM generate_series(1, :many) n
"""
_STEPS = """
    INSERT INTO steps (id, run_id, name, task, args, kwargs, takes_results, canvas, stage, ordinal, tolerated,
        generation, status, queue, priority, retry, task_id, published, fence, started_at, finished_at)
    SELECT gen_random_uuid(), :run, kind || ':' || n, 'report.' || kind, json_build_array(n), '{}', false, 2, stage,
        n, false, 1, 'succeeded', 'default', 5, '{"attempts": 5, "first": 30.0, "factor": 2.0, "ceiling": 900.0}',
        gen_random_uuid(), 1, 1, now(), now()
    FROM (VALUES ('render', 3, 250), ('deliver', 5, 500)) kinds (kind, stage, size),
        LATERAL generate_series(1, CAST(:many AS integer) / size) n
"""
_ATTEMPTS = """
    INSERT INTO attempts (id, run_id, step_id, generation, fence, worker, outcome, progressed, started_at, finished_at)
    SELECT gen_random_uuid(), run_id, id, 1, 1, 'worker-1/5f2b/4711/99', 'succeeded', false, now(), now() FROM steps
    WHERE run_id = :run
"""
_RECIPIENTS = """
    INSERT INTO recipients (id, address, seen_at) SELECT gen_random_uuid(), address, now()
    FROM (SELECT DISTINCT address FROM deliveries) known
"""


def _token() -> str:
    from pipeline.db import transaction
    from pipeline.models import Door, Scope
    from pipeline.services import api_tokens
    from pipeline.services.audit import Actor

    with transaction() as session:
        return api_tokens.create(session, "benchmark", Scope.OPERATE, Actor("benchmark", Door.CLI))[1]


def _cookies() -> dict[str, str]:
    """What a browser has of somebody who is logged in."""
    from pipeline import tokens
    from pipeline.adapters.secret_keys import secret_keys
    from pipeline.console.visitors import COOKIE
    from pipeline.db import transaction
    from pipeline.models import Door
    from pipeline.services import logins
    from pipeline.services.audit import Actor
    from pipeline.settings import settings

    actor = Actor("benchmark", Door.CONSOLE)
    with transaction() as session:
        login = logins.follow(session, logins.make_link(session, actor), actor)
    return {COOKIE: tokens.issue(secret_keys(settings()), tokens.Purpose.LOGIN, login.id.bytes)}


@contextmanager
def _broker(home: Path) -> Iterator[None]:
    from pipeline.embedded.broker import binary

    place = home / "var" / "broker.sock"
    place.parent.mkdir(exist_ok=True)
    words = [binary(), "--port", "0", "--unixsocket", str(place), "--save", "", "--daemonize", "no"]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    try:
        while not place.exists():
            time.sleep(0.05)
        yield
    finally:
        process.kill()
        process.wait()


@contextmanager
def _web() -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The process that serves, and its address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port, descriptor = listening.getsockname()[1], listening.fileno()
        words = [sys.executable, "-m", "pipeline.api.serve", "--socket", str(descriptor)]
        process = subprocess.Popen(words, pass_fds=[descriptor])
    try:
        root = f"http://127.0.0.1:{port}"
        while not _answers(root):
            time.sleep(0.1)
        yield process, root
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def _answers(root: str) -> bool:
    try:
        return httpx.get(f"{root}/healthz").is_success
    except httpx.TransportError:
        return False
