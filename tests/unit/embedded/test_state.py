import os
import subprocess

import pytest

from pipeline.cli import triggering
from pipeline.doctor import reach
from pipeline.embedded import state
from pipeline.embedded.state import ChildState, State, TreeLock
from pipeline.errors import Refused
from pipeline.settings import settings


def test_a_state_comes_back_as_it_was_written(tmp_path):
    path = tmp_path / "tree.json"
    written = State.mine()
    written.children["beat"] = ChildState(12, "345", state.now(), 1)

    written.write(path)

    assert state.read(path) == written
    assert [file.name for file in tmp_path.iterdir()] == ["tree.json"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', '{"children": {"beat": {"name": "another version"}}}'])
def test_a_file_that_is_no_state_counts_as_none(tmp_path, text):
    path = tmp_path / "tree.json"
    path.write_text(text)

    assert state.read(path) is None
    assert state.read(tmp_path / "missing.json") is None


def test_one_tree_a_home_and_the_second_hears_of_the_first(tmp_path):
    first, second = TreeLock(tmp_path), TreeLock(tmp_path)
    first.take()
    State.mine().write(first.state_path)

    with pytest.raises(Refused, match=rf"process {os.getpid()}, since 20.*Ctrl-C.*`kill {os.getpid()}`"):
        second.take()

    first.release()
    second.take()
    second.release()


def test_a_tree_is_found_once_it_runs(tmp_path):
    lock, mine = TreeLock(tmp_path), State.mine()
    assert state.running(tmp_path / "no such folder") is None
    assert state.running(tmp_path) is None
    lock.take()
    mine.write(lock.state_path)
    assert state.running(tmp_path, patience=0) is None

    mine.status = "running"
    mine.write(lock.state_path)

    assert state.running(tmp_path) == mine
    lock.release()
    assert state.running(tmp_path) is None


def test_mail_goes_as_it_did_when_the_tree_started_whatever_the_settings_say_now(home):
    assert state.mail_mode(settings()) == "catch"
    lock, mine = TreeLock(settings().var / "run"), State.mine()
    lock.take()
    mine.status, mine.mail = "running", "live"
    mine.write(lock.state_path)

    assert state.mail_mode(settings()) == "live"
    assert triggering.mail(settings()) == (
        "handed over for real (PIPELINE_MAIL=live until `pipeline up` is restarted, then catch)"
    )
    found = reach.mail_mode(settings())
    assert (found.verdict, "was started with live" in found.found) == ("warning", True)
    lock.release()


def test_the_state_that_a_killed_tree_left_is_not_taken_for_the_new_ones(tmp_path):
    lock, old = TreeLock(tmp_path), State.mine()
    lock.take()
    old.status, old.birth = "running", "of a process long gone"
    old.write(lock.state_path)

    assert state.running(tmp_path, patience=0.2) is None
    lock.release()


def test_a_process_number_that_was_given_anew_is_another_process():
    assert state.birth(os.getpid()) == state.birth(os.getpid())
    with subprocess.Popen(["sleep", "60"]) as later:
        assert state.birth(os.getpid()) != state.birth(later.pid)
        later.kill()
    assert state.birth(2**22 + 1) is None
