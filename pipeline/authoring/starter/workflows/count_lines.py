"""An example of a workflow of your own: counts the lines of the files in data/ side by side, and adds them up.

It is run by a schedule file, schedules/count_lines.yaml, of one line: `workflow: count_lines`. With `when:` beside it
it runs by the clock, too; `params: {pattern: "stock*.csv"}` gives it other parameters than their defaults.
"""

from celery import chord
from celery.canvas import Signature

from pipeline.errors import Skip
from pipeline.handle import RunHandle
from pipeline.retry import Retry
from pipeline.tasks import step, workflow


@step(retry=Retry(attempts=3, first=10))
def count(run: RunHandle, file: str) -> int:
    """Carry out one step: what it returns (JSON up to 64 kB) is kept on its row; the next step gets the list."""
    return len((run.home / "data" / file).read_text(encoding="utf-8").splitlines())


@step
def add_up(run: RunHandle, counts: list[int]) -> dict[str, int]:
    """Get what all the steps before returned; runs when the last of them is done."""
    return {"files": len(counts), "lines": sum(counts)}


@workflow
def count_lines(run: RunHandle, pattern: str = "*.csv") -> Signature:
    """Say what is to be done, as a Celery canvas. Parameters have types: they are checked before anything runs."""
    files = sorted(path.name for path in (run.home / "data").glob(pattern))
    if not files:
        raise Skip(f"no file in data/ is called {pattern}")
    return chord([count.s(file) for file in files], add_up.s())
