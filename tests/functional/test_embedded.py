"""The embedded tree with real processes: what is killed comes back, and what is stopped is gone."""

import json
import os
import signal
import smtplib
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from redis import Redis

from pipeline import doctor
from pipeline.embedded import broker, running, state
from pipeline.settings import Settings

DRIVER = Path(__file__).parent / "stub_tree.py"


class Up:
    """A tree in a process of its own, as `pipeline up` runs it."""

    def __init__(self, home, *words):
        self.home, self.settings = home, Settings(home=home)
        self.said = home / "said.txt"
        with self.said.open("a") as said:
            self.process = subprocess.Popen(
                [sys.executable, str(DRIVER), str(home), *words], stderr=said, start_new_session=True
            )

    def state(self):
        assert state.until(lambda: running(self.settings), 60), self.said.read_text()
        return running(self.settings)

    def pids(self):
        return {name: child.pid for name, child in self.state().children.items()}

    def diary(self):
        path = self.home / "diary.txt"
        return path.read_text().splitlines() if path.exists() else []

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.process.wait(timeout=60)


@pytest.fixture
def up(home):
    trees = []

    def start(*words, home=home):
        trees.append(Up(home, *words))
        return trees[-1]

    yield start
    for tree in trees:
        if tree.process.poll() is None:
            tree.stop()


def eventually(condition, seconds=60):
    assert state.until(condition, seconds), "did not come true"


def lives(pid):
    return state.birth(pid) is not None


def nothing_is_left(pids):
    """Of a tree that was stopped; its watchdog was told to go, and does when it has its turn."""
    assert not any(lives(pid) for name, pid in pids.items() if name != "watchdog")
    eventually(lambda: not lives(pids["watchdog"]))


