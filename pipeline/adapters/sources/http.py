"""HTTP(S) sources: one GET, streamed to disk under a cap and a time-out."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import __version__
from pipeline.adapters.http_answers import TRANSIENT, retry_after
from pipeline.adapters.sources.files import Format, Limits, save
from pipeline.errors import PermanentError, TransientError

if TYPE_CHECKING:
    import httpx

# Seconds to wait for a connection.
_CONNECT = 15.0
_REDIRECTS = 5
_TYPES: dict[str, Format] = {
    "application/json": "json",
    "application/jsonl": "jsonl",
    "application/x-jsonlines": "jsonl",
    "application/x-ndjson": "jsonl",
    "application/ndjson": "jsonl",
    "application/csv": "csv",
    "text/csv": "csv",
    "text/tab-separated-values": "csv",
    "application/vnd.apache.parquet": "parquet",
}
_PIECE = 256 * 1024


def download(url: str, target: Path, limits: Limits, *, place: str, headers: Mapping[str, str]) -> Format | None:
    """Write the answer's body into `target`, and tell its format by Content-Type (None: that says nothing).

    The limits are for the whole answer, once it is decompressed. Redirects are followed within the same scheme and
    host. Raises TransientError for 408, 425, 429, 5xx (with `retry_after` where the server asks for it), connection
    errors and time-outs; PermanentError for other refusals and for an answer that is too large.
    """
    import httpx

    patience = httpx.Timeout(limits.timeout, connect=min(_CONNECT, limits.timeout))
    agent = {"User-Agent": f"report-pipeline/{__version__}", "Accept-Encoding": "gzip"}
    try:
        with httpx.Client(timeout=patience, headers={**agent, **headers}, follow_redirects=False) as client:
            for _ in range(_REDIRECTS + 1):
                with client.stream("GET", url) as response:
                    if response.has_redirect_location:
                        url = _redirected(response, place)
                        continue
                    _check(response, place, limits.max_bytes)
                    with target.open("wb") as file:
                        save(_body(response, place), file, limits, place=place)
                    return _format(response)
    except (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.LocalProtocolError, UnicodeEncodeError) as error:
        # Not the error itself: it may quote a header.
        raise PermanentError(f"{place}: the address or a header cannot be sent ({type(error).__name__})") from None
    except httpx.TimeoutException as error:
        raise TransientError(f"{place}: no answer within {limits.timeout:g} s ({type(error).__name__})") from error
    except httpx.TransportError as error:
        raise TransientError(f"{place}: {error or type(error).__name__}") from error
    raise PermanentError(f"{place}: redirects more than {_REDIRECTS} times")


def address(url: str) -> str:
    """Give a URL as errors show it: without user, password and query, which may be secrets."""
    return re.split(r"[?#]", re.sub(r"//[^/]*@", "//", url, count=1))[0]


def resolved_headers(headers: Mapping[str, str], environment: Mapping[str, str], place: str) -> dict[str, str]:
    """Put the environment's values in the place of `$NAME` and `${NAME}`; PermanentError names a missing one."""

    def value(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        if name not in environment:
            raise PermanentError(f"{place}: its headers need ${name}: set {name} in the environment")
        return environment[name]

    return {name: re.sub(r"\$(?:(\w+)|\{(\w+)\})", value, text) for name, text in headers.items()}


def _redirected(response: httpx.Response, place: str) -> str:
    onward = response.next_request.url if response.next_request else response.url.join(response.headers["location"])
    if (onward.scheme, onward.netloc) != (response.url.scheme, response.url.netloc):
        raise PermanentError(
            f"{place}: redirects to {address(str(onward))}, another host: name that address if it is the right one"
        )
    return str(onward)


def _check(response: httpx.Response, place: str, max_bytes: int) -> None:
    status = response.status_code
    announced = response.headers.get("content-length", "")
    if response.is_success and announced.isdigit() and int(announced) > max_bytes:
        raise PermanentError(
            f"{place}: announces {int(announced):,} bytes, more than the {max_bytes:,} of PIPELINE_SOURCE_MAX_BYTES"
        )
    if response.is_success:
        return
    if status in TRANSIENT or status >= 500:
        raise TransientError(f"{place}: answered {_status(response)}", retry_after=retry_after(response))
    raise PermanentError(f"{place}: answered {_status(response)}{_beginning(response, place)}")


def _status(response: httpx.Response) -> str:
    return f"{response.status_code} {response.reason_phrase}".strip()


def _beginning(response: httpx.Response, place: str) -> str:
    """Give the first 200 characters of what the server says."""
    said = b""
    for piece in _body(response, place):
        said += piece
        if len(said) >= 1000:
            break
    text = " ".join(said.decode("utf-8", "replace").split())[:200]
    return f": {text}" if text else ""


def _format(response: httpx.Response) -> Format | None:
    media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    return "json" if media_type.endswith("+json") else _TYPES.get(media_type)


def _body(response: httpx.Response, place: str) -> Iterator[bytes]:
    """Yield the body, decompressed in small pieces: httpx would unpack a bomb in one."""
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding in {"identity", ""}:
        yield from response.iter_raw()
        return
    if encoding not in {"gzip", "x-gzip", "deflate"}:
        raise PermanentError(f"{place}: answered in the encoding {encoding}, though only gzip was asked for")
    unpack = zlib.decompressobj(wbits=47)
    try:
        for piece in response.iter_raw():
            yield unpack.decompress(piece, _PIECE)
            while unpack.unconsumed_tail:
                yield unpack.decompress(unpack.unconsumed_tail, _PIECE)
    except zlib.error as error:
        raise TransientError(f"{place}: the answer is damaged: {error}") from error
    if not unpack.eof:
        raise TransientError(f"{place}: the answer is incomplete")
