"""Who gets a new report, from one line that a person typed."""

from __future__ import annotations

import re
from typing import Any

from pipeline.adapters import messages
from pipeline.errors import Refused


def read(text: str, *, split_by: str | None, database: str | None) -> Any:
    """The `recipients` of a schedule file from addresses, KEY=ADDRESS pairs, a query or a file; None for nobody.

    Raises Refused or PermanentError naming what cannot be meant.
    """
    text = text.strip()
    if not text:
        return None
    if re.match(r"(?i)(select|with)\s", text):
        return _query(text, split_by, database)
    if re.search(r"\.(csv|parquet|json)$", text) and "@" not in text:
        return {"file": text}
    people = [_person(one.strip(), split_by) for one in re.split(r"[,;]", text) if one.strip()]
    return people if split_by else [one["email"] for one in people]


def _query(text: str, split_by: str | None, database: str | None) -> dict[str, str]:
    if not database:
        raise Refused("a query needs a database: name it with --recipients-database")
    wanted = ["email", *(["key"] if split_by else [])]
    missing = [name for name in wanted if not re.search(rf"\b{name}\b|\*", text, re.IGNORECASE)]
    if missing:
        raise Refused(f"the query must give {' and '.join(wanted)}: name the column with `as {missing[0]}`")
    return {"database": database, "query": text}


def _person(text: str, split_by: str | None) -> dict[str, str]:
    key, equals, address = (part.strip() for part in text.rpartition("="))
    if split_by and not equals:
        raise Refused(
            f"{text}: whose document? There is one for each {split_by}: write KEY={text}, "
            "or a query that gives key and email"
        )
    if equals and not split_by:
        raise Refused(f"{text}: a key has no meaning, as the report is not split: write {address} alone")
    email = messages.valid_address(address)
    return {"key": key, "email": email} if split_by else {"email": email}
