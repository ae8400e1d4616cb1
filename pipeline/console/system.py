"""System: beats, workers, queues, relays, bad schedule files, notices, who may come in, and who did what."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse

from pipeline.adapters import mail_routes
from pipeline.celery import app as celery
from pipeline.console.pages import HEADERS, Page, fragment, page, said
from pipeline.console.visitors import Looking, Operating
from pipeline.db import reading, transaction
from pipeline.embedded.state import mail_mode
from pipeline.services import answers, api_tokens, braking, users
from pipeline.services.answers.notices import notices
from pipeline.settings import settings

router = APIRouter(include_in_schema=False, route_class=Page)
ACTS, NOTICES = 30, 20
# Seconds that workers have to answer.
PATIENCE = 1.0


@router.get("/system")
def system(request: Request, visitor: Looking, workers: str = "") -> Response:
    """Whatever an operator wants to know of the installation itself; `workers` are asked where no script does."""
    configured = settings()
    answering = _answering() if workers else None
    with reading() as session:
        return page(
            request, "system.html", visitor,
            load=answers.load(session),
            mail=answers.mail(
                session, mail_mode(configured), [str(one) for one in configured.rates],
                list(mail_routes.relays(configured)),
            ),
            notices=notices(session, limit=NOTICES, kept_back=True),
            asked=bool(workers), found=answering, flower=configured.flower_url,
            acts=answers.audit(session, limit=ACTS),
            users=users.every(session) if visitor.may("admin") else [],
            tokens=api_tokens.summaries(session) if visitor.may("admin") else [],
        )  # fmt: skip


@router.get("/system/workers")
def answering_workers(request: Request, visitor: Looking) -> Response:
    """The workers that answer now; asked by a broadcast, which takes a second: a part of its own."""
    return HTMLResponse(fragment("system_workers.html", found=_answering(), zone=settings().timezone), headers=HEADERS)


@router.post("/system/mail")
def mail(request: Request, act: Operating) -> Response:
    """The emergency brake: stop all mail, or let it go on."""
    with transaction() as session:
        if act.form["do"] == "stop":
            before = braking.stop(session, act.actor, None, act.form["reason"] or None)
            what = f"{before} All mail is stopped: what waits stays queued.".lstrip()
        else:
            braking.start(session, act.actor, None)
            what = "Mail goes on."
    return said(request, "/system", what)


def _answering() -> list[dict[str, Any]] | None:
    """Name, processes and queues of each worker; None where the broker does not answer."""
    try:
        asked = celery.control.inspect(timeout=PATIENCE)
        found = asked.stats() or {}
        queues = asked.active_queues() or {} if found else {}
    except Exception:  # noqa: BLE001 - a broker that is away, in whatever words its library has for it
        return None
    return [
        {
            "name": name,
            "processes": (stats.get("pool") or {}).get("max-concurrency"),
            "queues": sorted(one["name"] for one in queues.get(name, [])),
            "uptime": stats.get("uptime"),
        }
        for name, stats in sorted(found.items())
    ]
