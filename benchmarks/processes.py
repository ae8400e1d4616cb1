"""Processes from outside: their descendants, the processor time they took, the memory they hold (Linux's /proc)."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import Self

TICKS = os.sysconf("SC_CLK_TCK")


def descendants(pid: int) -> list[int]:
    """The process and all below it."""
    parents: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):
                parents.setdefault(int(_fields(int(folder.name))[1]), []).append(int(folder.name))
    found = [pid]
    for one in found:
        found += parents.get(one, [])
    return found


def _fields(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third on: state, parent …"""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def cpu_seconds(pid: int) -> float:
    """What the process and all below it took so far, user and system, with those that have ended."""
    ticks = 0
    for one in descendants(pid):
        with suppress(OSError):
            ticks += sum(map(int, _fields(one)[11:15]))
    return ticks / TICKS


def resident(pid: int) -> int:
    """Bytes in memory now."""
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def command(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


def worker_of(pid: int) -> int:
    """Celery's main process in the tree below `pid`."""
    return next(one for one in descendants(pid) if "-m celery" in command(one) and " worker " in command(one))


class Memory:
    """A context manager that looks, every fifth of a second, at a worker: its largest child, and all of it together.

    The sum counts what the processes share as often as there are processes.
    """

    def __init__(self, worker: int) -> None:
        self.worker = worker
        self.largest = self.sum = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        while not self._done.wait(0.2):
            sizes = [resident(one) for one in descendants(self.worker)]
            self.largest, self.sum = max(self.largest, *sizes), max(self.sum, sum(sizes))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
