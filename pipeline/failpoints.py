"""Named places at which a test ends or freezes this process; they cost nothing and do nothing unless armed.

`PIPELINE_FAILPOINTS="firing.decided=kill:3 delivery.dot=stop"` ends the process with SIGKILL at its third pass of the
one place, and stops it with SIGSTOP at its first pass of the other. With `PIPELINE_FAILPOINTS_ONCE=FOLDER` each place
acts in one process only, the first to leave its file in that folder: whoever takes over gets past it, and the test sees
that it was reached.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

_ACTIONS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}
_armed: dict[str, tuple[int, Callable[[], object]]] = {}


def failpoint(name: str) -> None:
    """Do here what a test has armed `name` with; call it between two things of which only the first may happen."""
    if not _armed:
        return
    passes, action = _armed.get(name, (0, None))
    if action is None:
        return
    if passes > 1:
        _armed[name] = (passes - 1, action)
    else:
        del _armed[name]
        action()


def arm(name: str, action: Callable[[], object], *, passes: int = 1) -> None:
    """Have `action` called once, at this process's next pass of `name`, or at a later one."""
    _armed[name] = (passes, action)


def disarm() -> None:
    """Forget everything that is armed in this process."""
    _armed.clear()


def _read(environment: str, once: str | None) -> None:
    for said in environment.split():
        name, _, what = said.partition("=")
        word, _, passes = what.partition(":")
        arm(name, _signalled(name, _ACTIONS[word], once), passes=int(passes or 1))


def _signalled(name: str, number: int, once: str | None) -> Callable[[], None]:
    def act() -> None:
        if once is not None:
            try:
                (Path(once) / name).touch(exist_ok=False)
            except FileExistsError:
                return
        os.kill(os.getpid(), number)

    return act


_read(os.environ.get("PIPELINE_FAILPOINTS", ""), os.environ.get("PIPELINE_FAILPOINTS_ONCE"))
