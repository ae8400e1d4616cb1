"""The HTTP API for Python callers: one file, and nothing but the standard library.

An application installs this package, or copies this file: it imports nothing else of the pipeline.

    from pipeline.client import Conflict, Pipeline

    pipeline = Pipeline("https://reports.example.com", token="rpt_…")
    run = pipeline.trigger("customer_shipments", keys=["ACME"])
    run = pipeline.wait(run.id, timeout=600)
    print(run.status, run.error or run.deliveries)
"""

from __future__ import annotations

import json
import os
import random
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse, IncompleteRead
from pathlib import Path
from typing import Any, NoReturn, TypeVar
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, Request, build_opener

Taken = TypeVar("Taken")
FINAL = frozenset({"succeeded", "partial", "failed", "skipped", "cancelled", "rejected"})
# What only a person can end: waiting for it may take days.
DECISIONS = frozenset({"approval", "blocked"})
# Answers that say "not now": the same request is sent again.
PASSING = frozenset({429, 502, 503, 504})
# Seconds between two looks at a run: quick at first, then at most so slow.
LOOK, SLOWEST_LOOK = 0.3, 5.0
# Seconds that `wait` bears without an answer, once it had one.
AWAY = 300.0


class ClientError(Exception):
    """Base of all that this client raises; its text is a sentence for a person."""


class Unreachable(ClientError):
    """No answer, however often it was asked for: the address is wrong, or the API is away."""


class Problem(ClientError):
    """The API said no (RFC 9457): `status` is HTTP's, `field` the place in the request, `more` all that was said."""

    def __init__(self, status: int, detail: str, more: Mapping[str, Any]) -> None:
        super().__init__(detail)
        self.status, self.detail, self.more = status, detail, dict(more)
        self.field: str | None = more.get("field")


class NotAllowed(Problem):
    """401 and 403: the token is missing, unknown, expired, or does not reach so far."""


class NotThere(Problem):
    """404: no such run, schedule or file; the text names what is near."""


class Conflict(Problem):
    """409: not as things stand. `run` is the id of the run that is in the way, where one is."""

    @property
    def run(self) -> str | None:
        return self.more.get("run")


class Invalid(Problem):
    """400 and 422: the request itself is wrong; `field` says where."""


class TookTooLong(ClientError, TimeoutError):
    """The run goes on, but this caller has waited long enough; `run` is how it stood last."""

    def __init__(self, run: Run, timeout: float) -> None:
        super().__init__(f"run {run.id} is still {run.status} after {timeout:g} s")
        self.run = run


@dataclass(frozen=True)
class Run:
    """How a run stood when it was asked for. Counts are by status, with `total`."""

    id: str
    status: str
    schedule: str | None = None
    # What a run of status `waiting` waits for: data, slot, approval, deferred or blocked.
    waiting_for: str | None = None
    error: str | None = None
    traceback: str | None = None
    documents: Mapping[str, int] = field(default_factory=dict)
    deliveries: Mapping[str, int] = field(default_factory=dict)
    # Only of an answer to `trigger` and `rerun`: false where the same request had been granted before.
    new: bool | None = None
    # All that the API said.
    said: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def is_over(self) -> bool:
        return self.status in FINAL

    @property
    def needs_somebody(self) -> bool:
        """It waits for a person: an approval, or something to be mended."""
        return self.waiting_for in DECISIONS

    @classmethod
    def read(cls, said: Mapping[str, Any]) -> Run:
        known = cls.__dataclass_fields__.keys() - {"said"}
        return cls(**{name: said[name] for name in known if said.get(name) is not None}, said=said)


@dataclass(frozen=True)
class File:
    """One file that a run has stored: `name` is the run's own word for it, `file_name` one to save it under."""

    name: str
    kind: str
    media_type: str
    size: int
    sha256: str
    file_name: str
    key: str | None = None
    pages: int | None = None

    @classmethod
    def read(cls, said: Mapping[str, Any]) -> File:
        return cls(**{name: said[name] for name in cls.__dataclass_fields__ if name in said})


