"""How `pipeline mail` looks, and which relay a name on the command line means."""

from __future__ import annotations

from urllib.parse import urlsplit

from sqlalchemy import select

from pipeline.adapters import mail_routes
from pipeline.cli import tables
from pipeline.cli.options import looking, print_json
from pipeline.db import reading
from pipeline.embedded.state import mail_mode
from pipeline.errors import NotFound
from pipeline.models import Relay
from pipeline.services import answers, relays
from pipeline.services.answers import MailStatus, wording
from pipeline.settings import settings


def known(text: str | None) -> str | None:
    """The full name of the relay that `text` (host or host:port) means. Raises NotFound with those that there are."""
    if text is None:
        return None
    with reading() as session:
        used = session.scalars(select(Relay.name).where(Relay.name != relays.ALL, ~Relay.name.startswith("run ")))
        names = dict.fromkeys([*mail_routes.relays(settings()), *used])
    found: list[str] = [name for name in names if text in {name, name.rpartition(":")[0], urlsplit(name).hostname}]
    if len(found) == 1:
        return found[0]
    if found:
        raise NotFound(f'"{text}" means several relays: type {" or ".join(found)}')
    raise NotFound(f'there is no relay "{text}": there are {", ".join(names)}')


def show(*, as_json: bool) -> None:
    """Print how mail goes out now."""
    configured = settings()
    rates = [str(rate) for rate in configured.rates]
    with looking() as session:
        found = answers.mail(session, mail_mode(configured), rates, list(mail_routes.relays(configured)))
    if as_json:
        print_json(found)
    else:
        _show(found)


def _show(found: MailStatus) -> None:
    out, zone = tables.console(), settings().timezone
    if found.stopped_at:
        because = f": {found.stop_reason}" if found.stop_reason else ""
        said = f"All mail was stopped by {found.stopped_by} on {wording.moment(found.stopped_at, zone)}{because}."
        out.print(tables.words(said, "red"))
        out.print(tables.hint("`pipeline mail start` lets it go on.\n"))
    out.print(tables.pairs([("mail", found.mode), ("rates", ", ".join(found.rates) or "as fast as it goes")]))
    out.print()
    made = tables.table("relay", "state", "since", "", whole=("relay", "state", "since"))
    for one in found.relays:
        more = one.why or ""
        if one.next_try_at:
            more += f"; tried again on {wording.moment(one.next_try_at, zone)}"
        if one.pace:
            more += f": {one.pace:.3g} messages a second"
        since = wording.brief(one.since, zone) if one.since and one.state != "ready" else ""
        made.add_row(tables.words(one.name, "bold"), tables.status(one.state), tables.words(since), tables.words(more))
    out.print(made)
    if found.blocked:
        out.print(tables.hint("\nBlocked, until mended and `pipeline mail start`:"))
        for run in found.blocked:
            out.print(tables.words(f"{wording.short(run.run_id)} {run.schedule}: {run.why}"))
