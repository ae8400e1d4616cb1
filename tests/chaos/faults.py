"""What goes wrong, when, and for how long: drawn from a seed, so that a schedule of faults can be played again."""

from __future__ import annotations

import json
import os
import random
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from uuid import uuid4

from redis import Redis, RedisError

from tests.chaos.site import LEASE, PARTS, Site

# Does the fault, and returns what ends it, if it lasts.
Act = Callable[[Site, random.Random], Callable[[], object] | None]


@dataclass(frozen=True)
class Fault:
    """One fault: `at` seconds after the beginning, for `lasts` seconds (0: it has no end)."""

    number: int
    kind: str
    at: float
    lasts: float


def drawn(seed: int, seconds: float) -> list[Fault]:
    """Faults for so many seconds, one to five of them apart; some begin before the last one has ended."""
    dice, found, at = random.Random(seed), list[Fault](), 3.0
    names = list(KINDS)
    while True:
        at += dice.uniform(1, 5)
        if at > seconds:
            return found
        # Each kind once before any comes again.
        turn = len(found) % len(names)
        if turn == 0:
            dice.shuffle(names)
        kind = names[turn]
        low, high = KINDS[kind][1]
        found.append(Fault(len(found), kind, round(at, 2), round(dice.uniform(low, high), 2)))


def begin(fault: Fault, site: Site, seed: int) -> Callable[[], object] | None:
    """Do it; what ends it. Who is hit is drawn, too."""
    return KINDS[fault.kind][0](site, random.Random(f"{seed}/{fault.number}"))


def _send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _leader(site: Site, dice: random.Random, kind: str) -> int:
    return site.processes[dice.choice([name for name in PARTS if name.startswith(kind)])].pid


def kill_child(site: Site, dice: random.Random) -> None:
    """As the system does where memory is short."""
    pids = site.children("worker1") + site.children("worker2")
    if pids:
        _send(dice.choice(pids), signal.SIGKILL)


def kill_worker(site: Site, dice: random.Random) -> None:
    with suppress(ProcessLookupError):
        os.killpg(_leader(site, dice, "worker"), signal.SIGKILL)


def kill_worker_alone(site: Site, dice: random.Random) -> None:
    """Without its children, which the system ends then."""
    _send(_leader(site, dice, "worker"), signal.SIGKILL)


def stop_worker(site: Site, dice: random.Random) -> None:
    """As a deployment does."""
    _send(_leader(site, dice, "worker"), signal.SIGTERM)


def quit_worker(site: Site, dice: random.Random) -> None:
    """As somebody does who has no time."""
    _send(_leader(site, dice, "worker"), signal.SIGQUIT)


def freeze_child(site: Site, dice: random.Random) -> Callable[[], object] | None:
    pids = site.children("worker1") + site.children("worker2")
    if not pids:
        return None
    pid = dice.choice(pids)
    _send(pid, signal.SIGSTOP)
    return lambda: _send(pid, signal.SIGCONT)


def freeze_worker(site: Site, dice: random.Random) -> Callable[[], object]:
    """All of it, as a machine that is suspended."""
    name = dice.choice(["worker1", "worker2"])
    pids = [site.processes[name].pid, *site.children(name)]
    for pid in pids:
        _send(pid, signal.SIGSTOP)
    return lambda: [_send(pid, signal.SIGCONT) for pid in pids]


def kill_beat(site: Site, dice: random.Random) -> None:
    _send(_leader(site, dice, "beat"), signal.SIGKILL)


def freeze_beat(site: Site, dice: random.Random) -> Callable[[], object]:
    pid = _leader(site, dice, "beat")
    _send(pid, signal.SIGSTOP)
    return lambda: _send(pid, signal.SIGCONT)


def flush_broker(site: Site, _dice: random.Random) -> None:
    with suppress(RedisError), Redis(unix_socket_path=str(site.home / "var" / "broker.sock")) as broker:
        broker.flushall()


