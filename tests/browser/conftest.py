"""A pipeline as `pipeline up` starts it, with mail servers that misbehave on demand, and one real browser."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.ports import free_port
from tests.smtp_server import ScriptedServer

ROOT = Path(__file__).parent.parent.parent
PIPELINE = str(Path(sys.executable).with_name("pipeline"))
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
# Nothing of it calls home, and root may run it.
QUIET = "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync"
# One mailbox that refuses the first message and takes the next, one that takes all.
PARCELS = """
description: Late arrivals of the week, to two people.
report:
  title: Late arrivals
  period: 2013-W37
  database: flights
  sql: select carrier, count(*) as flights from flights where carrier in ('UA', 'B6') group by carrier
  formats: [csv]
  params: {minutes: 15}
when: "0 7 * * mon"
recipients: [ok+anna@example.org, 553x1+bob@example.org]
message: {unsubscribe: true}
"""
ASKING = PARCELS.replace("553x1+bob", "ok+carla").replace("Late arrivals", "Prices").replace("minutes: 15", "top: 3")
SCHEDULES = {
    "late_arrivals": PARCELS,
    "prices": ASKING + "approval: required\n",
    # Goes wrong on the 13th.
    "night_totals": """command: [sh, -c, 'test "${1#*-*-}" != 13', totals, "{due_date}"]\nwhen: "30 2 * * *"\n""",
    "stock_levels": "command: ['true']\nwhen: '45 * * * *'\n",
    "long_import": "command: [sleep, '300']\ndescription: Takes its time.\n",
}


@dataclass
class Site:
    """The home, where its console is, and the mail server's memory."""

    home: Path
    url: str
    link: str
    smtp: ScriptedServer
    environment: dict[str, str]

    def typed(self, *words: str, answer: str = "") -> str:
        """What a command says; it has to succeed."""
        done = subprocess.run(
            [PIPELINE, *words],
            env=self.environment,
            input=answer,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return done.stdout.strip()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--pictures", action="store_true", help="write the pictures of docs/images anew")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    home = tmp_path_factory.mktemp("site") / "home"
    for part in ("schedules", "reports", "templates", "examples/nycflights13"):
        shutil.copytree(ROOT / part, home / part)
    for name, text in SCHEDULES.items():
        (home / "schedules" / f"{name}.yaml").write_text(text)
    smtp = ScriptedServer(home / "smtp.log").start()
    smtp.texts["553"] = "5.7.1 Messages of this kind are not taken before noon"
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIPELINE_")}
    environment |= {
        "PIPELINE_HOME": str(home), "PIPELINE_WEB_PORT": str(port), "PIPELINE_PUBLIC_URL": url, "COLUMNS": "200",
        "PIPELINE_MAIL": "live", "PIPELINE_SMTP_URL": smtp.url, "PIPELINE_MAIL_FROM": "Reports <reports@example.net>",
        "PIPELINE_CONCURRENCY": "2", "PYTHONUNBUFFERED": "1",
    }  # fmt: skip
    with (home / "up.log").open("w") as log:
        up = subprocess.Popen([PIPELINE, "up"], env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        yield Site(home, url, _link(up, home / "up.log"), smtp, environment)
    finally:
        up.send_signal(signal.SIGINT)
        up.wait(120)
        smtp.stop()


def _link(up: subprocess.Popen[bytes], log: Path) -> str:
    """The link that logs in once, as it is printed."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and up.poll() is None:
        found = [word for word in log.read_text().split() if "/login/" in word]
        if found and "Next:" in log.read_text():
            return found[0]
        time.sleep(0.1)
    raise AssertionError(log.read_text())


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium: apt-get install --no-install-recommends chromium")
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET.split())
        yield found
        found.close()
