"""`python -m tests.chaos --seconds 1200 --seed 7`: faults for so long, then the checks, and a table.

The same seed draws the same faults at the same times, on the same victims. What happened stands in `faults.jsonl` in
the folder that is named at the end, beside the logs of all parts; the folder stays when something was wrong.
"""

from __future__ import annotations

import argparse
import heapq
import json
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.chaos import checks, faults, load
from tests.chaos.site import Site, site

# Seconds in which everything has to be done once nothing fails any more, or half as long as something did: on a busy
# machine work has piled up.
PATIENCE = 300.0


class Story:
    """The faults of one seed, done to an installation, and written down."""

    def __init__(self, place: Site, seed: int, seconds: float) -> None:
        self.site, self.seed = place, seed
        self.planned = faults.drawn(seed, seconds)
        self.ends: list[datetime] = []
        self._began = time.monotonic()
        self._todo: list[tuple[float, int, str, Callable[[], Any]]] = []
        for one in self.planned:
            heapq.heappush(self._todo, (one.at, one.number, one.kind, lambda one=one: self._begin(one)))

    def play(self) -> None:
        """Returns when the last fault has ended."""
        self._began = time.monotonic()
        while self._todo:
            self.site.supervise()
            at, number, kind, work = self._todo[0]
            if self._now() < at:
                time.sleep(min(0.2, at - self._now()))
                continue
            heapq.heappop(self._todo)
            self._write(number=number, kind=kind, at=round(self._now(), 2))
            work()

    def _begin(self, one: faults.Fault) -> None:
        undo = faults.begin(one, self.site, self.seed)
        if undo is None:
            self.ends.append(datetime.now(UTC))
            return
        over = self._now() + one.lasts
        heapq.heappush(self._todo, (over, one.number, f"{one.kind}: over", lambda: self._end(undo)))

    def _end(self, undo: Callable[[], Any]) -> None:
        undo()
        self.ends.append(datetime.now(UTC))

    def _now(self) -> float:
        return time.monotonic() - self._began

    def _write(self, **line: Any) -> None:
        with (self.site.home / "faults.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")


def settle(place: Site, patience: float) -> float:
    """Wait until nothing is under way; the seconds that took."""
    began = time.monotonic()
    while not checks.settled(place) and time.monotonic() - began < patience:
        place.supervise()
        time.sleep(0.5)
    return time.monotonic() - began


def tell(story: Story, found: checks.Found, took: float) -> None:
    lasted = checks.recoveries(story.site, story.ends)
    columns = {
        "runs": found.runs,
        "faults": len(story.planned),
        "documents": found.documents,
        "deliveries": found.deliveries,
        "lost": found.lost,
        "doubled": found.doubled,
        "uncertain": found.uncertain,
        "longest recovery": f"{max(lasted, default=0.0):.1f} s",
        "all done after": f"{took:.0f} s",
    }
    widths = [max(len(name), len(str(value))) for name, value in columns.items()]
    for row in (columns.keys(), columns.values()):
        print("  ".join(str(cell).rjust(width) for cell, width in zip(row, widths, strict=True)))
    ended = {name: count for name, count in story.site.revived.items() if count}
    print(f"started again: {ended}")
    for what, count in checks.healed(story.site).most_common():
        print(f"healed {count:4} times: {what}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=1200)
    parser.add_argument("--seed", type=int, default=None, help="default: another one each time")
    parser.add_argument("--every", type=int, default=6, help="seconds between two slots: more on a busy machine")
    parser.add_argument("--keep", action="store_true", help="keep the folder, whatever is found")
    said = parser.parse_args()
    seed = said.seed if said.seed is not None else random.SystemRandom().randrange(10_000)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # and everything with it
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    print(f"seed {seed}, {said.seconds:g} s of faults, in {folder}", flush=True)
    wrong = ["it did not get to its end"]
    try:
        with site(folder / "home") as place:
            load.write(place)
            place.supervise()
            load.begin(place, said.every)
            story = Story(place, seed, said.seconds)
            story.play()
            load.end(place)
            took = settle(place, max(PATIENCE, said.seconds / 2))
            found = checks.check(place, len(story.planned), said.every)
            tell(story, found, took)
            wrong = found.wrong
    except Exception:  # noqa: BLE001 - told, and the folder is kept
        traceback.print_exc()
    for sentence in wrong[:30]:
        print(f"WRONG: {sentence}")
    if not wrong and not said.keep:
        shutil.rmtree(folder)
        return 0
    again = f"--seed {seed} --seconds {said.seconds:g} --every {said.every}"
    print(f"{len(wrong)} things are wrong; replay: python -m tests.chaos {again}")
    print(f"faults, logs and files: {folder}")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
