"""Starts the children of the embedded tree in order, restarts those that die, stops them in reverse order."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from pipeline.embedded import logs
from pipeline.embedded.child import Child, Process
from pipeline.embedded.guard import Guard
from pipeline.embedded.state import ChildState, birth, now
from pipeline.errors import PermanentError, PipelineError

# How often the children are looked at, in seconds.
TICK = 0.1
# How long a child may take to stop once somebody is in a hurry.
HURRIED_GRACE = 1.0
# A stop that takes longer than this is explained (an idle Celery worker needs about three seconds).
SILENT_GRACE = 4.0
# Characters of a log's last line that are told of a child that ended by itself.
LAST_WORDS = 200


class StopRequest:
    """What signals have asked for so far. Plain attributes: a signal's handler must not wait for a lock."""

    asked = False
    hurry = False


class Backoff:
    """How long a child that died has to wait: 1 s, doubled each time, 30 s at most; a life of a minute forgives all."""

    FIRST, CEILING = 1.0, 30.0
    FORGIVEN_AFTER = 60.0
    STRUGGLING_AFTER = 5

    def __init__(self) -> None:
        self.short_lives = 0

    def died(self, lived: float) -> float:
        """The seconds to wait, after a life of `lived` seconds."""
        self.short_lives = 1 if lived >= self.FORGIVEN_AFTER else self.short_lives + 1
        return self.CEILING if self.struggling else min(self.CEILING, self.FIRST * 2 ** (self.short_lives - 1))

    @property
    def struggling(self) -> bool:
        """Whether it died so often that somebody should look."""
        return self.short_lives >= self.STRUGGLING_AFTER


class Slot:
    """One child's place in the tree, whichever process fills it at the moment."""

    def __init__(self, child: Child, log: Path) -> None:
        self.child, self.log = child, log
        self.backoff = Backoff()
        self.process: Process | None = None
        self.start_at = 0.0
        # Since when it is being stopped in order to start again.
        self.leaving: float | None = None
        self.pressed = False
        self.state = ChildState(0, "", "", restarts=-1)


