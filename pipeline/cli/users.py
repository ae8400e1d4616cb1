"""`pipeline user`: who may log in to the console, with which password, and how far they reach."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from pipeline.cli.options import By, Json, actor, check_database, looking, print_json
from pipeline.cli.serving import PANEL, Reach

Name = Annotated[str, typer.Argument(metavar="NAME", help="The user's name, such as anna or anna@example.com.")]
Role = Annotated[Reach, typer.Option(help="read may look, operate may trigger and cancel, admin may do everything.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    users = typer.Typer(no_args_is_help=True, help="Users of the web console: add, list, password, role, remove, link.")
    users.command("add")(add)
    users.command("list")(list_users)
    users.command("password")(set_password)
    users.command("role")(set_role)
    users.command("remove")(remove)
    users.command("link")(link)
    app.add_typer(users, name="user", rich_help_panel=PANEL)


def add(name: Name, role: Role = "read", by: By = None) -> None:
    """Add a user; the password is asked for, or read from standard input."""
    from pipeline.db import transaction
    from pipeline.models import Scope
    from pipeline.services import users

    check_database()
    kept = _password()
    with transaction() as session:
        users.add(session, actor(by), name, kept, Scope(role))
    typer.echo(f"{name} may log in to the console, with the role {role}.")


def set_password(name: Name, by: By = None) -> None:
    """Set another password; whoever is logged in as that user has to do so again."""
    from pipeline.db import transaction
    from pipeline.services import users

    check_database()
    with transaction() as session:
        users.find(session, name)  # told before anybody types a password
    kept = _password()
    with transaction() as session:
        users.change(session, actor(by), name, kept=kept)
    typer.echo(f"{name} has another password, and is logged out everywhere.")


def set_role(name: Name, role: Annotated[Reach, typer.Argument(help="read, operate or admin.")], by: By = None) -> None:
    """Let a user do more, or less; they have to log in again."""
    from pipeline.db import transaction
    from pipeline.models import Scope
    from pipeline.services import users

    check_database()
    with transaction() as session:
        users.change(session, actor(by), name, role=Scope(role))
    typer.echo(f"{name} has the role {role}.")


def remove(name: Name, by: By = None) -> None:
    """Remove a user, who is logged out at once; what they did stays on record."""
    from pipeline.db import transaction
    from pipeline.services import users

    check_database()
    with transaction() as session:
        users.remove(session, actor(by), name)
    typer.echo(f"{name} may not log in any more.")


def list_users(as_json: Json = False) -> None:
    """List the users: what each may do, and when they were there last."""
    from pipeline.services import users

    with looking() as session:
        found = users.every(session)
    if as_json:
        print_json(found)
        return
    from pipeline.cli import tables
    from pipeline.services.answers import wording
    from pipeline.settings import settings

    out, zone = tables.console(), settings().timezone
    if not found:
        out.print(tables.hint("No user yet: `pipeline user add NAME --role operate` makes one"))
        return
    made = tables.table("name", "role", "made", "changed", "there last")
    for one in found:
        instants = [wording.brief(at, zone) if at else "" for at in (one.created_at, one.changed_at, one.seen_at)]
        made.add_row(tables.words(one.name), one.role, *instants)
    out.print(made)


def link(role: Role = "admin", by: By = None) -> None:
    """Print a link that logs in once, within half an hour, without any account."""
    from pipeline.embedded import running
    from pipeline.settings import settings

    check_database()
    configured = settings()
    tree = running(configured)
    here = tree.web_url if tree else ""
    typer.echo(
        login_link(here or configured.public_url or f"http://{configured.web_host}:{configured.web_port}", role, by)
    )


def login_link(base: str, role: str = "admin", by: str | None = None) -> str:
    """The address that logs in once."""
    from pipeline.db import transaction
    from pipeline.models import Scope
    from pipeline.services import logins

    with transaction() as session:
        return f"{base.rstrip('/')}/login/{logins.make_link(session, actor(by), Scope(role))}"


def _password() -> str:
    """The hash of what was typed twice or, where nobody types, of the first line of standard input."""
    from pipeline.adapters import passwords
    from pipeline.services import users

    if sys.stdin.isatty():
        found = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    else:
        found = sys.stdin.readline().rstrip("\r\n")
    users.check_password(found)
    return passwords.hashed(found)
