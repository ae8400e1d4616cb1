"""Runs an embedded tree whose worker and beat are stubs that write down when they start and stop.

Arguments: the home, then any of `real` (with the bundled broker and the mail catcher), `stuck` (a worker that does not
stop, `stuck-briefly` with little grace), `dying` (a worker that dies at once), `whole` (no stubs at all, and grace for
all), `restarting` (worker and beat are started again, once).
"""

import sys
import time
from dataclasses import replace
from pathlib import Path

from pipeline.embedded import Parts, Tree
from pipeline.embedded.child import Child
from pipeline.embedded.parts import parts
from pipeline.embedded.supervisor import Backoff
from pipeline.errors import PipelineError
from pipeline.settings import Settings

STUB = """
import signal, sys, time
name, diary, stuck = sys.argv[1], sys.argv[2], sys.argv[3].startswith("stuck")
def write(what):
    with open(diary, "a") as file:
        file.write(f"{name} {what}\\n")
def stop(*_):
    write("asked to stop")
    if not stuck:
        sys.exit(0)
signal.signal(signal.SIGTERM, stop)
signal.signal(signal.SIGINT, lambda *_: write("got the terminal's SIGINT"))
write("started")
while True:
    time.sleep(0.01)
"""


def stub(name, home, behaviour):
    command = [sys.executable, "-c", STUB, name, str(home / "diary.txt"), behaviour]
    if behaviour == "dying":
        command = [sys.executable, "-c", "raise SystemExit('no such module: nonsense')"]
    return Child(name, command, grace=1 if behaviour == "stuck-briefly" else 300)


def patient(children):
    return [replace(child, grace=300) for child in children]


def made_of(settings, words):
    if "whole" in words:
        found = parts(settings)
        return replace(found, servers=patient(found.servers), processes=patient(found.processes))
    worker = next((word for word in words if word in {"stuck", "stuck-briefly", "dying"}), "")
    found = parts(settings) if "real" in words else Parts(servers=[stub("broker", settings.home, "")])
    stubs = [stub("worker", settings.home, worker), stub("beat", settings.home, "")]
    return replace(found, migrate=lambda: None, processes=stubs)


def main(home, *words):
    if "dying" in words:
        Backoff.FIRST, Backoff.CEILING = 0.05, 0.1
    settings = Settings(home=Path(home))
    with Tree(settings, made_of=lambda found: made_of(found, words)) as tree:
        if "restarting" in words:
            diary = settings.home / "diary.txt"
            while len(diary.read_text().splitlines() if diary.exists() else []) < 3:
                time.sleep(0.01)
            tree.restart(["worker", "beat"])
        tree.wait()


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except KeyboardInterrupt:
        pass  # asked to stop while it still started: what `pipeline up` takes for a word as good as any
    except PipelineError as error:
        sys.exit(str(error))