class Supervisor:
    """The children, their logs in `logs_folder`, and the watchdog that ends them when this process is killed."""

    def __init__(
        self,
        folder: Path,
        logs_folder: Path,
        stop: StopRequest,
        say: Callable[[str], None],
        changed: Callable[[], None],
    ) -> None:
        """`folder` is where children run; `say` gets a sentence; `changed` is called after each start of a child."""
        logs_folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._logs, self._stop, self._say, self._changed = folder, logs_folder, stop, say, changed
        self._slots: list[Slot] = []
        self._guard = Guard(logs_folder / "watchdog.log")
        self._to_restart: set[str] = set()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, children: Sequence[Child]) -> None:
        """Starts each, and waits until it is ready before the next.

        Raises PermanentError with the end of its log when one does not come up, KeyboardInterrupt when asked to stop.
        """
        for child in children:
            self._check_asked()
            slot = Slot(child, self._logs / f"{child.name}.log")
            self._slots.append(slot)
            self._launch(slot)
            if child.ready:
                self._await(slot, child.ready)

    def _launch(self, slot: Slot) -> None:
        slot.process = Process(slot.child, slot.log, self._folder, self._guard.pipe)
        pid = slot.process.pid
        slot.state = ChildState(pid, birth(pid) or "", now(), slot.state.restarts + 1)
        self._changed()

    def _await(self, slot: Slot, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + slot.child.ready_within
        while not ready():
            self._check_asked()
            if slot.process and slot.process.ended():
                raise PermanentError(self._obituary(slot, slot.process.how_it_ended()))
            if time.monotonic() > deadline:
                raise PermanentError(self._obituary(slot, f"was not ready after {slot.child.ready_within:g} s"))
            time.sleep(0.02)

    def _check_asked(self) -> None:
        if self._stop.asked:
            raise KeyboardInterrupt

    def _obituary(self, slot: Slot, what: str) -> str:
        lines = [f"{slot.child.name} {what}; the end of {slot.log}:", *logs.last_lines(slot.log)]
        return "\n    ".join(lines)

    def watch(self, *, follow: bool) -> None:
        """From now on a thread restarts what dies and, if wanted, says each new line of the logs."""
        followed = {slot.child.name: slot.log for slot in self._slots} if follow else {}
        follower = logs.Follower(followed, self._say)
        self._thread = threading.Thread(target=self._watch, args=(follower,), name="supervisor", daemon=True)
        self._thread.start()

    def _watch(self, follower: logs.Follower) -> None:
        while not self._over.wait(TICK):
            try:
                for slot in self._slots:
                    self._look(slot)
                if self._guard.look([slot.process.pid for slot in self._slots if slot.process]):
                    self._say("the watchdog died and was replaced")
                    self._changed()
                follower.read()
            except OSError as error:  # a full disk, no more processes: what holds us back must not end the watch
                self._say(f"supervisor: {error}")
                self._over.wait(1)

    def restart(self, names: Iterable[str]) -> None:
        """Have these children stop as they do at the end, each with its grace, and start again at once."""
        self._to_restart.update(names)

    def _restart(self, slot: Slot) -> None:
        """Begin to; one that is stopping already will start with what is there then, and a dead one starts now."""
        slot.backoff, slot.start_at = Backoff(), 0.0
        if slot.process and slot.leaving is None:
            slot.leaving, slot.pressed = time.monotonic(), False
            slot.process.signal(signal.SIGTERM)

    def _hasten(self, slot: Slot, process: Process, leaving: float) -> None:
        """What it gets when its grace is over, as in `_end`, without anybody waiting for it."""
        child, taken = slot.child, time.monotonic() - leaving
        if taken > child.grace + (child.stronger_grace if child.stronger else 0):
            self._say(f"{child.name} did not stop in time and is killed")
            process.kill()
        elif taken > child.grace and child.stronger and not slot.pressed:
            slot.pressed = True
            process.signal(child.stronger)

    def _look(self, slot: Slot) -> None:
        logs.rotate(slot.log)
        if slot.child.name in self._to_restart:
            self._to_restart.discard(slot.child.name)
            self._restart(slot)
        if slot.process and slot.leaving is not None and not slot.process.ended():
            self._hasten(slot, slot.process, slot.leaving)
        if slot.process and slot.process.ended():
            self._guard.gone(slot.process.pid)
            if slot.leaving is not None:
                slot.process = slot.leaving = None
                self._say(f"{slot.child.name} starts again")
                return
            lived = time.monotonic() - slot.process.started
            self._mourn(slot, slot.process.how_it_ended(), lived)
        elif not slot.process and time.monotonic() >= slot.start_at:
            try:
                self._launch(slot)
            except (OSError, PipelineError) as error:
                self._mourn(slot, f"could not be started: {error}", lived=0)

    def _mourn(self, slot: Slot, what: str, lived: float) -> None:
        slot.process = None
        wait = slot.backoff.died(lived)
        slot.start_at = time.monotonic() + wait
        if slot.backoff.struggling:
            what = f"{what}, {slot.backoff.short_lives} times now; the end of {slot.log}:"
            what = "\n    ".join([what, *logs.last_lines(slot.log)]) + "\n   "
        elif "exit code" in what and (last := logs.last_lines(slot.log, 1)):
            what = f"{what}: {last[0].strip()[:LAST_WORDS]}"  # it gave up by itself, and mostly says why
        self._say(f"{slot.child.name} {what} - starting it again in {wait:g} s")

    @property
    def children(self) -> dict[str, ChildState]:
        """Every process by its child's name, with the watchdog."""
        states = {slot.child.name: slot.state for slot in self._slots}
        return {**states, "watchdog": ChildState(self._guard.pid, birth(self._guard.pid) or "", "")}

    def troubles(self) -> Iterator[str]:
        """A sentence for each child that keeps dying."""
        for slot in self._slots:
            lives = slot.process and time.monotonic() - slot.process.started >= Backoff.FORGIVEN_AFTER
            if slot.backoff.struggling and not lives:
                yield f"{slot.child.name} has died {slot.backoff.short_lives} times in a row: see {slot.log}"

    def stop(self) -> None:
        """Stops every child, the last started first, each with its grace; returns when nothing is left."""
        self._over.set()
        if self._thread:
            self._thread.join()
        for slot in reversed(self._slots):
            if slot.process:
                self._end(slot.child, slot.process)
                self._guard.gone(slot.process.pid)
        self._guard.bye()

    def _end(self, child: Child, process: Process) -> None:
        process.signal(signal.SIGTERM)
        stopped = self._within(process, child.grace)
        if not stopped and child.stronger:
            process.signal(child.stronger)
            stopped = self._within(process, child.stronger_grace)
        if not stopped:
            self._say(f"{child.name} did not stop in time and is killed")
        process.kill()

    def _within(self, process: Process, grace: float) -> bool:
        started, explained = time.monotonic(), False
        while not process.ended():
            taken = time.monotonic() - started
            if taken > (min(grace, HURRIED_GRACE) if self._stop.hurry else grace):
                return False
            if taken > SILENT_GRACE and not explained:
                explained = True
                self._say(
                    f"{process.child.name} finishes what it works on ({grace:g} s at most; Ctrl-C again: at once)"
                )
            time.sleep(0.02)
        return True
