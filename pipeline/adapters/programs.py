"""Programs that steps run: output kept at both ends, a limit of time, and nothing left behind when a worker dies."""

from __future__ import annotations

import os
import re
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path

from pipeline.adapters import keeper
from pipeline.errors import PermanentError

# Bytes of the beginning and of the end of an output that are kept.
ENDS = 32 * 1024
# Seconds that a program has to end by itself after SIGTERM: past its limit of time, and where nobody wants it any more
# (a step that is cancelled is interrupted four seconds later). Seconds between two looks at whether it may go on.
GRACE, QUICKLY, LOOK = 10.0, 2.5, 1.0
# Seconds for which what a program has written before its end may still be on its way.
DRAIN = 2.0
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")


@dataclass
class Output:
    """What a program wrote, both ends of it."""

    head: bytearray = field(default_factory=bytearray)
    tail: bytearray = field(default_factory=bytearray)
    size: int = 0

    def add(self, piece: bytes) -> None:
        self.size += len(piece)
        room = ENDS - len(self.head)
        self.head += piece[:room]
        self.tail += piece[room:]
        if len(self.tail) > 2 * ENDS:
            del self.tail[:-ENDS]

    @property
    def text(self) -> str:
        """As text: what is no UTF-8 is marked, a terminal's colours and controls are left out."""
        tail = self.tail[-ENDS:]
        gap = self.size - len(self.head) - len(tail)
        left_out = f"\n[… {gap:,} bytes are left out …]\n" if gap else ""
        return _readable(self.head) + left_out + _readable(tail)

    @property
    def last_line(self) -> str:
        lines = self.text.rstrip().splitlines()
        return lines[-1].strip()[:500] if lines else ""


def _readable(piece: bytes | bytearray) -> str:
    text = _ESCAPES.sub("", piece.decode("utf-8", "replace").replace("\r\n", "\n"))
    return "".join(one for one in text if one in "\n\t" or one.isprintable())


@dataclass(frozen=True)
class Ended:
    """How a program ended: with an exit code, or by a signal; `too_long` when the limit of time ended it."""

    output: Output
    code: int | None = None
    signal: int | None = None
    too_long: bool = False

    @property
    def words(self) -> str:
        if self.signal is None:
            return f"exit {self.code}"
        with suppress(ValueError):
            return f"was ended by {signal.Signals(self.signal).name}"
        return f"was ended by signal {self.signal}"


def run(  # noqa: PLR0913 - one verb, all of it from the run and its schedule
    words: Sequence[str],
    *,
    folder: Path,
    environment: Mapping[str, str],
    limit: float,
    look: Callable[[Output], None],
    grace: float = GRACE,
) -> Ended:
    """Run a program to its end, at most `limit` seconds, and collect what it writes to its output and error output.

    `look` is called about once a second; if it raises, or anything else does, the program's whole group is ended before
    the exception goes on; so it is, by its keeper, when this process is killed. What the program has started in the
    background goes on after it has ended, unheard. Raises PermanentError when it cannot be started.
    """
    program = _Program(list(words), folder, dict(environment), grace)
    try:
        too_long = program.follow(limit, look)
    except BaseException:
        program.end(min(grace, QUICKLY))
        raise
    program.end(grace)
    return program.ended(too_long=too_long)


class _Program:
    """A program under its keeper, and the pipes to both."""

    def __init__(self, words: list[str], folder: Path, environment: dict[str, str], grace: float) -> None:
        self.output = Output()
        self._name, self._told = words[0], b""
        with ExitStack() as ours, ExitStack() as theirs:
            control, self._control = _pipe(theirs, ours)
            self._heard, written = _pipe(ours, theirs)
            self._status, status = _pipe(ours, theirs)
            keep = [sys.executable, "-I", "-S", keeper.__file__, str(grace), str(status.fileno()), *words]
            try:
                self._keeper = subprocess.Popen(
                    keep, stdin=control, stdout=written, stderr=written, pass_fds=(status.fileno(),), cwd=folder,
                    env=environment, start_new_session=True,
                )  # fmt: skip
            except OSError as error:
                raise PermanentError(f"{self._name} cannot be started in {folder}: {error.strerror}") from None
            except ValueError as error:  # a NUL character in a word
                raise PermanentError(f"{self._name} cannot be started: {error}") from None
            self._pipes = ours.pop_all()
        self._selector = selectors.DefaultSelector()
        for pipe in (self._heard, self._status):
            self._selector.register(pipe, selectors.EVENT_READ)

    def follow(self, limit: float, look: Callable[[Output], None]) -> bool:
        """Listen until the program has ended; whether it was still there after `limit` seconds."""
        until, looked = time.monotonic() + limit, 0.0
        while self._is_open(self._status):
            now = time.monotonic()
            if now >= until:
                return True
            if now - looked >= LOOK:
                looked = now
                look(self.output)
            self._listen(min(LOOK, until - now))
        return False

    def end(self, grace: float) -> None:
        """Let the keeper end what has not ended; afterwards nothing is left of it, and nothing more to hear."""
        with self._pipes, self._selector:
            with suppress(BrokenPipeError):  # it has ended, and its keeper with it
                os.write(self._control.fileno(), str(grace).encode())
            self._control.close()
            until = time.monotonic() + grace + 10
            while self._is_open(self._status) and (left := until - time.monotonic()) > 0:
                self._listen(left)
            self._kill_what_a_killed_keeper_left()
            self._keeper.kill()
            self._keeper.wait()
            until = time.monotonic() + DRAIN
            while self._is_open(self._heard) and time.monotonic() < until and self._listen(0.2):
                pass

    def _kill_what_a_killed_keeper_left(self) -> None:
        started = re.match(rb"started (\d+)\n", self._told)
        if started and not re.search(rb"^(exit|signal) ", self._told, re.MULTILINE):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(int(started[1]), signal.SIGKILL)

    def ended(self, *, too_long: bool) -> Ended:
        """How it ended. Raises PermanentError for a program that could not be started."""
        told = self._told.decode()
        if found := re.search(r"^not started (.*)$", told, re.MULTILINE):
            raise PermanentError(f"{self._name} cannot be started: {found[1]}")
        found = re.search(r"^exit (\d+)$", told, re.MULTILINE)
        if found:
            return Ended(self.output, code=int(found[1]), too_long=too_long)
        found = re.search(r"^signal (\d+)$", told, re.MULTILINE)
        return Ended(self.output, signal=int(found[1]) if found else signal.SIGKILL, too_long=too_long)

    def _is_open(self, pipe: FileIO) -> bool:
        return pipe in self._selector.get_map()

    def _listen(self, seconds: float) -> bool:
        """Read what comes within so many seconds; whether anything did. A pipe that has ended is put aside."""
        ready = self._selector.select(seconds)
        for key, _ in ready:
            piece = os.read(key.fd, 65_536)
            if not piece:
                self._selector.unregister(key.fileobj)
            elif key.fileobj is self._heard:
                self.output.add(piece)
            else:
                self._told += piece
        return bool(ready)


def _pipe(reading: ExitStack, writing: ExitStack) -> tuple[FileIO, FileIO]:
    """Both ends of a pipe, each closed with those of its side."""
    read, write = os.pipe()
    return reading.enter_context(FileIO(read, "r")), writing.enter_context(FileIO(write, "w"))
