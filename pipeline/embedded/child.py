"""One process of the embedded tree: how it is started, watched and stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

# A child registers itself with the watchdog before it becomes its program: killed between the start and the
# supervisor's note of it, the supervisor would leave an orphan. Standard input is the watchdog's pipe until then.
REGISTER = 'echo "+$$" >&0; exec "$@" </dev/null'


def nothing() -> None:
    """Stands for no preparation."""


@dataclass(frozen=True)
class Child:
    """What to run, and what is needed to know that it runs and to end it. Times in seconds."""

    name: str
    command: Sequence[str]
    # Set over the supervisor's own environment.
    environment: Mapping[str, str] = field(default_factory=dict)
    # Called before every start.
    prepare: Callable[[], None] = nothing
    # Asked until it says yes when the tree starts; without it the next child is started at once.
    ready: Callable[[], bool] | None = None
    ready_within: float = 30.0
    # File descriptors that the child inherits.
    inherits: Sequence[int] = ()
    # After SIGTERM: how long it may take, then what it gets, and how long until it is killed.
    grace: float = 5.0
    stronger: signal.Signals | None = None
    stronger_grace: float = 5.0


class Process:
    """A child that was started. Its process group is its own: signals of the terminal do not reach it."""

    def __init__(self, child: Child, log: Path, folder: Path, register: int | None) -> None:
        """Starts it in `folder` with its output appended to `log`; `register` is the watchdog's pipe."""
        child.prepare()
        launch = ["/bin/sh", "-c", REGISTER, child.name, *child.command] if register is not None else child.command
        with log.open("ab") as output:
            self._popen = subprocess.Popen(
                launch,
                cwd=folder,
                env={**os.environ, **child.environment},
                stdin=subprocess.DEVNULL if register is None else register,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=child.inherits,
            )
        self.child, self.log = child, log
        self.pid = self._popen.pid
        self.started = time.monotonic()

    def ended(self) -> bool:
        """Whether it has ended; if so, what is left of its group is killed before its number can be anybody else's."""
        if self._popen.returncode is not None:
            return True
        # WNOWAIT leaves the dead leader in place, and with it the group's number.
        if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return False
        with suppress(ProcessLookupError, PermissionError):  # macOS: no permission for a group of zombies
            os.killpg(self.pid, signal.SIGKILL)
        self._popen.wait()
        return True

    def how_it_ended(self) -> str:
        """In words; after `ended`."""
        code = self._popen.returncode
        return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"

    def signal(self, number: signal.Signals) -> None:
        """To the leader alone: a Celery worker tells its own children what to do."""
        if not self.ended():
            self._popen.send_signal(number)

    def kill(self) -> None:
        """Ends the whole group at once."""
        if not self.ended():
            os.killpg(self.pid, signal.SIGKILL)
            self._popen.wait()
