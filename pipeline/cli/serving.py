"""`pipeline web`, `flower` and `token`: serving the API and Celery's own view, and who may call."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pipeline.cli.options import By, Json, actor, check_database, looking, print_json

if TYPE_CHECKING:
    from pipeline.services.api_tokens import TokenSummary

PANEL = "Operate"
# models.Scope, said again: the command line starts without the tables.
Reach = Literal["read", "operate", "admin"]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command(rich_help_panel=PANEL)(web)
    app.command(rich_help_panel=PANEL)(flower)
    tokens = typer.Typer(no_args_is_help=True, help="Tokens for the HTTP API: create, list, revoke.")
    tokens.command("create")(create_token)
    tokens.command("list")(list_tokens)
    tokens.command("revoke")(revoke_token)
    app.add_typer(tokens, name="token", rich_help_panel=PANEL)


def web(
    host: Annotated[str | None, typer.Option(help="The address to listen on. Default: PIPELINE_WEB_HOST.")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Default: PIPELINE_WEB_PORT.")] = None,
) -> None:
    """Serve the HTTP API, and the pages that links in messages lead to. `pipeline up` does by itself."""
    from pipeline.api.serve import serve
    from pipeline.settings import settings

    check_database()
    where = f"{host or settings().web_host}:{port or settings().web_port}"
    typer.echo(f"Serving on http://{where}/; Ctrl-C stops it.", err=True)
    try:
        serve(host, port)
    except OSError as error:
        raise _not_listening(where, error) from None


def _not_listening(where: str, error: OSError) -> Exception:
    from pipeline.errors import Refused

    return Refused(
        f"{where} cannot be listened on ({os.strerror(error.errno or 0)}): name another with --port or --host"
    )


def flower(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Default: PIPELINE_FLOWER_PORT.")] = None,
) -> None:
    """Serve Flower, Celery's own view of workers and tasks, behind a password. `pipeline up` does by itself.

    Who knows the password may stop workers: put a proxy that speaks TLS in front of what is not loopback.
    """
    from pipeline.adapters import flower as door
    from pipeline.embedded import flower as server
    from pipeline.errors import Refused
    from pipeline.settings import settings

    configured, listening = settings(), port or settings().flower_port or door.PORT
    if not server.is_installed():
        raise Refused("Flower is not installed: it comes with the extra `worker`, or `pip install flower`")
    try:
        socket.create_server((host, listening)).close()
    except OSError as error:
        raise _not_listening(f"{host}:{listening}", error) from None
    known = door.who_gets_in(configured)
    typer.echo(f"Serving on http://{host}:{listening}/ ({known}); Ctrl-C stops it.", err=True)
    server.serve(configured, host, listening)


def create_token(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is for: shown in the record of what it did.")],
    scope: Annotated[Reach, typer.Option(help="How far it reaches; operate may trigger and cancel.")] = "read",
    expires: Annotated[str | None, typer.Option(metavar="90d", help="How long it is valid. Default: for ever.")] = None,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Make a token, and print it: this once."""
    from pipeline import timing
    from pipeline.db import transaction
    from pipeline.errors import Refused
    from pipeline.models import Scope
    from pipeline.services import api_tokens

    check_database()
    try:
        length = timing.parse_duration(expires) if expires else None
    except ValueError as error:
        raise Refused(f"--expires: {error}") from None
    with transaction() as session:
        row, secret = api_tokens.create(session, name, Scope(scope), actor(by), expires_in=length)
        said = {"name": row.name, "scope": row.scope, "expires_at": row.expires_at, "token": secret}
    if as_json:
        print_json(said)
        return
    typer.echo(secret)
    typer.secho("Keep it: it is not shown again. Send it as `Authorization: Bearer …`.", err=True, dim=True)


def list_tokens(as_json: Json = False) -> None:
    """List the tokens: what each may do, until when, and when it was last used."""
    from pipeline.services import api_tokens

    with looking() as session:
        found = api_tokens.summaries(session)
    if as_json:
        print_json(found)
    else:
        _show(found)


def revoke_token(name: Annotated[str, typer.Argument(metavar="NAME", help="The token's name.")], by: By = None) -> None:
    """End a token: from its next request on it is refused."""
    from pipeline.db import transaction
    from pipeline.services import api_tokens

    check_database()
    with transaction() as session:
        api_tokens.revoke(session, name, actor(by))
    typer.echo(f"The token {name} is revoked.")


def _show(tokens: Sequence[TokenSummary]) -> None:
    from pipeline.cli import tables
    from pipeline.services.answers import wording
    from pipeline.settings import settings

    out, zone = tables.console(), settings().timezone
    if not tokens:
        out.print(tables.hint("No token yet: `pipeline token create NAME --scope operate` makes one"))
        return
    made = tables.table("name", "begins", "scope", "state", "made", "expires", "last used")
    for one in tokens:
        instants = (one.created_at, one.expires_at, one.last_used_at)
        told = [wording.brief(at, zone) if at else "never" for at in instants]
        made.add_row(tables.words(one.name), one.prefix, one.scope, tables.status(one.state), *told)
    out.print(made)