class Pipeline:
    """One installation's API, as the holder of a token sees it. Threads may share it; it keeps no connection."""

    def __init__(
        self, url: str | None = None, token: str | None = None, *, timeout: float = 30.0, attempts: int = 4
    ) -> None:
        """`url` and `token` default to PIPELINE_API_URL and PIPELINE_API_TOKEN.

        `timeout` (seconds) is for one request. A request that gets no answer, or "not now", is sent `attempts` times
        in all, which takes a few seconds longer. Raises ValueError where there is no address, or none of a web server,
        and for what can be no token.
        """
        self.url = (url or os.environ.get("PIPELINE_API_URL", "")).rstrip("/")
        if urlsplit(self.url).scheme not in {"http", "https"}:
            raise ValueError(
                f'"{self.url}" is not an address: give url=, or PIPELINE_API_URL, like http://127.0.0.1:8000'
            )
        # A file that holds it ends with a line's end.
        self._token = (token or os.environ.get("PIPELINE_API_TOKEN", "")).strip()
        if not (self._token.isascii() and self._token.isprintable()):
            raise ValueError("the token has characters that no token has: copy it again, or make a new one")
        self._timeout, self._attempts = timeout, attempts
        self._opener: OpenerDirector = build_opener(_NoRedirects)

    def __repr__(self) -> str:
        return f"Pipeline({self.url!r})"

    def trigger(  # noqa: PLR0913 - a wish's fields
        self,
        schedule: str,
        *,
        params: Mapping[str, Any] | None = None,
        period: str | None = None,
        keys: str | Sequence[str] = (),
        to: str | Sequence[str] = (),
        send: bool = True,
        now: bool = False,
        idempotency_key: str | None = None,
    ) -> Run:
        """Open a run; it is kept when this returns. The fields are those of `POST /api/runs`.

        Each call opens one run, however often it has to be sent. A key of your own (an order's number) does the same
        for several calls: the second is given the first one's run. Raises Conflict while a run is in the way.
        """
        wish: dict[str, Any] = {"schedule": schedule, "params": dict(params or {}), "period": period}
        wish |= {"keys": _listed(keys), "to": _listed(to), "send": send, "now": now}
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        return Run.read(self._json("POST", "/api/runs", wish, headers))

    def status(self, run: str) -> Run:
        """How it stands: an id or its beginning, NAME (its latest run) or NAME@2026-11-16."""
        return Run.read(self._json("GET", _path(run)))

    def wait(self, run: str, *, timeout: float | None = None) -> Run:
        """Return when the run is over, or waits for a person (`needs_somebody`). Raises TookTooLong after `timeout`.

        An API that is away for a while, as when it is deployed, is waited for, up to five minutes.
        """
        began = heard = time.monotonic()
        pause, found = LOOK, None
        while True:
            try:
                found = self.status(run)
                run, heard = found.id, time.monotonic()
            except (Unreachable, Problem) as error:
                passing = isinstance(error, Unreachable) or error.status in PASSING
                if found is None or not passing or time.monotonic() > heard + AWAY:
                    raise
            if found.is_over or found.needs_somebody:
                return found
            left = None if timeout is None else began + timeout - time.monotonic()
            if left is not None and left <= 0:
                raise TookTooLong(found, timeout or 0)
            time.sleep(pause if left is None else min(pause, left))
            pause = min(pause * 1.3, SLOWEST_LOOK)

    def cancel(self, run: str, reason: str | None = None) -> Run:
        """End it: at once, or within seconds (`cancelling`). Raises Conflict for one that has ended otherwise."""
        return Run.read(self._json("POST", _path(run, "cancel"), {"reason": reason}))

    def rerun(self, run: str, **what: Any) -> Run:
        """Do again what failed of a run that has ended; `what` are the fields of `POST /api/runs/ID/rerun`.

        `rerun(id, failed_deliveries=True)`, `rerun(id, all=True, reason="new data")`; `from` is written `from_`.
        Sent twice because an answer was lost, it is still one.
        """
        asked = {name.rstrip("_"): value for name, value in what.items()}
        if "generation" not in asked:
            seen = self.status(run)
            run, asked["generation"] = seen.id, seen.said.get("generation")
        return Run.read(self._json("POST", _path(run, "rerun"), asked))

    def files(self, run: str, *, key: str | None = None, kind: str = "document") -> Iterator[File]:
        """What the run has made: documents, those of `key` only if you like; `file` is what a workflow's steps put."""
        after: str | None = None
        while True:
            page = self.call("GET", f"{_path(run)}/artifacts", kind=kind, key=key, after=after)
            for one in page["artifacts"]:
                yield File.read(one)
            after = page["next"]
            if after is None:
                return

    def download(self, run: str, file: File | str, to: str | Path) -> Path:
        """Save a file, by its name, as `to`, or under its own name in the folder `to`; it appears when it is whole."""
        name = file if isinstance(file, str) else file.name
        target = Path(to)
        if target.is_dir():
            target /= Path(name.rpartition(":")[2] if isinstance(file, str) else file.file_name).name
        partial = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")

        def keep(answer: HTTPResponse) -> Path:
            with partial.open("wb") as written:
                shutil.copyfileobj(answer, written)
            wanted = answer.headers.get("Content-Length")
            if wanted is not None and partial.stat().st_size != int(wanted):
                raise IncompleteRead(b"", int(wanted) - partial.stat().st_size)
            return partial.replace(target)

        request = self._request("GET", f"{_path(run)}/artifacts/{quote(name, safe='')}", accept="*/*")
        try:
            return self._ask(request, keep, self._attempts)
        finally:
            partial.unlink(missing_ok=True)

    def call(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """Any other call of the API: its JSON. A call that is not GET is sent once, since it might count twice."""
        if said := {name: value for name, value in query.items() if value is not None}:
            path = f"{path}?{urlencode(said, doseq=True)}"
        return self._json(method, path, body, again=method == "GET")

    # ---- requests

    def _json(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None, *, again: bool = True
    ) -> Any:
        return self._ask(self._request(method, path, body, headers), _read_json, self._attempts if again else 1)

    def _request(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        accept: str = "application/json",
    ) -> Request:
        data = None if body is None else json.dumps(body).encode()
        sent = {"Accept": accept, **(headers or {})}
        if data is not None:
            sent["Content-Type"] = "application/json"
        if self._token:
            sent["Authorization"] = f"Bearer {self._token}"
        return Request(self.url + path, data, sent, method=method)  # noqa: S310 - http or https, see __init__

    def _ask(self, request: Request, take: Callable[[HTTPResponse], Taken], attempts: int) -> Taken:
        """What `take` makes of the answer, once there is a whole one that is good. Raises Problem, and Unreachable."""
        for pause in _pauses(attempts):
            try:
                with self._opener.open(request, timeout=self._timeout) as answer:
                    return take(answer)
            except HTTPError as answered:
                if answered.code not in PASSING or pause is None:
                    _raise(answered)
                time.sleep(_asked_for(answered, pause))
            except (URLError, HTTPException, OSError) as error:
                if pause is None:
                    reason = getattr(error, "reason", None) or error
                    raise Unreachable(f"{self.url} does not answer: {reason}") from error
                time.sleep(pause)
        raise AssertionError("the last attempt returns or raises")


class _NoRedirects(HTTPRedirectHandler):
    """The token is for this server: wherever it might send us, the token does not go along."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _read_json(answer: HTTPResponse) -> Any:
    data = answer.read()
    try:
        return json.loads(data)
    except ValueError:
        raise ClientError(f"{answer.url} answers, but not as the pipeline's API does: is it another server?") from None


def _path(run: str, verb: str = "") -> str:
    if not run:
        raise ValueError("name a run: an id or its beginning, NAME, or NAME@2026-11-16")
    return "/".join(filter(None, ["/api/runs", quote(run, safe="@"), verb]))


def _listed(said: str | Sequence[str]) -> list[str]:
    """One word is that word, and not its letters."""
    return [said] if isinstance(said, str) else list(said)


def _pauses(attempts: int) -> Iterator[float | None]:
    """Seconds to wait after each attempt that was in vain; None after the last."""
    for number in range(attempts - 1):
        yield min(0.2 * 3**number, 10.0) * random.uniform(0.8, 1.2)  # noqa: S311 - so that callers do not come back as one
    yield None


def _asked_for(answered: HTTPError, pause: float) -> float:
    """The pause, or the longer one that the server names, up to half a minute."""
    said = answered.headers.get("Retry-After", "")
    return max(pause, min(float(said), 30.0)) if said.isdigit() else pause


def _raise(answered: HTTPError) -> NoReturn:
    """As the Problem it is, whether the API said it or a proxy in front of it."""
    with answered:
        try:
            said = json.load(answered)
        except (ValueError, OSError, HTTPException):
            said = None
    more = said if isinstance(said, dict) else {}
    detail = str(more.get("detail") or f"{answered.url} answers {answered.code} {answered.reason}")
    kinds: dict[int, type[Problem]] = {401: NotAllowed, 403: NotAllowed, 404: NotThere, 409: Conflict}
    kind = kinds.get(answered.code) or (Invalid if answered.code in {400, 422} else Problem)
    raise kind(answered.code, detail, more) from None
