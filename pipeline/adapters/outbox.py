"""The outbox: what would leave this machine for a webhook or a store elsewhere, in files, while mail is not live."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

from pipeline.adapters.copies import safe_name
from pipeline.adapters.folders import Directory
from pipeline.settings import settings


def keep(data: bytes | Path, delivery: str, at: datetime, where: str, ending: str) -> str:
    """Keep what `delivery`, made at the UTC instant `at`, would send to the URL; the same one again is the same file.

    Returns the file's name; names sort by the time.
    """
    host = safe_name(urlsplit(where).hostname or where)
    name = f"{at:%Y%m%dT%H%M%SZ}-{host}-{delivery}.{ending}"
    Directory(settings().var / "outbox").write(name, data, replace=True)
    return name
