"""Types commands for the tests: an interpreter that has loaded the command line, and is forked for each command.

To load it takes half a second of a processor, for hundreds of commands. That `pipeline` starts as a program of its own
is seen in test_cli_up.py, and what it loads in tests/unit/cli/test_start.py.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from pipeline.cli import application, main

# Seconds that a command may take.
PATIENCE = 60
ROOT = str(Path(__file__).parents[2])
START = f"import sys; sys.path.insert(1, {ROOT!r}); from tests.functional import typist; typist.work()"


class Typist:
    """A process in the folder `home`, with this environment."""

    def __init__(self, home: Path, environment: Mapping[str, str]) -> None:
        from tests.postgresql import die_with_parent

        self.environment = dict(environment)
        self._turn = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", START],
            cwd=home,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=die_with_parent,  # noqa: PLW1509 - it takes no lock
        )

    def type(self, words: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Carry out `pipeline` with these words."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._turn:
            self._process.stdin.write(json.dumps(words) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        return subprocess.CompletedProcess(["pipeline", *words], **json.loads(answer))

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()


def _carry_out(words: list[str]) -> dict[str, Any]:
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if child == 0:
            with Path(os.devnull).open() as nothing:
                for number, file in enumerate((nothing, out, err)):
                    os.dup2(file.fileno(), number)
            os._exit(_typed(words))
        _, status = os.waitpid(child, 0)
        said = [file.seek(0) or file.read().decode() for file in (out, err)]
        return {"returncode": os.waitstatus_to_exitcode(status), "stdout": said[0], "stderr": said[1]}


def _typed(words: list[str]) -> int:
    """In the child: the command line, as its entry point calls it; the exit code."""
    signal.alarm(PATIENCE)
    sys.argv = ["pipeline", *words]
    code = 0
    try:
        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(bool(end.code))
    except BaseException:  # noqa: BLE001 - as the interpreter does
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def work() -> None:
    """Load what most commands do, and carry out one after the other."""
    for name in ("alembic.command", "rich.table", "pipeline.services.answers", "pipeline.tasks"):
        import_module(name)
    application()
    gc.freeze()
    for line in sys.stdin:
        sys.stdout.write(json.dumps(_carry_out(json.loads(line))) + "\n")
        sys.stdout.flush()
