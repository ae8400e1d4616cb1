"""Secrets of this home: what links are signed with, and Flower's password; each set, or made on first use."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from pipeline.settings import Settings


def secret_keys(settings: Settings) -> list[bytes]:
    """The first signs, all are believed."""
    if settings.secret_key:
        return [part.strip().encode() for part in settings.secret_key.split(",")]
    return [_own_key(settings.var / "secret.key")]


def flower_password(settings: Settings) -> Path:
    """The file that holds the password of Flower's user `pipeline` where PIPELINE_FLOWER_AUTH names none."""
    path = settings.var / "flower.password"
    _own_key(path)
    return path


@lru_cache(maxsize=4)
def _own_key(path: Path) -> bytes:
    """What the file holds; whoever comes first writes it, whole, and for nobody else to read."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(32) + "\n")
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(temporary, path)
        temporary.unlink()
    return path.read_bytes().strip()
