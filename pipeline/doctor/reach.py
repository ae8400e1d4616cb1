"""Checks of what is connected: broker, database, mail, artifact storage, clocks."""

from __future__ import annotations

import errno
import re
import secrets
import shutil
import subprocess
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pipeline import db, migrating
from pipeline.adapters.broker import BrokerFacts, ask
from pipeline.adapters.mailer import Relay
from pipeline.adapters.storage import MARKER, Storage
from pipeline.doctor.check import Check, fault, fine, warning
from pipeline.doctor.machine import nearest
from pipeline.embedded import running, state
from pipeline.errors import PipelineError
from pipeline.services import artifacts
from pipeline.settings import Settings, masked

# Clocks further apart than this make lease and due times look odd.
CLOCK_TOLERANCE = timedelta(seconds=2)
OLDEST_REDIS = (6, 2)
RELAY_PATIENCE = 10.0
NOT_RUNNING = "not running: it comes with `pipeline up`"


def broker(settings: Settings) -> Check:
    if settings.embedded_broker and not running(settings):
        return fine("broker", f"bundled, {NOT_RUNNING}")
    try:
        facts = ask(settings.broker_url)
    except PipelineError as error:
        return fault("broker", str(error), "start it, or correct PIPELINE_BROKER_URL (unset: the bundled one)")
    found = f"{facts.server} at {masked(settings.broker_url)}"
    version = re.search(r"Redis (\d+)\.(\d+)", facts.server)
    if version and (int(version[1]), int(version[2])) < OLDEST_REDIS:
        return fault("broker", found, "upgrade it: Celery needs Redis 6.2 or newer, or any Valkey")
    if facts.policy not in {None, "noeviction"}:
        advice = "`redis-cli CONFIG SET maxmemory-policy noeviction`, and the same in its configuration file"
        return warning("broker", f"{found} may throw queues away (maxmemory-policy {facts.policy})", advice)
    return fine("broker", found + (", never throws a message away" if facts.policy else ""))


def results(settings: Settings) -> Check:
    """The Redis for Celery's results and chord counters."""
    if settings.result_url == settings.broker_url:
        return fine("results", "kept by the broker")
    try:
        return fine("results", f"{ask(settings.result_url).server} at {masked(settings.result_url)}")
    except PipelineError as error:
        return fault("results", str(error).replace("broker", "result store", 1), "correct PIPELINE_RESULT_URL")


def database(settings: Settings) -> Check:
    file = sqlite_file(settings)
    if file and not file.exists():
        return fine("database", f"{file} does not exist yet: it comes with `pipeline up`")
    try:
        found = re.split(r" on |, compiled", db.answers())[0]
        migrated = migrating.is_migrated()
    except Exception as error:  # noqa: BLE001 - whatever a driver raises, it does not answer
        reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        advice = "start it, or correct PIPELINE_DATABASE_URL (unset: SQLite under var/)"
        return fault("database", f"{masked(settings.database_url)}: {reason}", advice)
    if not migrated:
        return fault(
            "database", f"{found}, not at the newest migration", "`pipeline migrate` (`pipeline up` does it too)"
        )
    return fine("database", f"{found} at {masked(settings.database_url)}, at the newest migration")


def sqlite_file(settings: Settings) -> Path | None:
    """The database's file; None where it is a server."""
    prefix = "sqlite:///"
    return Path(settings.database_url.removeprefix(prefix)) if settings.database_url.startswith(prefix) else None


def mail_mode(settings: Settings) -> Check:
    """Who gets mail at all."""
    running_as = state.mail_mode(settings)
    if running_as != settings.mail:
        said = (
            f"PIPELINE_MAIL={settings.mail}, but `pipeline up` was started with {running_as}, which holds until it ends"
        )
        return warning("mail", said, "Ctrl-C, and `pipeline up` again")
    if settings.mail == "catch":
        outbox = settings.var / "outbox"
        return fine("mail", f"PIPELINE_MAIL=catch: nothing leaves this machine, messages are kept in {outbox}")
    if settings.mail == "live":
        return fine("mail", "PIPELINE_MAIL=live: messages go to the real recipients")
    return fine("mail", f"PIPELINE_MAIL={settings.mail}: every message goes to this address alone")


