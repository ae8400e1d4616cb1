"""The children's logs: rotated by size, their last lines, and their new lines for the terminal."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

ROTATE_AT = 10_000_000
TAIL_BYTES = 20_000


def rotate(log: Path, limit: int = ROTATE_AT) -> None:
    """Moves a log of more than `limit` bytes aside as `<name>.1`.

    Copied and cut, not renamed: the child that writes it (in append mode) keeps it open.
    """
    if log.exists() and log.stat().st_size > limit:
        shutil.copyfile(log, log.with_name(f"{log.name}.1"))
        os.truncate(log, 0)


def last_lines(log: Path, count: int = 12) -> list[str]:
    """The last lines that say something, without line ends; empty when there is no log yet."""
    if not log.exists():
        return []
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - TAIL_BYTES))
        lines = file.read().decode(errors="replace").splitlines()
    return [line for line in lines if line.strip()][-count:]


class Follower:
    """Hands on each new line of some logs, with the child's name in front, whenever `read` is called."""

    def __init__(self, logs: dict[str, Path], say: Callable[[str], None]) -> None:
        self._say = say
        self._logs = logs
        self._read = {name: log.stat().st_size if log.exists() else 0 for name, log in logs.items()}
        self._width = max(map(len, logs), default=0)

    def read(self) -> None:
        """Says every line completed since the last call."""
        for name, log in self._logs.items():
            if not log.exists():
                continue
            size = log.stat().st_size
            if size < self._read[name]:  # rotated
                self._read[name] = 0
            if size > self._read[name]:
                self._hand_on(name, log)

    def _hand_on(self, name: str, log: Path) -> None:
        with log.open("rb") as file:
            file.seek(self._read[name])
            complete, newline, _ = file.read().rpartition(b"\n")
        self._read[name] += len(complete + newline)
        for line in complete.decode(errors="replace").splitlines():
            self._say(f"{name:<{self._width}} | {line}")
