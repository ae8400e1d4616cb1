"""What being able to recover costs while nobody dies: the same work in two products, one of them without."""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import mean, stdev

from benchmarks.product import Product, product
from benchmarks.results import Result, Target
from benchmarks.sink import sink

WORKFLOW = """
from celery import chord

from pipeline.tasks import step, workflow


@step
def nothing(run, number):
    return None


@step
def done(run):
    return None


@workflow
def many(run, members: int):
    return chord([nothing.si(number) for number in range(members)], done.si())
"""
FILES = {"schedules/many.yaml": "workflow: many\nparams: {members: 10}\n", "workflows/many.py": WORKFLOW}
# What every process of both products does first: none is replaced after so many steps, which costs as much as fifty.
BOTH = """
import os

if os.environ.get("PIPELINE_HOME"):
    from pipeline.celery import app

    app.conf.worker_max_tasks_per_child = None
"""
# And of the second: no lease is renewed or watched, no claim waits for the disk, nothing is healed, and nobody looks at
# the broker.
WITHOUT = """
    from contextlib import nullcontext

    from pipeline import brokermark, db, fetched, healing, leases
    from pipeline.tasks import engine

    leases.kept = lambda handle: nullcontext()
    healing.heal = lambda **_: set()
    brokermark.BrokerMark.look = fetched.Fetched.look = lambda self: set()
    recorded = engine.persist

    def persist(write, **words):
        if not write.__qualname__.startswith("carry_out."):
            return recorded(write, **words)
        with db.transaction(durable=False) as session:
            return write(session)

    engine.persist = persist
"""
# Rounds at least; the mean's standard error at which more would tell nothing.
ROUNDS, CLEAR = 10, 0.004


def measure(documents: int, members: int, patience: float) -> Result:
    """Rounds by turns until the difference is clear, or `patience` seconds are over."""
    kinds = [
        ("a document, rendered and mailed", "aircraft_log", f"documents={documents}", documents),
        ("a step that does nothing", "many", f"members={members}", members),
    ]
    with ExitStack() as stack:
        port = stack.enter_context(sink()).port
        both = [stack.enter_context(_product(port, first)) for first in (BOTH, BOTH + WITHOUT)]
        found = {name: _rounds(both, patience, schedule, "-p", size) for name, schedule, size, _ in kinds}
    rows, targets = [], []
    for name, _, _, count in kinds:
        rounds = found[name]
        ours, theirs = (1000 * mean(pair[side] for pair in rounds) / count for side in (0, 1))
        extra, error = _extra(rounds) * 100, _error(rounds) * 100
        rows.append((name, str(len(rounds)), f"{ours:.1f}", f"{theirs:.1f}", f"{extra:+.2f}", f"{error:.2f}"))
        targets.append(Target(f"percent more processor time: {name}", extra, 3))
    return Result(
        part="recovery_cost",
        title="What recovery costs: processor time with and without leases, durable claims and healing, ms",
        columns=("", "rounds", "with", "without", "more, %", "standard error"),
        rows=rows,
        facts={"rounds": found},
        targets=targets,
    )


def _rounds(both: Sequence[Product], patience: float, *words: str) -> list[tuple[float, float]]:
    """Processor seconds of each round in both."""
    found = list[tuple[float, float]]()
    began = time.monotonic()
    while len(found) <= ROUNDS or (_error(found[1:]) > CLEAR and time.monotonic() - began < patience):
        # Whoever goes first may find the machine cooler: they take turns at that, too.
        order = both if len(found) % 2 else both[::-1]
        times = {up: up.run(*words).cpu for up in order}
        found.append((times[both[0]], times[both[1]]))
    return found[1:]  # the first one warms


def _ratios(found: Sequence[tuple[float, float]]) -> list[float]:
    """Of each round, as logarithms: a round that was disturbed counts as much either way."""
    return [math.log(ours / theirs) for ours, theirs in found]


def _extra(found: Sequence[tuple[float, float]]) -> float:
    return math.exp(mean(_ratios(found))) - 1


def _error(found: Sequence[tuple[float, float]]) -> float:
    """The standard error of that mean."""
    return stdev(_ratios(found)) / math.sqrt(len(found))


@contextmanager
def _product(smtp_port: int, first: str) -> Iterator[Product]:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "sitecustomize.py").write_text(first)
        path: Sequence[str] = (folder, *filter(None, [os.environ.get("PYTHONPATH")]))
        with product(smtp_port, files=FILES, settings={"PYTHONPATH": os.pathsep.join(path)}) as up:
            yield up