def members(groups):
    """Every process that runs in one of the groups."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it ended meanwhile
            state, _, group = stat.read_text(errors="replace").rpartition(")")[2].split()[:3]
            if state != "Z" and int(group) in groups:
                found.add(int(stat.parent.name))
    return found


def test_sigterm_stops_everything_in_reverse_order(up):
    tree = up()
    pids = tree.pids()
    eventually(lambda: len(tree.diary()) == 3)

    assert tree.stop() == 0

    stops = [line for line in tree.diary() if "stop" in line]
    assert stops == ["beat asked to stop", "worker asked to stop", "broker asked to stop"]
    nothing_is_left(pids)
    assert running(tree.settings) is None


def test_ctrl_c_reaches_only_the_supervisor(up):
    tree = up()
    eventually(lambda: tree.state() and len(tree.diary()) == 3)

    os.killpg(tree.process.pid, signal.SIGINT)

    assert tree.process.wait(timeout=60) == 0
    assert not [line for line in tree.diary() if "SIGINT" in line]
    assert len([line for line in tree.diary() if "stop" in line]) == 3


def test_a_second_ctrl_c_does_not_wait_for_a_worker_that_does_not_stop(up):
    tree = up("stuck")
    pids = tree.pids()
    eventually(lambda: "worker started" in tree.diary())
    tree.process.send_signal(signal.SIGINT)
    eventually(lambda: "worker asked to stop" in tree.diary())
    assert lives(pids["worker"])

    assert tree.stop(signal.SIGINT) == 0

    assert "worker did not stop in time and is killed" in tree.said.read_text()
    nothing_is_left(pids)


@pytest.mark.parametrize("words", [(), ("stuck-briefly",)])
def test_a_restart_stops_in_order_what_it_names_and_starts_it_again_with_no_word_of_a_death(up, words):
    tree = up("restarting", *words)
    eventually(lambda: tree.diary().count("worker started") == 2 and tree.diary().count("beat started") == 2)
    assert tree.diary().count("broker started") == 1
    said = tree.said.read_text()
    assert "starting it again in" not in said
    if words:  # it may be killed before it has written that it was asked
        assert "worker did not stop in time and is killed" in said
    else:
        assert "is killed" not in said
        assert tree.diary().count("worker asked to stop") == 1
    assert "worker starts again" in said
    restarts = {"broker": 0, "worker": 1, "beat": 1, "watchdog": 0}
    eventually(lambda: {name: child.restarts for name, child in tree.state().children.items()} == restarts)


@pytest.mark.parametrize("words", [(), ("stuck",), ("whole",)])
def test_a_killed_supervisor_leaves_nothing_behind(up, words):
    tree = up(*words)
    pids = tree.pids()
    if "whole" in words:  # the worker has made its own children
        eventually(lambda: members([pids["worker"]]) - {pids["worker"]})

    assert tree.stop(signal.SIGKILL) == -signal.SIGKILL

    eventually(lambda: not members(pids.values()))
    assert running(tree.settings) is None


def test_a_killed_watchdog_is_replaced_and_the_new_one_knows_what_runs(up):
    tree = up()
    before = tree.pids()
    os.kill(before["watchdog"], signal.SIGKILL)
    eventually(lambda: tree.pids()["watchdog"] != before["watchdog"])

    tree.stop(signal.SIGKILL)

    eventually(lambda: not any(lives(pid) for pid in before.values()))


def test_what_a_tree_killed_with_its_watchdog_left_is_ended_by_the_next(up):
    tree = up()
    before = tree.pids()
    os.kill(tree.process.pid, signal.SIGSTOP)  # so that it cannot replace the watchdog
    os.kill(before.pop("watchdog"), signal.SIGKILL)
    tree.stop(signal.SIGKILL)
    assert all(lives(pid) for pid in before.values())

    tree = up()

    after = tree.pids()
    assert not any(lives(pid) for pid in before.values())
    assert all(lives(pid) for pid in after.values())


def test_every_killed_child_comes_back_and_the_others_stay(up):
    tree = up("real")
    for name in ("broker", "catcher", "worker", "beat"):
        before = tree.pids()
        os.kill(before[name], signal.SIGKILL)
        eventually(lambda before=before, name=name: tree.pids()[name] != before[name])
        assert {other: pid for other, pid in tree.pids().items() if other != name} == {
            other: pid for other, pid in before.items() if other != name
        }
        assert tree.state().children[name].restarts == 1
    eventually(lambda: broker.answers(tree.settings.broker_socket))
    assert "broker was ended by SIGKILL - starting it again in 1 s" in tree.said.read_text()


def test_mail_waits_for_a_catcher_that_is_being_restarted(up):
    tree = up("real")
    port = int(tree.state().catcher_url.rpartition(":")[2])
    os.kill(tree.pids()["catcher"], signal.SIGKILL)

    with smtplib.SMTP("127.0.0.1", port, timeout=60) as client:
        client.sendmail("reports@example.com", ["ann@example.com"], b"Subject: Flights\r\n\r\nAll on time.\r\n")

    (message,) = (tree.home / "var" / "outbox").glob("*.eml")
    assert "-ann@example.com-" in message.name
    assert message.read_bytes().endswith(b"All on time.\r\n")


def test_a_child_that_keeps_dying_is_reported_with_the_end_of_its_log(up):
    tree = up("dying")

    eventually(lambda: "5 times now" in tree.said.read_text())

    said = tree.said.read_text()
    assert "worker ended with exit code 1" in said
    assert "    no such module: nonsense" in said


def test_a_second_tree_is_refused_with_the_process_that_runs_the_first(up):
    tree = up()
    tree.state()

    second = up()

    assert second.process.wait(timeout=60) == 1
    assert f"`pipeline up` runs here already (process {tree.process.pid}, since " in tree.said.read_text()
    assert len(tree.pids()) == 4


@pytest.mark.parametrize("name", ["deep/" * 30 + "home", "a home with 'spaces'"], ids=["long", "spaces"])
def test_the_broker_has_a_socket_wherever_the_home_is(up, tmp_path, name):
    home = tmp_path / name
    home.mkdir(parents=True)

    tree = up("real", home=home)

    assert tree.pids()
    eventually(lambda: broker.answers(tree.settings.broker_socket))
    assert tree.stop() == 0
    assert not tree.settings.broker_socket.exists()


def test_a_broker_whose_files_a_kill_cut_short_starts_with_what_is_whole(up):
    tree = up("real")
    tree.state()
    with Redis(unix_socket_path=str(tree.settings.broker_socket)) as client:
        for number in range(10):
            client.rpush("queue", f"message-{number}")
    tree.stop()
    (log,) = (tree.home / "var" / "broker" / "appendonlydir").glob("*.incr.aof")
    os.truncate(log, log.stat().st_size - 5)

    tree = up("real")

    assert tree.state()
    with Redis(unix_socket_path=str(tree.settings.broker_socket)) as client:
        assert client.llen("queue") == 9


def ping(home):
    """What `celery inspect ping` hears: each process's name and its answer."""
    command = [sys.executable, "-m", "celery", "--app", "pipeline", "inspect", "ping", "--json", "--timeout", "2"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=home)
    return json.loads(said.stdout) if said.returncode == 0 else {}


def test_the_whole_tree_works_survives_its_broker_and_stops(up):
    tree = up("whole")
    pids = tree.pids()
    eventually(lambda: any(name.startswith("embedded-") for name in ping(tree.home)), 60)
    eventually(lambda: doctor_says(tree.home) == {"broker": "ok", "database": "ok", "mail catcher": "ok"})

    os.kill(pids["broker"], signal.SIGKILL)
    eventually(lambda: tree.pids()["broker"] != pids["broker"])
    eventually(lambda: any(name.startswith("embedded-") for name in ping(tree.home)), 60)

    pids.update(tree.pids())
    assert tree.stop() == 0
    nothing_is_left(pids)
    assert "killed" not in tree.said.read_text().replace("was ended by SIGKILL", "")


def doctor_says(home):
    checks = {check.name: check for check in doctor.examine(Settings(home=home))}
    return {name: str(checks[name].verdict) for name in ("broker", "database", "mail catcher")}
