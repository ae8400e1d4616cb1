"""Who holds a lease: a process by its host, boot, pid and start, so that a dead one is told from a living one."""

from __future__ import annotations

import os
import socket
from functools import lru_cache
from pathlib import Path


def owner() -> str:
    """This process, so that a dead one is told from a living one: host, boot, pid and its start."""
    return _own(os.getpid())


def owner_of(pid: int) -> str:
    """What the process `pid` of this machine, which lives, calls itself as an owner."""
    return f"{socket.gethostname()}/{_boot()}/{pid}/{_started(pid)}"


@lru_cache(maxsize=4)
def _own(pid: int) -> str:
    return owner_of(pid)


@lru_cache(maxsize=1)
def _boot() -> str:
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip()[:8] if path.is_file() else "-"


def _started(pid: int) -> str | None:
    """The process's start in clock ticks since boot (proc(5), field 22), or None when it is gone, or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in {"Z", "X"} else fields[19]


def is_dead(name: str) -> bool:
    """Whether the owner ran on this host since its boot and is gone; an owner elsewhere has its lease."""
    host, boot, pid, started = name.rsplit("/", 3)
    if host != socket.gethostname() or boot != _boot() or not Path("/proc/self/stat").is_file():
        return False
    return _started(int(pid)) != started
