"""`python -m tests.stalls -n 3 tests/functional`: the tests, and now and then some of their processes stand still.

A busy machine stops a process wherever it is, for seconds. What fails here only waits for the wrong thing, or for too
short a time; or stops a process itself, and it was just being stopped here, which lets it go on. Whatever pytest
understands may follow; the same `--seed` draws the same pauses, not the same processes.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

# All processes of the tests have it in their environment.
MARK = f"TESTS_STALLS={uuid4().hex}"
# Seconds that one stands still, drawn with equal chances.
SECONDS = (1, 2, 4, 6, 8, 10)
# How often it is about half of them at once.
MANY = 0.15
# A browser ends its own parts where they do not answer for long.
SPARED = ("chrom", "headless_shell", "node")


def running() -> dict[int, str]:
    """The processes of the tests by number, with what they are; not those that a test itself has stopped."""
    found: dict[int, str] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended
            name, _, rest = (folder / "stat").read_text().partition("(")[2].rpartition(")")
            is_ours = MARK.encode() in (folder / "environ").read_bytes().split(b"\0")
            if is_ours and rest.split()[0] in "RSD" and not name.startswith(SPARED):
                found[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ").strip()
    return found


def signal_all(numbers: list[int], number: signal.Signals) -> None:
    """Send it to those that still run."""
    for one in numbers:
        with suppress(ProcessLookupError):
            os.kill(one, number)


def stall(drawn: random.Random, log: Path) -> None:
    """Stop one or many; a thread lets them go on."""
    seconds, many = drawn.choice(SECONDS), drawn.random() < MANY
    found = running()
    chosen = [one for one in found if drawn.random() < 0.5] if many else [drawn.choice([*found])] if found else []
    signal_all(chosen, signal.SIGSTOP)
    threading.Timer(seconds, signal_all, (chosen, signal.SIGCONT)).start()
    with log.open("a") as lines:
        lines.writelines(f"{datetime.now(UTC):%H:%M:%S} {seconds} s: {one} {found[one][:150]}\n" for one in chosen)


def main() -> int:
    """Run the tests to their end; pytest's exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.stalls", description=__doc__, allow_abbrev=False)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--every", type=float, default=2.0, help="seconds between two pauses, on average")
    parser.add_argument("--log", type=Path, default=Path("var/stalls.log"), help="what stood still, when and how long")
    said, words = parser.parse_known_args()
    said.log.parent.mkdir(parents=True, exist_ok=True)
    said.log.write_text("")
    drawn = random.Random(said.seed)
    environment = {**os.environ, **dict([MARK.split("=")])}
    tests = subprocess.Popen([sys.executable, "-m", "pytest", *words], env=environment)
    while tests.poll() is None:
        time.sleep(drawn.uniform(0.2, 1.8) * said.every)
        stall(drawn, said.log)
    sys.stdout.write(f"What stood still is in {said.log}.\n")
    return tests.returncode


if __name__ == "__main__":
    sys.exit(main())
