"""How long it takes to begin: importing the package, asking for help, triggering a run."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from statistics import median

from benchmarks.product import PIPELINE, Product, product
from benchmarks.results import Result, Target, seconds
from benchmarks.sink import sink

REPETITIONS = 10
# As small as a report can be: what is measured is the command, not what it sets off.
SMALL = "report: {title: Small, url: small.csv, formats: [csv]}\noverlap: allow\n"


def timed(words: Sequence[str], found: Product) -> float:
    began = time.perf_counter()
    subprocess.run(words, cwd=found.home, env=found.environment, check=True, capture_output=True)
    return time.perf_counter() - began


def by_turns(commands: Mapping[str, Callable[[], float]]) -> dict[str, float]:
    """The median of each, taken in turns after one that fills the caches."""
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(REPETITIONS + 1):
        for name, command in commands.items():
            found = command()
            if number:
                taken[name].append(found)
    return {name: median(found) for name, found in taken.items()}


def measure() -> Result:
    files = {"small.csv": "number\n1\n", "schedules/small.yaml": SMALL}
    with sink() as mail, product(mail.port, files=files) as found:
        python = [sys.executable, "-c"]

        commands = {
            "python -c pass": [*python, "pass"],
            'python -c "import pipeline"': [*python, "import pipeline"],
            "pipeline --help": [PIPELINE, "--help"],
            "pipeline trigger NAME": [PIPELINE, "trigger", "small"],
        }
        took = by_turns({name: partial(timed, words, found) for name, words in commands.items()})
    more = took['python -c "import pipeline"'] - took["python -c pass"]
    return Result(
        "starting",
        f"Starting (medians of {REPETITIONS}, by turns)",
        ("command", "time"),
        [(name, seconds(value)) for name, value in took.items()],
        {"seconds": took},
        [
            Target("import pipeline, ms more than python -c pass", more * 1000, 50),
            Target("pipeline --help, s", took["pipeline --help"], 0.4),
            Target("pipeline trigger without --wait, s", took["pipeline trigger NAME"], 1.0),
        ],
        ["`pipeline trigger` runs beside a worker, beat and the run before it."],
    )
