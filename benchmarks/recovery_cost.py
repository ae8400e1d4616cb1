"""What being able to recover costs while nobody dies: the same work in two products, one of them without."""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import mean, stdev

from benchmarks.product import Product, product
from benchmarks.results import Result, Target

NOBODY = 9  # the port of a mail server that is not asked for anything
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
    from functools import partial

    from pipeline import brokermark, fetched, healing, leases
    from pipeline.tasks import engine

    leases.kept = lambda handle: nullcontext()
    healing.heal = lambda **_: set()
    brokermark.BrokerMark.look = fetched.Fetched.look = lambda self: set()
    engine.transaction = partial(engine.transaction, durable=False)
"""
# Rounds at least; the mean's standard error at which more would tell nothing.
ROUNDS, CLEAR = 10, 0.004


def measure(members: int, patience: float) -> Result:
    """Rounds of both at once until the difference is clear, or `patience` seconds are over.

    At once, because what else disturbs the machine then disturbs both alike: by turns one round differed from the next
    by a fifth. What work takes is the processor time; the clock would tell how two products share two cores.
    """
    with ExitStack() as stack:
        both = [stack.enter_context(_product(BOTH)), stack.enter_context(_product(BOTH + WITHOUT))]
        threads = stack.enter_context(ThreadPoolExecutor(len(both)))

        def times() -> tuple[float, float]:
            ours, theirs = threads.map(lambda up: up.run("many", "-p", f"members={members}").cpu, both)
            return ours, theirs

        times()  # warm
        began, found = time.monotonic(), list[tuple[float, float]]()
        while len(found) < ROUNDS or (_error(found) > CLEAR and time.monotonic() - began < patience):
            found.append(times())
    extra, error = _extra(found), _error(found)
    each = [1000 * mean(pair[side] for pair in found) / members for side in (0, 1)]
    return Result(
        part="recovery_cost",
        title=f"What recovery costs: a chord of {members} empty steps, {len(found)} rounds of both at once",
        columns=("", "more with it"),
        rows=[("processor time", f"{extra * 100:+.2f} % (standard error {error * 100:.2f})")],
        facts={"extra": extra, "error": error, "rounds": found},
        targets=[Target("percent more processor time that work takes", extra * 100, 3)],
        notes=[
            f"Processor time of a step: {each[0]:.1f} ms, {each[1]:.1f} ms without leases, durable claims and healing.",
        ],
    )


def _ratios(found: Sequence[tuple[float, float]]) -> list[float]:
    """Of each round, as logarithms: a round that was disturbed counts as much either way."""
    return [math.log(ours / theirs) for ours, theirs in found]


def _extra(found: Sequence[tuple[float, float]]) -> float:
    return math.exp(mean(_ratios(found))) - 1


def _error(found: Sequence[tuple[float, float]]) -> float:
    """The standard error of that mean."""
    return stdev(_ratios(found)) / math.sqrt(len(found))


@contextmanager
def _product(first: str) -> Iterator[Product]:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "sitecustomize.py").write_text(first)
        path: Sequence[str] = (folder, *filter(None, [os.environ.get("PYTHONPATH")]))
        with product(NOBODY, files=FILES, settings={"PYTHONPATH": os.pathsep.join(path)}) as up:
            yield up
