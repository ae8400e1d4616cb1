"""What being able to recover costs while nobody dies: the same work by turns in two products, one of them without."""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import mean, stdev

from benchmarks.product import Product, RunTimes, product
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
# What every process of the second product does first: no lease is renewed or watched, no claim waits for the disk,
# nothing is healed, and nobody looks at the broker.
WITHOUT = """
import os

if os.environ.get("PIPELINE_HOME"):
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
    """Rounds by turns until the difference is clear, or `patience` seconds are over."""
    with ExitStack() as stack:
        both = [stack.enter_context(product(NOBODY, files=FILES)), stack.enter_context(_without())]
        for up in both:  # warm
            _round(up, members)
        began, found = time.monotonic(), list[tuple[RunTimes, RunTimes]]()
        while len(found) < ROUNDS or (_error(found, "cpu") > CLEAR and time.monotonic() - began < patience):
            # Whoever goes first may find the machine cooler: they take turns at that, too.
            order = both if len(found) % 2 else both[::-1]
            times = {up: _round(up, members) for up in order}
            found.append((times[both[0]], times[both[1]]))
    extra = {name: (_extra(found, name), _error(found, name)) for name in ("cpu", "seconds")}
    each = [1000 * mean(one[side].cpu for one in found) / members for side in (0, 1)]

    def percent(name: str) -> str:
        return f"{extra[name][0] * 100:+.2f} % (standard error {extra[name][1] * 100:.2f})"

    return Result(
        part="recovery_cost",
        title=f"What recovery costs: a chord of {members} empty steps, {len(found)} rounds by turns",
        columns=("", "more with it"),
        rows=[("processor time", percent("cpu")), ("time by the clock", percent("seconds"))],
        facts={"extra": extra, "rounds": [[vars(one) | {"id": str(one.id)} for one in pair] for pair in found]},
        targets=[Target("percent more processor time that work takes", extra["cpu"][0] * 100, 3)],
        notes=[
            f"Processor time of a step: {each[0]:.1f} ms, {each[1]:.1f} ms without leases, durable claims and healing.",
        ],
    )


def _round(up: Product, members: int) -> RunTimes:
    return up.run("many", "-p", f"members={members}")


def _ratios(found: Sequence[tuple[RunTimes, RunTimes]], name: str) -> list[float]:
    """Of each round, as logarithms: a round that was disturbed counts as much either way."""
    return [math.log(getattr(ours, name) / getattr(theirs, name)) for ours, theirs in found]


def _extra(found: Sequence[tuple[RunTimes, RunTimes]], name: str) -> float:
    return math.exp(mean(_ratios(found, name))) - 1


def _error(found: Sequence[tuple[RunTimes, RunTimes]], name: str) -> float:
    """The standard error of that mean."""
    return stdev(_ratios(found, name)) / math.sqrt(len(found))


@contextmanager
def _without() -> Iterator[Product]:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "sitecustomize.py").write_text(WITHOUT)
        path: Sequence[str] = (folder, *filter(None, [os.environ.get("PYTHONPATH")]))
        with product(NOBODY, files=FILES, settings={"PYTHONPATH": os.pathsep.join(path)}) as up:
            yield up
