"""Which embedded tree runs for a home: a lock that says so, and a file that says what it is made of."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from io import BufferedRandom
from pathlib import Path

from pipeline.embedded.watchdog import end_groups
from pipeline.errors import Refused
from pipeline.settings import Settings

# Seconds that a watchdog may need to end what a killed tree left (watchdog.PATIENCE and a little).
LEFTOVER_PATIENCE = 8.0
# Seconds for which a lock is waited for that no tree is known to hold: a look at it by another process, which may have
# to wait for its own turn, is a short lock too.
PATIENCE = 10.0


@dataclass
class ChildState:
    """One process of the tree; `birth` tells its process id from a later process with the same number."""

    pid: int
    birth: str
    since: str
    restarts: int = 0


@dataclass
class State:
    """What var/run/tree.json holds; times are ISO 8601 in UTC; status is starting, running or stopping."""

    pid: int
    birth: str
    status: str
    started_at: str
    mail: str = ""
    catcher_url: str = ""
    web_url: str = ""
    flower_url: str = ""
    children: dict[str, ChildState] = field(default_factory=dict)

    @classmethod
    def mine(cls) -> State:
        """The state of a tree that this process starts now."""
        return cls(os.getpid(), birth(os.getpid()) or "", "starting", now())

    def write(self, path: Path) -> None:
        """Replaces the file in one step: a reader sees the old or the new state, never half of one."""
        part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        part.write_text(json.dumps(asdict(self), indent=1) + "\n")
        part.replace(path)


def now() -> str:
    """This moment as it stands in the state file."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def read(path: Path) -> State | None:
    """The state in the file; None when there is none or it is from another version."""
    try:
        found = json.loads(path.read_text())
        found["children"] = {name: ChildState(**child) for name, child in found["children"].items()}
        return State(**found)
    except (OSError, ValueError, TypeError, KeyError):
        return None


class TreeLock:
    """The exclusive right to be the tree of a home; the system takes it back when its holder dies, however it dies."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path, self.state_path = folder / "tree.lock", folder / "tree.json"
        self._file: BufferedRandom | None = None

    def take(self) -> None:
        """Takes the lock and ends what a tree that was killed has left.

        Raises Refused, naming the process that runs it.
        """
        file = self.path.open("a+b")
        deadline = time.monotonic() + PATIENCE
        while not _locked(file, fcntl.LOCK_EX):
            holder = read(self.state_path)
            if _lives(holder) or time.monotonic() > deadline:
                file.close()
                raise Refused(_who(holder))
            time.sleep(0.02)
        self._file = file
        if left := read(self.state_path):
            end_leftovers(left)
        self.state_path.unlink(missing_ok=True)

    def release(self) -> None:
        """Gives the lock back; the state file goes with it."""
        if self._file:
            self.state_path.unlink(missing_ok=True)
            self._file.close()
            self._file = None

    def held(self) -> bool:
        """Whether some process holds it now."""
        with self.path.open("a+b") as file:
            return not _locked(file, fcntl.LOCK_SH)


def _locked(file: BufferedRandom, kind: int) -> bool:
    """Whether the lock was had."""
    with suppress(BlockingIOError):
        fcntl.flock(file, kind | fcntl.LOCK_NB)
        return True
    return False


def _lives(state: State | None) -> bool:
    """Whether the state is that of a process that runs, and not what a killed one left."""
    return state is not None and (birth(state.pid) or "") == state.birth


def _who(state: State | None) -> str:
    if state is None or not _lives(state):
        return "another `pipeline up` is just starting here: wait a moment, then try again"
    return (
        f"`pipeline up` runs here already (process {state.pid}, since {state.started_at}): "
        f"use it as it is, or stop it with Ctrl-C in its terminal or `kill {state.pid}`"
    )


def end_leftovers(state: State) -> None:
    """Ends the processes of a killed tree; if its watchdog lives, that is at it and is given the time."""
    left = [child for name, child in state.children.items() if name != "watchdog"]
    watchdog = state.children.get("watchdog")
    until(lambda: not (any(map(_is_the_same, left)) and watchdog and _is_the_same(watchdog)), LEFTOVER_PATIENCE)
    end_groups([child.pid for child in left if _is_the_same(child)], patience=5.0)


def _is_the_same(child: ChildState) -> bool:
    return bool(child.birth) and birth(child.pid) == child.birth


def birth(pid: int) -> str | None:
    """When the process was started, in ticks since the machine was; None if it does not run (or there is no /proc)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == "Z" else fields[19]


def until(reached: Callable[[], bool], seconds: float) -> bool:
    """Whether the condition came true within `seconds`; it is asked at least once."""
    deadline = time.monotonic() + seconds
    while not reached():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def mail_mode(settings: Settings) -> str:
    """PIPELINE_MAIL as the workers of the home have it: as it was when its tree started, if one runs."""
    tree = running(settings.var / "run", patience=0)
    return tree.mail if tree and tree.mail else settings.mail


def running(folder: Path, patience: float = 60.0) -> State | None:
    """The state of the tree whose var/run is `folder`, once it has started; None when none runs or it is stopping.

    A tree that is just starting is waited for, `patience` seconds at most.
    """
    if not folder.is_dir():
        return None
    lock = TreeLock(folder)
    deadline = time.monotonic() + patience
    while lock.held():
        state = read(lock.state_path)
        living = state if _lives(state) else None
        if living and living.status == "running":
            return living
        if (living and living.status == "stopping") or time.monotonic() > deadline:
            return None
        time.sleep(0.1)
    return None
