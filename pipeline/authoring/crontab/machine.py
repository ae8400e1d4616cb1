"""What cron knows of the machine that it runs on, and a crontab does not say."""

from __future__ import annotations

import os
import pwd
from contextlib import suppress
from pathlib import Path

from pipeline.authoring.crontab.importing import Here
from pipeline.timing import find_zone


def here() -> Here:
    """This machine's time zone, and its users' homes."""
    return Here(_zone(), _home)


def _home(user: str | None) -> str | None:
    if user is None:
        return str(Path.home())
    try:
        return pwd.getpwnam(user).pw_dir
    except KeyError:
        return None


def _zone() -> str | None:
    """The IANA name, from where Debian, Red Hat, macOS or TZ say it."""
    named = [os.environ.get("TZ", "").lstrip(":")]
    with suppress(OSError):
        named.append(Path("/etc/timezone").read_text(encoding="utf-8").strip())
    with suppress(OSError):
        named.append(str(Path("/etc/localtime").resolve()).rpartition("/zoneinfo/")[2])
    for name in filter(None, named):
        with suppress(ValueError):
            return find_zone(name).key
    return None
