"""Passwords as argon2 hashes (RFC 9106): what is kept of one tells nobody what it was."""

from __future__ import annotations

import threading
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argon2 import PasswordHasher

# A hash takes 64 MB for a moment: so many at once, however many people (or machines) knock.
_turn = threading.BoundedSemaphore(2)


@cache
def _hasher() -> PasswordHasher:
    from argon2 import PasswordHasher

    return PasswordHasher()


@cache
def _nobodys() -> str:
    return hashed("")


def hashed(password: str) -> str:
    """What is kept of the password: the hash with its salt and costs."""
    with _turn:
        return _hasher().hash(password)


def is_right(password: str, kept: str | None) -> bool:
    """Whether it is the password that `kept` was made of; for None, somebody unknown, a look takes as long."""
    from argon2.exceptions import InvalidHashError, VerificationError

    against = kept or _nobodys()
    try:
        with _turn:
            return _hasher().verify(against, password) and kept is not None
    except (VerificationError, InvalidHashError):
        return False
