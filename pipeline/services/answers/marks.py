"""Where the next page of a list begins: a mark that is handed out, and handed in again (keyset paging)."""

from __future__ import annotations

import base64
import json
from binascii import Error as NotBase64
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from pipeline.errors import Refused

# Of a database's integer.
LARGEST = 2**31 - 1


def mark(*values: datetime | UUID | str | int) -> str:
    """The mark of the row whose sort keys are `values`: the next page begins behind it, whatever is added meanwhile."""
    said = [value.isoformat() if isinstance(value, datetime) else value for value in values]
    return base64.urlsafe_b64encode(json.dumps(said, default=str).encode()).rstrip(b"=").decode()


def place(text: str, *kinds: type) -> Sequence[Any]:
    """The sort keys that `mark` was made of. Raises Refused for a text that is no mark of such a list."""
    try:
        said = json.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
        return [_value(value, kind) for value, kind in zip(said, kinds, strict=True)]
    except (NotBase64, ValueError, TypeError, OverflowError, RecursionError):
        raise wrong() from None


def wrong() -> Refused:
    """What is said of a mark of another list, or of one that was cut off."""
    return Refused("this is no mark of this list: take the one that came with the page before", field="after")


def _value(value: int | str, kind: type) -> Any:
    if isinstance(value, str) and kind is datetime:
        return datetime.fromisoformat(value).astimezone(UTC)
    if isinstance(value, str) and kind is UUID:
        return UUID(value)
    if type(value) is not kind or (isinstance(value, int) and abs(value) > LARGEST):
        raise TypeError(value)
    return value