def relay(settings: Settings) -> Check:
    """The servers that mail is handed to in the present mode: greeted, and logged in to if the URL has a user."""
    name = "mail catcher" if settings.mail == "catch" else "mail relay"
    urls = [_catcher_url(settings)] if settings.mail == "catch" else settings.smtp_urls
    if urls == [""]:
        return fine(name, NOT_RUNNING)
    found, wrong = [], []
    for url in urls:
        try:
            found.append(_greeted(url))
        except PipelineError as error:
            wrong.append(str(error))
    variable = "PIPELINE_CATCHER_URL" if settings.mail == "catch" else "PIPELINE_SMTP_URL"
    advice = f"correct {variable}, or what listens there"
    if wrong:
        # With another one that answers mail goes out all the same.
        return (warning if found else fault)(name, "; ".join([*wrong, *found]), advice)
    return fine(name, "; ".join(found))


def _greeted(url: str) -> str:
    connected = Relay(url, timeout=RELAY_PATIENCE)
    connected.connect()
    connected.close()
    login = f", and takes the login of {connected.address.user}" if connected.address.user else ""
    return f"{connected} answers{login}"


def _catcher_url(settings: Settings) -> str:
    if "catcher_url" in settings.model_fields_set:
        return settings.catcher_url
    tree = running(settings)
    return tree.catcher_url if tree else ""


def clocks(settings: Settings) -> Check:
    """This machine's clock beside the broker's and the database's."""
    apart = {name: then - now for name, (then, now) in _other_clocks(settings).items()}
    far = [f"{name} {difference.total_seconds():+.1f} s" for name, difference in apart.items() if _is_far(difference)]
    found = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
    advice = "set the clock of the machine that is wrong: `sudo timedatectl set-ntp true`"
    if far:
        return warning("clock", f"{found}, but {', '.join(far)}", advice)
    if _is_unsynchronised():
        return warning("clock", f"{found}, not kept in time by the network", advice)
    return fine("clock", found + "".join(f", {name} agrees" for name in apart))


def _is_far(difference: timedelta) -> bool:
    return abs(difference) > CLOCK_TOLERANCE


def _other_clocks(settings: Settings) -> dict[str, tuple[datetime, datetime]]:
    """By name: their time, and ours at the same moment. What cannot be reached is another check's matter."""
    found: dict[str, tuple[datetime, datetime]] = {}
    try:
        asked = datetime.now(UTC)
        facts = BrokerFacts("") if settings.embedded_broker else ask(settings.broker_url)
        if facts.now:
            found["broker"] = facts.now, _nearest_since(asked, facts.now)
        if not sqlite_file(settings):
            with db.reading() as session:
                asked = datetime.now(UTC)
                then = db.clock(session)
                found["database"] = then, _nearest_since(asked, then)
    except Exception:  # noqa: BLE001 - see above
        return found
    return found


def _nearest_since(asked: datetime, then: datetime) -> datetime:
    """Our time at that moment, as far as one can know: an answer may take seconds."""
    return min(max(asked, then), datetime.now(UTC))


def _is_unsynchronised() -> bool:
    """Whether systemd says so; without it (containers) nothing is known."""
    if not shutil.which("timedatectl"):
        return False
    command = ["timedatectl", "show", "--property=NTPSynchronized", "--value"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    return said.returncode == 0 and said.stdout.strip() == "no"


def storage(settings: Settings) -> Check:
    """Whether an artifact can be written and taken away again."""
    url = settings.storage_url
    try:
        _write_and_remove(url)
    except (OSError, ValueError, ImportError) as error:
        advice = "correct PIPELINE_STORAGE_URL or the rights there (an fsspec URL or a folder; unset: var/artifacts)"
        if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
            advice = "make room there: `pipeline trigger retention` purges old runs"
        return fault("artifacts", f"{masked(url)}: {error}", advice)
    if not Storage(url).is_there() and _known_artifact(settings):
        found = f"{masked(url)} is not the store that holds what was stored before: there is no {MARKER} in it"
        return fault("artifacts", found, "mount it, or correct PIPELINE_STORAGE_URL")
    return fine("artifacts", f"{masked(url)} can be written")


def _known_artifact(settings: Settings) -> bool:
    file = sqlite_file(settings)
    if file and not file.exists():
        return False
    with suppress(Exception), db.reading() as session:  # what is wrong with the database is told by its own check
        return artifacts.newest_uri(session) is not None
    return False


def _write_and_remove(url: str) -> None:
    import fsspec

    filesystem, path = fsspec.core.url_to_fs(url)
    if isinstance(filesystem, fsspec.get_filesystem_class("file")):
        path = str(nearest(Path(path)))  # not made by looking at it
    probe = f"{path}/.doctor-{secrets.token_hex(4)}"
    filesystem.pipe_file(probe, b"can be written")
    filesystem.rm_file(probe)
