"""Signed tokens for links that work without signing in: what each allows, until when, and nothing about anybody."""

from __future__ import annotations

import base64
import hashlib
import hmac
from binascii import Error as NotBase64
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum

from pipeline.errors import Refused

# Bytes of a token beside its body: the second at which it ends (0: never), and the signature, cut to 128 bits.
END, MAC = 4, 16


class Purpose(StrEnum):
    """What a token is for: one for a document opens no other door."""

    UNSUBSCRIBE = "unsubscribe"
    DOCUMENT = "document"
    FILE = "file"
    LOGIN = "login"
    FORM = "form"


def issue(keys: Sequence[bytes], purpose: Purpose, body: bytes, expires: datetime | None = None) -> str:
    """A token for `body` (ids as bytes) that ends at `expires` (aware); the same arguments, the same token."""
    signed = (int(expires.timestamp()) if expires else 0).to_bytes(END, "big") + body
    return _written(signed + _mac(keys[0], purpose, signed))


def read(keys: Sequence[bytes], purpose: Purpose, token: str, now: datetime) -> bytes:
    """The body of a token that one of `keys` signed for `purpose`. Raises Refused, saying whether it has ended."""
    try:
        whole = base64.b64decode(token.encode("ascii") + b"=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (NotBase64, UnicodeEncodeError):
        whole = b""
    if _written(whole) != token:  # base64 may be written in several ways; a token is written in one
        whole = b""
    signed, mac = whole[:-MAC], whole[-MAC:]
    known = [hmac.compare_digest(mac, _mac(key, purpose, signed)) for key in keys]
    if len(signed) < END or not any(known):
        raise Refused("this link is not one of ours, or not whole: copy all of it from the message")
    end = int.from_bytes(signed[:END], "big")
    if end and now.timestamp() >= end:
        raise Refused(
            f"this link ended on {datetime.fromtimestamp(end, UTC):%Y-%m-%d %H:%M} UTC: ask for the report again"
        )
    return signed[END:]


def _written(whole: bytes) -> str:
    return base64.urlsafe_b64encode(whole).rstrip(b"=").decode()


def _mac(key: bytes, purpose: Purpose, signed: bytes) -> bytes:
    return hmac.digest(key, f"pipeline {purpose}\0".encode() + signed, hashlib.sha256)[:MAC]
