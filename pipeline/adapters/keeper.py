"""The keeper: starts one program in a group of its own and sees to it that the whole group ends when it has to.

Started as a script by a bare interpreter (`python -I -S`), so it may import nothing but what starts in a millisecond.
Standard input is a pipe whose other end the worker alone holds. Its end-of-file, which also a worker killed with -9
leaves behind, means that the program must end: SIGTERM to its group, SIGKILL to what is left of it after GRACE seconds,
or after as many as were written to the pipe before. What becomes of the program goes to the pipe STATUS, a line each:
`started PID`, then `not started REASON` where it cannot be, then `exit 3` or `signal 9`.

    keeper.py GRACE STATUS PROGRAM [ARGUMENT …]
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time

# prctl(2): orphans of the group become ours to collect; the program gets a signal when we die.
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
# What Python ignores, and a program must not inherit as ignored.
RESTORED = (signal.SIGPIPE, signal.SIGXFSZ)


def keep(grace: float, status: int, words: list[str]) -> None:
    """Start the program and wait until it, or all of its group, has ended; its end is written to `status`."""
    os.set_inheritable(status, False)  # noqa: FBT003 - the standard library's
    wake, wake_up = os.pipe()
    os.set_blocking(wake_up, False)
    signal.set_wakeup_fd(wake_up)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    program = _started(words, status)
    ended = None
    while ended is None:
        ready, _, _ = select.select([0, wake], [], [])
        if 0 in ready:
            ended = _ended_by_force(program, float(os.read(0, 64) or grace))
        else:
            os.read(wake, 512)
            ended = _collected(program)
    os.write(status, _how(ended).encode())


def _started(words: list[str], status: int) -> int:
    """Fork and become the program; why that cannot be is written to `status` before its end is."""
    keeper = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    os.write(status, f"started {os.getpid()}\n".encode())
    try:
        os.setsid()
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != keeper:
            os._exit(1)
        signal.set_wakeup_fd(-1)
        for number in (*RESTORED, signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.execvp(words[0], words)  # noqa: S606 - no shell is the point
    except OSError as error:
        os.write(status, f"not started {error.strerror}\n".encode())
    os._exit(127)


def _ended_by_force(program: int, grace: float) -> int:
    """Ask the group to end, kill what is left of it; how the program ended."""
    ended = None
    for number, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, 5.0)):
        until = time.monotonic() + patience
        gone = not _signal(program, number)
        while not gone and time.monotonic() < until:
            time.sleep(0.02)
            found = _collected(program)
            ended = found if ended is None else ended
            gone = not _signal(program, 0)
    return signal.SIGKILL if ended is None else ended


def _signal(group: int, number: int) -> bool:
    """Whether anybody of the group is left to get the signal."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    except PermissionError:  # it has become another user's, as sudo does
        pass
    return True


def _collected(program: int) -> int | None:
    """Collect whoever has ended; the wait status of the program if it is among them."""
    ended = None
    while True:
        try:
            pid, how = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if not pid:
            return ended
        if pid == program:
            ended = how


def _how(ended: int) -> str:
    code = os.waitstatus_to_exitcode(ended)
    return f"signal {-code}\n" if code < 0 else f"exit {code}\n"


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    # Whoever ends a whole tree of processes must not end us before the program's group.
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    keep(float(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
