"""The supervisor's side of the watchdog: starts it, tells it what runs, says goodbye."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from pipeline.embedded import watchdog


class Guard:
    """The pipe whose end-of-file tells the watchdog that the supervisor died, and the watchdog at its other end."""

    def __init__(self, log: Path) -> None:
        # Neither end is inherited but where it is handed over; the reading end stays open here too, so that a child
        # that registers while the watchdog is being replaced is not killed by SIGPIPE.
        self._reading, self.pipe = os.pipe()
        self._log = log
        self._start()

    def _start(self) -> None:
        script = [sys.executable, "-I", "-S", watchdog.__file__]
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                script, stdin=self._reading, stdout=output, stderr=output, start_new_session=True
            )

    @property
    def pid(self) -> int:
        """The watchdog's process id."""
        return self._process.pid

    def look(self, leaders: list[int]) -> bool:
        """Replaces a watchdog that died, telling the new one what runs; whether that was needed."""
        if self._process.poll() is None:
            return False
        self._start()
        for leader in leaders:
            self._tell(f"+{leader}")
        return True

    def gone(self, leader: int) -> None:
        """This leader's group has ended: its number may become somebody else's."""
        self._tell(f"-{leader}")

    def bye(self) -> None:
        """All was stopped in order: the watchdog leaves, and nothing is ended by it."""
        self._tell("bye")
        os.close(self.pipe)
        os.close(self._reading)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)

    def _tell(self, line: str) -> None:
        os.write(self.pipe, f"{line}\n".encode())
