"""The watchdog: a process that outlives `pipeline up` by seconds and ends what a killed one left behind.

Started as a script by a bare interpreter (`python -I -S`), so it may import nothing but what starts in a millisecond.
It reads lines on standard input, a pipe whose other end only the supervisor and a starting child hold:
`+PID` (the leader of a process group has started), `-PID` (its group is gone), `bye` (all was stopped in order).
End-of-file without `bye` means that the supervisor died.
"""

from __future__ import annotations

import os
import signal
import sys
import time

# Seconds that the groups have together to end by themselves; then they are killed.
PATIENCE = 6.0


def watch() -> None:
    """Follows the supervisor's lines to their end; returns after every group is gone or was killed."""
    leaders: list[int] = []
    for line in sys.stdin:
        word = line.strip()
        if word == "bye":
            return
        if word.startswith("+"):
            leaders.append(int(word[1:]))
        elif word.startswith("-") and int(word[1:]) in leaders:
            leaders.remove(int(word[1:]))
    if leaders:
        _say(f"`pipeline up` is gone: stopping its processes {', '.join(map(str, leaders))}")
        end_groups(leaders, PATIENCE)
        _say("nothing is left")


def end_groups(leaders: list[int], patience: float) -> None:
    """Stops the groups, the last started first (so that the broker outlives its clients), within `patience` seconds.

    SIGTERM goes to the leader alone: a Celery worker's children would drop their tasks. SIGKILL goes to the group.
    """
    deadline = time.monotonic() + patience
    for leader in reversed(leaders):
        _signal(os.kill, leader, signal.SIGTERM)
        # Each group gets a moment, however much of the common time the ones before it have used.
        until = max(deadline, time.monotonic() + 0.5)
        while time.monotonic() < until and lives(leader):
            time.sleep(0.05)
        _signal(os.killpg, leader, signal.SIGKILL)


def lives(pid: int) -> bool:
    """Whether the process runs. One that ended and was not collected, as happens in containers, does not."""
    try:
        with open(f"/proc/{pid}/stat") as stat:  # noqa: PTH123 - pathlib is slow to import
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return not os.path.exists("/proc/self") and _signal(os.kill, pid, 0)  # noqa: PTH110


def _signal(send, target: int, number: int) -> bool:  # type: ignore[no-untyped-def]  # noqa: ANN001 (typing is slow to import)
    """Whether there was somebody to get the signal."""
    try:
        send(target, number)
    except OSError:
        return False
    return True


def _say(text: str) -> None:
    print(time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), text, file=sys.stderr, flush=True)  # noqa: T201


if __name__ == "__main__":
    # The terminal's signals are for the supervisor; whoever kills it with its whole group must not get us too.
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    watch()
