"""Beat: a thousand slots in one second, a schedule of every second, and 100,000 schedules that are not due."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from sqlalchemy import delete, insert, select

from benchmarks.beats import LOOK, TOMORROW, Place, arrivals, in_seconds, load, place, quantile, until
from benchmarks.processes import cpu_seconds
from benchmarks.results import Result, Target, megabytes, seconds
from pipeline.models import Run, Slot, Step

BATCH = 200
# Seconds that idle beats are looked at, and that beats are given to start.
IDLE, START = 20.0, 60.0
Line = tuple[str, ...]


def measure(slots: int, due: int, schedules: int, fires: int, rounds: int) -> Result:
    """`slots` in one second on both databases; `due` of so many `schedules` at once; `fires` of an every-second one.

    One beat and two are compared by turns, `rounds` times: a machine's speed changes more than theirs.
    """
    lines: list[Line] = []
    facts: dict[str, Any] = {}
    for database in ("SQLite", "PostgreSQL"):
        facts[database] = burst(database, slots, 0)
        lines += [line(f"{slots:,} slots at once, {database}", facts[database])]
        lines += [(f"  raw inserts of the same rows, {database}", *rate(slots, facts[database]["raw"]))]
    facts["own"] = own_burst(slots)
    lines += [line(f"  Celery's own beat, {slots:,} entries", facts["own"])]
    facts["turns"] = by_turns(due, schedules - due, rounds)
    for beats, found in facts["turns"].items():
        named = "1 beat" if beats == 1 else f"{beats} beats"
        facts[f"beats_{beats}"] = median(found)
        what = f"{due:,} slots of {schedules:,} schedules at once, PostgreSQL, {named}, median of {rounds}"
        lines += [line(what, facts[f"beats_{beats}"])]
    lags = {f"lag_{others}": lag(fires, others) for others in (0, schedules)}
    lags |= {f"own_lag_{others}": own_lag(fires, others) for others in (0, schedules)}
    for name, found in lags.items():
        whose = "  Celery's own: every second" if name.startswith("own") else "every second"
        others = name.rpartition("_")[2]
        lines += [(f"{whose}, {'alone' if others == '0' else f'beside {int(others):,} others'}", *lags_of(found))]
    facts |= lags
    beside = lags[f"own_lag_{schedules}"]
    facts["idle"] = idle(schedules)
    lines += [(f"idle, {schedules:,} schedules, PostgreSQL", *at_rest(facts["idle"]))]
    lines += [(f"  Celery's own, {schedules:,} entries and one every second", *at_rest(beside))]
    return Result(
        "firing",
        "Beat: due to committed; at rest: ready after, share of a core, memory",
        ("", "p50 / ready", "p99 / core", "slots/s / memory", "processor time a slot"),
        lines,
        facts,
        targets(facts, schedules),
        [
            f"Seen from outside, every {LOOK * 1000:.0f} ms. Lags of Celery's own: its intervals beyond a second.",
            *(f"{beats} beat(s), each burst: {speeds(found)}" for beats, found in facts["turns"].items()),
        ],
    )


def targets(facts: dict[str, Any], schedules: int) -> list[Target]:
    bursts = [(name, facts[name]) for name in ("SQLite", "PostgreSQL")]
    return [
        *(Target(f"{name}: due to committed, p50, s", found["p50"], 0.5) for name, found in bursts),
        *(Target(f"{name}: due to committed, p99, s", found["p99"], 1.0) for name, found in bursts),
        Target("milliseconds a fire, 1 beat", 1000 / facts["beats_1"]["rate"], 1.0),
        Target("2 beats take, of the time of 1", facts["beats_1"]["rate"] / facts["beats_2"]["rate"], 1.0),
        Target("lag alone, p99, s", facts["lag_0"]["p99"], 0.1),
        Target(f"lag beside {schedules:,}, p99, s", facts[f"lag_{schedules}"]["p99"], 0.1),
        Target("idle: share of a core", facts["idle"]["core"], 0.01),
        Target("idle: MB", facts["idle"]["memory"] / 2**20, 120),
        Target("idle: ready after, s", facts["idle"]["ready"], 2.0),
    ]


def line(name: str, found: dict[str, float]) -> Line:
    return name, seconds(found["p50"]), seconds(found["p99"]), f"{found['rate']:,.0f}", f"{found['cpu'] * 1000:.2f} ms"


def rate(number: int, took: float) -> Line:
    return "", seconds(took), f"{number / took:,.0f}", ""


def lags_of(found: dict[str, float]) -> Line:
    return seconds(found["p50"]), seconds(found["p99"]), "", ""


def at_rest(found: dict[str, float]) -> Line:
    return seconds(found["ready"]), f"{found['core']:.1%}", megabytes(found["memory"]), f"{found['cpu']:.1f} s to start"


# ---- many at once


def burst(database: str, slots: int, others: int, beats: int = 1) -> dict[str, float]:
    """From the instant that so many slots are due at to each one's commit, beside so many others."""
    with place(database) as here:
        if others:
            here.schedules(others, in_seconds(0) + TOMORROW, "idle", every="1d")
        due = in_seconds(12 + slots / 2000)
        here.schedules(slots, due, "due", at=due.isoformat())
        with here.beats(beats) as found:
            until(lambda: here.alive() >= beats, START)
            time.sleep(max(0.0, (due - datetime.now(UTC)).total_seconds() - 1))
            before = sum(cpu_seconds(one.pid) for one in found)
            seen = [at - due.timestamp() for at in arrivals(here.fired, slots, 120)]
            cpu = (sum(cpu_seconds(one.pid) for one in found) - before) / slots
        return {**spread(seen), "rate": slots / seen[-1], "cpu": cpu, "raw": raw(here) if not others else 0.0}