def double_messages(site: Site, _dice: random.Random) -> None:
    """Every message that waits comes twice, as it does past a visibility time-out."""
    with suppress(RedisError), Redis(unix_socket_path=str(site.home / "var" / "broker.sock")) as broker:
        for queue in broker.scan_iter(match="*"):
            if broker.type(queue) != b"list":
                continue
            for message in broker.lrange(queue, 0, -1):
                copied = json.loads(message)
                copied["properties"]["delivery_tag"] = str(uuid4())
                broker.lpush(queue, json.dumps(copied))


def kill_broker(site: Site, _dice: random.Random) -> Callable[[], object] | None:
    if "broker" not in site.processes:
        return None
    site.kill("broker")
    return site.start_broker


def lose_broker(site: Site, _dice: random.Random) -> Callable[[], object] | None:
    """It starts again with nothing in it."""
    if "broker" not in site.processes:
        return None
    site.kill("broker")
    site.empty_broker()
    return site.start_broker


def _stop_database(how: signal.Signals) -> Act:
    def act(site: Site, _dice: random.Random) -> Callable[[], object] | None:
        if not site.database.runs:
            return None
        site.database.stop(how)
        return site.database.start

    return act


def kill_mail(site: Site, _dice: random.Random) -> None:
    _send(site.processes["mail"].pid, signal.SIGKILL)


def freeze_mail(site: Site, _dice: random.Random) -> Callable[[], object]:
    pid = site.processes["mail"].pid
    _send(pid, signal.SIGSTOP)
    return lambda: _send(pid, signal.SIGCONT)


def _cut(name: str) -> Act:
    def act(site: Site, _dice: random.Random) -> None:
        site.wires[name].cut()

    return act


def _unplug(name: str) -> Act:
    def act(site: Site, _dice: random.Random) -> Callable[[], object]:
        site.wires[name].unplug()
        return site.wires[name].plug

    return act


def _silence(name: str) -> Act:
    def act(site: Site, _dice: random.Random) -> Callable[[], object]:
        site.wires[name].silence()
        return site.wires[name].speak

    return act


AT_ONCE, SHORT, LONG = (0.0, 0.0), (0.2, 4.0), (LEASE + 1.0, LEASE + 4.0)
# What can be drawn, and how long it lasts: from, to.
KINDS: dict[str, tuple[Act, tuple[float, float]]] = {
    "kill -9 of a worker's child": (kill_child, AT_ONCE),
    "kill -9 of a worker with its children": (kill_worker, AT_ONCE),
    "kill -9 of a worker": (kill_worker_alone, AT_ONCE),
    "SIGTERM to a worker": (stop_worker, AT_ONCE),
    "SIGQUIT to a worker": (quit_worker, AT_ONCE),
    "SIGSTOP of a worker's child": (freeze_child, LONG),
    "SIGSTOP of a worker": (freeze_worker, LONG),
    "kill -9 of a beat": (kill_beat, AT_ONCE),
    "SIGSTOP of a beat": (freeze_beat, LONG),
    "FLUSHALL": (flush_broker, AT_ONCE),
    "all messages doubled": (double_messages, AT_ONCE),
    "kill -9 of the broker": (kill_broker, SHORT),
    "the broker starts again empty": (lose_broker, SHORT),
    "connections to the broker cut": (_cut("broker"), AT_ONCE),
    "the broker unplugged": (_unplug("broker"), SHORT),
    "the broker silent": (_silence("broker"), SHORT),
    # It recovers from its log; what was not committed durably may be lost.
    "the database crashes": (_stop_database(signal.SIGQUIT), SHORT),
    "the database restarts": (_stop_database(signal.SIGINT), SHORT),
    "connections to the database cut": (_cut("database"), AT_ONCE),
    "the database unplugged": (_unplug("database"), SHORT),
    "the database silent": (_silence("database"), SHORT),
    "kill -9 of the mail server": (kill_mail, AT_ONCE),
    "SIGSTOP of the mail server": (freeze_mail, SHORT),
    "connections to the mail server cut": (_cut("mail"), AT_ONCE),
}
