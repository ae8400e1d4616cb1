"""Stored files over HTTP: whole or in part (RFC 9110, ranges), unchanged ones not at all, as files to save."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from pipeline.adapters import storage
from pipeline.api.problems import problem
from pipeline.errors import NotFound, PermanentError
from pipeline.services.links import SharedFile

CHUNK = 256 * 1024


def download(request: Request, file: SharedFile) -> Response:
    """The file, or the one range of it that is asked for. Raises NotFound when the store does not have it.

    Always to be saved: shown in place, its HTML would be a page of ours.
    """
    tag = f'"{file.sha256}"'
    headers = {
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-store",
        "Content-Disposition": f"attachment; filename*=utf-8''{quote(file.name, safe='')}",
        "ETag": tag,
    }
    if _matches(request.headers.get("If-None-Match"), tag):
        return Response(status_code=304, headers=headers)
    start, end = 0, file.size
    part = _range(request.headers.get("Range"), file.size) if _is_same(request, tag) else None
    if part is not None:
        start, end = part
        if start >= end:
            whole = {"Content-Range": f"bytes */{file.size}"}
            return problem(416, f"the file has {file.size:,} bytes: there is nothing in that range", headers=whole)
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{file.size}"
    headers["Content-Length"] = str(end - start)
    status = 200 if part is None else 206
    if request.method == "HEAD":
        return Response(status_code=status, media_type=file.media_type, headers=headers)
    try:
        stored = storage.store().open_inside(file.uri)
    except PermanentError as missing:
        raise NotFound(str(missing)) from None
    return StreamingResponse(_bytes(stored, start, end), status, media_type=file.media_type, headers=headers)


def _bytes(stored: BinaryIO, start: int, end: int) -> Iterator[bytes]:
    with stored:
        stored.seek(start)
        left = end - start
        while left:
            data = stored.read(min(CHUNK, left))
            if not data:
                return  # shorter than its row says: the connection ends early, and the client notices
            left -= len(data)
            yield data


def _matches(said: str | None, tag: str) -> bool:
    said = (said or "").strip()
    return said == "*" or tag in [one.strip().removeprefix("W/") for one in said.split(",")]


def _is_same(request: Request, tag: str) -> bool:
    """Whether a part belongs to what the client has of it already; a date says too little."""
    return request.headers.get("If-Range", tag).strip() == tag


def _range(said: str | None, size: int) -> tuple[int, int] | None:
    """The range `bytes=0-99`, `bytes=100-` or `bytes=-100` (the last ones), half-open; None for the whole file.

    Several at once, and what is no range, are answered with the whole: RFC 9110 allows that.
    """
    found = re.fullmatch(r"bytes=([0-9]{0,18})-([0-9]{0,18})", (said or "").replace(" ", ""))
    if found is None or found.group(0) == "bytes=-":
        return None
    first, last = found.groups()
    if not first:
        return max(0, size - int(last)), size
    if last and int(last) < int(first):
        return None
    return int(first), min(int(last) + 1, size) if last else size