def by_turns(due: int, others: int, rounds: int) -> dict[int, list[dict[str, float]]]:
    """`rounds` bursts with one beat and as many with two: one, two, two, one, one, two …"""
    found: dict[int, list[dict[str, float]]] = {1: [], 2: []}
    for turn in range(rounds):
        for beats in (1, 2) if turn % 2 == 0 else (2, 1):
            found[beats].append(burst("PostgreSQL", due, others, beats))
    return found


def median(found: list[dict[str, float]]) -> dict[str, float]:
    """The burst whose speed is the middle one."""
    return sorted(found, key=lambda one: one["rate"])[len(found) // 2]


def speeds(found: list[dict[str, float]]) -> str:
    return ", ".join(f"{one['rate']:,.0f}/s" for one in found)


def raw(here: Place) -> float:
    """Seconds to insert the rows that were written once more, as many in a transaction, with nothing decided."""
    tables = (Run, Step, Slot)
    with here.engine.connect() as connection:
        # In the order they were made in: a run's step and slot are as far from the beginning as the run.
        made = {table: connection.execute(select(table.__table__).order_by(table.id)) for table in tables}
        rows = {table: [dict(row) for row in found.mappings()] for table, found in made.items()}
    with here.engine.begin() as connection:
        for table in reversed(tables):
            connection.execute(delete(table.__table__))
    began = time.perf_counter()
    for at in range(0, len(rows[Run]), BATCH):
        with here.engine.connect().execution_options(writing=True, durable=True) as connection, connection.begin():
            for table in tables:
                connection.execute(insert(table.__table__), rows[table][at : at + BATCH])
    return time.perf_counter() - began


def own_burst(slots: int) -> dict[str, float]:
    variables = {"OWN_MINUTELY": str(slots), "OWN_SECONDLY": "1"}
    with place() as here, here.beats(app="benchmarks.own_beat", **variables) as (beat,):
        until(here.sent, START)
        now = time.time()
        minute = now - now % 60 + (60 if now % 60 < 50 else 120)
        time.sleep(minute - now - 0.5)
        # The entry of every second is a sign of life; one of the thousands is no matter.
        before = cpu_seconds(beat.pid)
        seen = [at - minute for at in arrivals(here.sent, slots, 120)]
        cpu = (cpu_seconds(beat.pid) - before) / slots
    return {**spread(seen), "rate": slots / seen[-1], "cpu": cpu}


# ---- every second


def lag(fires: int, others: int) -> dict[str, float]:
    with place("PostgreSQL") as here:
        if others:
            here.schedules(others, in_seconds(0) + TOMORROW, "idle", every="1d")
        here.schedules(1, in_seconds(5), "often", every="1s")
        with here.beats():
            until(here.alive, START)
            until(lambda: here.fired("often_0"), START)
            # Not the first ones: statements are being compiled.
            arrivals(lambda: here.fired("often_0"), 3, 60)
            seen = arrivals(lambda: here.fired("often_0"), fires, fires * 2 + 60)
    return spread([at % 1 for at in seen])


def own_lag(fires: int, others: int) -> dict[str, float]:
    with place() as here:
        began = time.time()
        with here.beats(app="benchmarks.own_beat", OWN_IDLE=str(others), OWN_SECONDLY="1") as (beat,):
            ready, starting = until(here.sent, 300) - began, cpu_seconds(beat.pid)
            seen = arrivals(here.sent, fires + 1, fires * 3 + 60)
            core, memory = load(beat, IDLE)
    beyond = [after - before - 1 for before, after in pairwise(seen)]
    return {**spread(beyond), "ready": ready, "cpu": starting, "core": core, "memory": memory}


def spread(values: list[float]) -> dict[str, float]:
    return {"p50": quantile(values, 0.5), "p99": quantile(values, 0.99), "max": max(values)}


# ---- at rest


def idle(schedules: int) -> dict[str, float]:
    with place("PostgreSQL") as here:
        here.schedules(schedules, in_seconds(0) + timedelta(days=1), "idle", every="1d")
        began = time.time()
        with here.beats() as (beat,):
            ready, starting = until(here.alive, START) - began, cpu_seconds(beat.pid)
            time.sleep(5)
            core, memory = load(beat, IDLE)
    return {"ready": ready, "cpu": starting, "core": core, "memory": memory}
