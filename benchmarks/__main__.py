"""`python -m benchmarks`: measure the parts asked for, one after the other, and print what was found."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

from benchmarks.results import Result, machine
from benchmarks.sink import program


def options() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    found.add_argument(
        "parts",
        nargs="*",
        help=f"which parts: {', '.join(PARTS)}; default: those that take minutes, not longer",
    )
    found.add_argument("--documents", type=int, default=1000, help="of a run (default 1,000)")
    found.add_argument("--rounds", type=int, default=3, help="of what is compared by turns (default 3)")
    found.add_argument("--many", type=int, default=4000, help="documents of the second run that memory is compared in")
    found.add_argument("--rows", type=int, default=10_000_000, help="that are fetched (default 10,000,000)")
    found.add_argument("--members", type=int, default=200, help="of a chord of empty steps (default 200)")
    found.add_argument("--messages", type=int, default=1000, help="that are made, of each kind (default 1,000)")
    found.add_argument("--slots", type=int, default=1000, help="that are due in one second (default 1,000)")
    found.add_argument("--due", type=int, default=20_000, help="schedules that are due at once (default 20,000)")
    found.add_argument("--schedules", type=int, default=100_000, help="of those (default 100,000)")
    found.add_argument("--fires", type=int, default=60, help="of a schedule of every second (default 60)")
    found.add_argument("--finished", type=int, default=1_000_000, help="steps beside those at work (default 1,000,000)")
    found.add_argument("--active", type=int, default=1000, help="steps that are at work (default 1,000)")
    found.add_argument("--kills", type=int, default=5, help="of the only process of a worker (default 5)")
    found.add_argument("--losses", type=int, default=2, help="of a whole machine (default 2)")
    found.add_argument("--pages", type=int, default=100, help="documents of a round of recovery_cost (default 100)")
    found.add_argument("--steps", type=int, default=100, help="empty, of a round of recovery_cost (default 100)")
    found.add_argument("--seconds", type=float, default=120, help="that rounds of each may take (default 120)")
    found.add_argument("--mails", type=int, default=20_000, help="without attachment (default 20,000)")
    found.add_argument("--planned", type=int, default=1_000_000, help="deliveries (default 1,000,000)")
    found.add_argument("--attachments", type=int, default=4000, help="messages with an attachment (default 4,000)")
    found.add_argument("--runs", type=int, default=1_000_000, help="of the history behind HTTP (default 1,000,000)")
    found.add_argument("--deliveries", type=int, default=100_000, help="of its largest run (default 100,000)")
    shown = found.add_mutually_exclusive_group()
    shown.add_argument("--json", action="store_true", help="print JSON, and the tables to standard error")
    shown.add_argument("--markdown", action="store_true", help="print the tables as docs/benchmarks.md has them")
    return found


def documents(asked: argparse.Namespace) -> Result:
    from benchmarks import documents

    return documents.measure(asked.documents, asked.rounds)


def postgresql(asked: argparse.Namespace) -> Result:
    from benchmarks import documents
    from benchmarks.postgresql import server

    with server() as url:
        return documents.measure(asked.documents, asked.rounds, database_url=url, name="PostgreSQL")


def starting(_asked: argparse.Namespace) -> Result:
    from benchmarks import starting

    return starting.measure()


def memory(asked: argparse.Namespace) -> Result:
    from benchmarks import memory

    return memory.measure(asked.documents, asked.many)


def due(_asked: argparse.Namespace) -> Result:
    from benchmarks import due

    return due.measure()


def rows(asked: argparse.Namespace) -> Result:
    from benchmarks import rows

    return rows.measure(asked.rows)


def messages(asked: argparse.Namespace) -> Result:
    from benchmarks import messages

    return messages.measure(asked.members)


def composing(asked: argparse.Namespace) -> Result:
    from benchmarks import composing

    return composing.measure(asked.messages)


def distance(asked: argparse.Namespace) -> Result:
    from benchmarks import distance

    return distance.measure(asked.rounds)


def firing(asked: argparse.Namespace) -> Result:
    from benchmarks import firing

    return firing.measure(asked.slots, asked.due, asked.schedules, asked.fires, asked.rounds)


def healing(asked: argparse.Namespace) -> Result:
    from benchmarks import healing

    return healing.measure(asked.finished, asked.active)


def healing_postgresql(asked: argparse.Namespace) -> Result:
    from benchmarks import healing
    from benchmarks.postgresql import server

    with server() as url:
        return healing.measure(asked.finished, asked.active, database_url=url, name="PostgreSQL")


def recovering(asked: argparse.Namespace) -> Result:
    from benchmarks import recovering

    return recovering.measure(asked.kills, asked.losses)


def recovery_cost(asked: argparse.Namespace) -> Result:
    from benchmarks import recovery_cost

    return recovery_cost.measure(asked.pages, asked.steps, asked.seconds)


def planning(asked: argparse.Namespace) -> Result:
    from benchmarks import planning

    return planning.measure(asked.planned)


def sending(asked: argparse.Namespace) -> Result:
    from benchmarks import sending

    return sending.measure(asked.mails, asked.attachments)


def web(asked: argparse.Namespace) -> Result:
    from benchmarks import web

    return web.measure(asked.runs, asked.deliveries)


PARTS: dict[str, Callable[[argparse.Namespace], Result]] = {
    one.__name__: one
    for one in (
        starting,
        due,
        firing,
        messages,
        composing,
        documents,
        memory,
        rows,
        healing,
        healing_postgresql,
        recovering,
        recovery_cost,
        postgresql,
        sending,
        distance,
        planning,
        web,
    )
}

# Parts that are measured when they are asked for.
ON_DEMAND = {"postgresql", "planning", "sending", "healing_postgresql", "web"}
# Parts that send nothing, and need no server that takes it.
WITHOUT_MAIL = {
    "composing", "due", "firing", "healing", "healing_postgresql", "recovering", "recovery_cost", "rows", "web",
}  # fmt: skip


def main() -> None:
    parser = options()
    asked = parser.parse_args()
    unknown = set(asked.parts) - PARTS.keys()
    if unknown:
        parser.error(f"there is no part {', '.join(sorted(unknown))}: there are {', '.join(PARTS)}")
    chosen = asked.parts or [name for name in PARTS if name not in ON_DEMAND]
    if not set(chosen) <= WITHOUT_MAIL:
        program()
    console = Console(stderr=asked.json, width=None if sys.stdout.isatty() else 140)
    about, found = machine(), []
    console.print(", ".join(f"{name} {value}" for name, value in about.items()), style="dim", highlight=False)
    for name in chosen:
        with working(console, name):
            found.append(PARTS[name](asked))
        found[-1].show(console, markdown=asked.markdown)
    if asked.json:
        print(json.dumps({"machine": about, "parts": [one.to_json() for one in found]}, indent=2))
    # A target that was missed is for people to judge: the machine may have been busy.


@contextmanager
def working(console: Console, name: str) -> Iterator[None]:
    if not console.is_terminal:
        yield
        return
    with console.status(f"measuring {name} …"):
        yield


if __name__ == "__main__":
    main()
