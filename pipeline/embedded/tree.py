"""The embedded tree: one command's servers and processes, started, supervised and stopped as one."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Self

from pipeline.embedded import state
from pipeline.embedded.parts import Parts, parts
from pipeline.embedded.state import State, TreeLock
from pipeline.embedded.supervisor import StopRequest, Supervisor
from pipeline.settings import Settings

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def tell(text: str) -> None:
    """A line on standard error, where it does not mix with results."""
    with suppress(OSError):  # the terminal is gone: no reason to leave children behind
        print(text, file=sys.stderr, flush=True)  # noqa: T201


class Tree:
    """A context manager: inside of it everything runs, after it nothing does.

    SIGINT, SIGTERM and SIGHUP end it: they raise KeyboardInterrupt in the body (or end `wait`); a second one hurries
    the stop. Only one tree can run for a home; `running` finds it.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        say: Callable[[str], None] = tell,
        follow: bool = False,
        made_of: Callable[[Settings], Parts] = parts,
    ) -> None:
        """`say` gets what the supervisor has to tell, with `follow` also each line of the children's logs."""
        self._settings, self._say, self._follow, self._made_of = settings, say, follow, made_of
        self._stop = StopRequest()
        self._interruptible = False
        self._handlers: dict[signal.Signals, Callable[[int, FrameType | None], object] | int | None] = {}
        self._lock = TreeLock(settings.var / "run")
        self._parts: Parts | None = None
        self._supervisor: Supervisor | None = None
        self.state = State.mine()

    def start(self) -> None:
        """Returns when the servers answer, the migrations are done and the processes have been started.

        Raises Refused when a tree runs already, PermanentError when a part does not come up (nothing is left then),
        KeyboardInterrupt when a signal asked to stop meanwhile.
        """
        self._lock.take()
        self._listen()
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def _start(self) -> None:
        self._parts = found = self._made_of(self._settings)
        self.state.catcher_url, self.state.web_url = found.catcher_url, found.web_url
        self.state.flower_url, self.state.mail = found.flower_url, self._settings.mail
        self._supervisor = Supervisor(
            self._settings.home, self._settings.var / "log", self._stop, self._say, self._note
        )
        self._supervisor.start(found.servers)
        found.migrate()
        self._supervisor.start(found.processes)
        self._supervisor.watch(follow=self._follow)
        self.state.status = "running"
        self._note()
        if self._stop.asked:
            raise KeyboardInterrupt
        self._interruptible = True

    def wait(self) -> None:
        """Returns when a signal asks to stop."""
        self._interruptible = False
        while not self._stop.asked:
            time.sleep(0.1)

    def restart(self, names: Iterable[str]) -> None:
        """Have these parts stop and start again, those that are there; they finish first what they work on."""
        if self._supervisor:
            self._supervisor.restart(names)

    def stop(self) -> None:
        """Stops everything in reverse order; a part that does not stop in its time is killed."""
        self._interruptible = False
        self.state.status = "stopping"
        try:
            if self._supervisor:
                with suppress(OSError):  # a full disk is no reason to leave children behind
                    self._note()
                self._supervisor.stop()
        finally:
            self._supervisor = None
            if self._parts:
                self._parts.close()
            self._lock.release()
            self._stop_listening()

    def troubles(self) -> list[str]:
        """A sentence for each part that keeps dying."""
        return list(self._supervisor.troubles()) if self._supervisor else []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _note(self) -> None:
        if self._supervisor:
            self.state.children = self._supervisor.children
            self.state.write(self._lock.state_path)

    def _listen(self) -> None:
        if threading.current_thread() is threading.main_thread():
            self._handlers = {number: signal.signal(number, self._asked) for number in SIGNALS}

    def _stop_listening(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    def _asked(self, _number: int, _frame: FrameType | None) -> None:
        self._stop.hurry = self._stop.asked
        self._stop.asked = True
        if self._interruptible:
            self._interruptible = False
            raise KeyboardInterrupt


def running(settings: Settings) -> State | None:
    """The tree that runs for this home; None if there is none."""
    return state.running(settings.var / "run")


@contextmanager
def joined(settings: Settings, *, say: Callable[[str], None] = tell) -> Iterator[State]:
    """The tree that runs for this home, left as it is; without one, a new one that ends with the block."""
    if found := running(settings):
        yield found
        return
    with Tree(settings, say=say) as tree:
        yield tree.state
