"""What stands for an address where the address itself must not stand: a keyed hash that nobody can guess back."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

# Nobody's address: there is no @ in it.
PREFIX = "forgotten:"


def of(keys: Sequence[bytes], address: str) -> str:
    """The address's fingerprint under the first of `keys`: `forgotten:` and 40 hexadecimal digits.

    The same for every way of writing its letters' case: who is forgotten is not mailed as Anna@ either.
    """
    return every(keys[:1], address)[0]


def every(keys: Sequence[bytes], address: str) -> list[str]:
    """The address's fingerprint under each key: one that was made with an older key is found as well."""
    folded = b"pipeline address\0" + address.casefold().encode()
    return [PREFIX + hmac.digest(key, folded, hashlib.sha256)[:20].hex() for key in keys]
