"""Programs under their keeper: how each end is told, what is kept of an output, and that nothing is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline.adapters import programs
from pipeline.errors import PermanentError, StaleClaim


def run(*words, folder=Path("/"), limit=30.0, look=lambda _: None, grace=0.3, **environment):
    return programs.run(
        words, folder=folder, environment={**os.environ, **environment}, limit=limit, look=look, grace=grace
    )


def shell(text, **values):
    return run("/bin/sh", "-c", text, **values)


def lives(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gone(found):
    """Whether none of the processes lives: one that was sent SIGKILL may take a moment to die."""
    deadline = time.monotonic() + 60
    while any(map(lives, found)) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not any(map(lives, found))


def pids(file):
    """The processes that a shell has noted there, as soon as it has."""
    deadline = time.monotonic() + 60
    while not has_noted(file):
        assert time.monotonic() < deadline, f"{file} was not written"
        time.sleep(0.01)
    return [int(word) for word in file.read_text().split()]


def has_noted(file):
    return file.exists() and file.read_text().endswith("\n")


# ---- how it ended


@pytest.mark.parametrize(
    ("text", "words", "output"),
    [
        ("echo out; echo err >&2", "exit 0", "out\nerr\n"),
        ("exit 75", "exit 75", ""),
        ("kill -SEGV $$", "was ended by SIGSEGV", ""),
        ("kill -64 $$", "was ended by SIGRTMAX", ""),
        ("exec >&- 2>&-; sleep 0.2; exit 4", "exit 4", ""),
        ("cat; echo $DAY", "exit 0", "2026-11-16\n"),
    ],
)
def test_an_end_is_told(text, words, output):
    ended = shell(text, DAY="2026-11-16")
    assert (ended.words, ended.output.text, ended.too_long) == (words, output, False)


def test_it_starts_in_its_folder(tmp_path):
    (tmp_path / "here.sh").write_text("#!/bin/sh\npwd\n")
    (tmp_path / "here.sh").chmod(0o755)
    assert run("./here.sh", folder=tmp_path).output.text == f"{tmp_path}\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["/no/such"], "/no/such cannot be started: No such file or directory"),
        (["/etc/passwd"], "/etc/passwd cannot be started: Permission denied"),
        (["echo", "a\0b"], "echo cannot be started: embedded null byte"),
        (["echo", "x" * 3_000_000], "echo cannot be started in /: Argument list too long"),
    ],
)
def test_what_cannot_be_started_is_named(words, said):
    with pytest.raises(PermanentError) as refused:
        run(*words)
    assert str(refused.value) == said


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(PermanentError, match=r"true cannot be started in .*/nowhere: No such file or directory"):
        run("true", folder=tmp_path / "nowhere")


# ---- its output


def test_of_a_long_output_both_ends_are_kept():
    code = "print('first'); print('x' * 1_000_000); print('last')"
    output = run(sys.executable, "-c", code).output
    text = output.text
    assert (output.size, output.last_line) == (1_000_012, "last")
    assert text.startswith("first\nxxx")
    assert "xxx\n[… 934,476 bytes are left out …]\nxxx" in text
    assert len(text) < 70_000


def test_what_is_no_text_is_made_one():
    output = shell(r"""printf 'gr\374n \033[31mred\033[0m \033]0;title\007 a\000b\r\nnext\tone\b'""").output
    assert output.text == "gr\N{REPLACEMENT CHARACTER}n red  ab\nnext\tone"


def test_a_program_in_the_background_is_not_waited_for(tmp_path):
    began = time.monotonic()
    ended = shell(f"sleep 60 & echo $! > {tmp_path}/pid; echo done")
    (left,) = pids(tmp_path / "pid")
    try:
        assert (ended.words, ended.output.text, lives(left)) == ("exit 0", "done\n", True)
        assert time.monotonic() - began < 30
    finally:
        os.kill(left, signal.SIGKILL)


# ---- its end by force


@pytest.fixture
def limit(tmp_path, monkeypatch):
    """Is over once a shell has noted its processes, and not before."""
    passed = lambda: time.monotonic() + 3600 * has_noted(tmp_path / "pid")  # noqa: E731
    monkeypatch.setattr(programs, "time", SimpleNamespace(monotonic=passed))
    monkeypatch.setattr(programs, "LOOK", 0.05)
    return 3000


def test_past_its_limit_the_whole_group_is_asked_to_end(tmp_path, limit):
    polite = f'trap "echo bye; exit 3" TERM; sleep 60 & echo $! > {tmp_path}/pid; wait'
    ended = run("/bin/sh", "-c", polite, limit=limit, grace=60)
    assert (ended.too_long, ended.words, ended.output.text) == (True, "exit 3", "bye\n")
    assert gone(pids(tmp_path / "pid"))


def test_what_does_not_listen_is_killed(tmp_path, limit):
    deaf = f"trap '' TERM; sleep 60 & echo $! > {tmp_path}/pid; wait"
    ended = shell(deaf, limit=limit)
    assert (ended.too_long, ended.words) == (True, "was ended by SIGKILL")
    assert gone(pids(tmp_path / "pid"))


def test_a_safe_point_that_says_no_ends_it(tmp_path):
    def look(output):
        if "begun" in output.text:
            raise StaleClaim("taken over")

    with pytest.raises(StaleClaim):
        shell(f"sleep 60 & echo $! $$ > {tmp_path}/pid; echo begun; wait", look=look)
    assert gone(pids(tmp_path / "pid"))


def test_its_keeper_killed_it_goes_too(tmp_path):
    ended = shell(f"sleep 60 & echo $! > {tmp_path}/pid; kill -9 $PPID; wait")
    assert ended.words == "was ended by SIGKILL"
    assert gone(pids(tmp_path / "pid"))


def test_nobody_outlives_a_worker_that_is_killed(tmp_path):
    code = f"""
        from pathlib import Path
        from pipeline.adapters import programs
        words = ["/bin/sh", "-c", "sleep 60 & echo $! $$ > {tmp_path}/pid; wait"]
        programs.run(words, folder=Path("/"), environment={{}}, limit=60, look=lambda output: None)
    """
    worker = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], start_new_session=True)
    begun = pids(tmp_path / "pid")
    os.killpg(worker.pid, signal.SIGKILL)
    worker.wait()
    assert gone(begun)
