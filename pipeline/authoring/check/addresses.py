"""Whether what a schedule file says about people and places can be meant: addresses, locales, zones, folders."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pipeline import locales, notice
from pipeline.adapters import copies, messages, people
from pipeline.authoring.check.faults import Fault, Subject
from pipeline.destinations import NAMED_HOOK, Folder, Webhook, variables
from pipeline.errors import DefinitionError, PermanentError, Refused
from pipeline.report import Report
from pipeline.schedule import Schedule
from pipeline.settings import environment, settings

NO_PUBLIC_URL = "needs an address that links begin with: set PIPELINE_PUBLIC_URL=https://reports.example.com"


# Bad lines of a file of people that are told one by one.
TOLD = 5


def check_people(subject: Subject, report: Report) -> None:
    """Check each recipient that the file lists; who comes from a query is looked at when the run is planned."""
    _check_file(subject, report)
    seen: set[tuple[str, str | None]] = set()
    for number, person in enumerate(subject.schedule.recipients.people):
        field = f"recipients.{number}"
        for part, reason in people.faults(person, report.split_by):
            subject.fault(f"{field}.{part}", reason)
        if (person.email, person.key) in seen:
            subject.fault(
                field, f"{person.email} is there twice{f' for {person.key}' if person.key else ''}: take one out"
            )
        seen.add((person.email, person.key))


def _check_file(subject: Subject, report: Report) -> None:
    """Look into a CSV file of recipients that lies in the home."""
    source = subject.schedule.recipients.source
    url = (source and source.url) or ""
    path = settings().home / url
    if "://" in url or path.suffix != ".csv" or not path.is_file():
        return
    try:
        found = people.read(path, report.split_by)
    except Refused as error:
        subject.fault("recipients.file", str(error).replace(f"{path}", url, 1))
        return
    for line, why in found.bad[:TOLD]:
        row = found.rows[line]
        subject.fault("recipients.file", f"{url}:{line}{f' (row {row})' if row != line else ''}: {why}")
    if len(found.bad) > TOLD:
        subject.fault("recipients.file", f"{url}: {len(found.bad) - TOLD} more lines cannot be meant")


def check_message(subject: Subject) -> None:
    """Check the sender, where answers go, who is told, and the folders that get a copy."""
    message = subject.schedule.message
    for field, text in (("message.from", message.sender), ("message.reply_to", message.reply_to)):
        problem = _address_problem(messages.split_address(text)[1]) if text else None
        if problem:
            subject.fault(field, problem)
    if message.unsubscribe and not settings().public_url:
        subject.fault("message.unsubscribe", NO_PUBLIC_URL)
    for problem in _unreachable(subject.schedule.notify or ()):
        subject.fault("notify", problem)
    for problem in _unreachable(subject.schedule.approvers or ()):
        subject.fault("approvers", problem)
    for field, destination in _destinations(subject.schedule):
        if isinstance(destination, Folder):
            _check_folder(subject, field, destination)
        else:
            _check_webhook(subject, field, destination)


def _destinations(schedule: Schedule) -> Iterator[tuple[str, Folder | Webhook]]:
    for number, one in enumerate(schedule.deliver_to):
        yield "deliver_to" if len(schedule.deliver_to) == 1 else f"deliver_to.{number}", one


def _check_folder(subject: Subject, field: str, folder: Folder) -> None:
    pattern, report = folder.folder, subject.schedule.report
    try:
        copies.check_pattern(pattern)
    except DefinitionError as error:
        subject.fault(field, f"{error.place or pattern} {error.reason}")
    except PermanentError as error:
        subject.fault(field, str(error))
    if isinstance(report, Report) and report.split_by and not pattern.endswith("/") and "{key}" not in pattern:
        subject.fault(field, f'"{pattern}" would be the same file for every {report.split_by}: put {{key}} into it')


def _check_webhook(subject: Subject, field: str, webhook: Webhook) -> None:
    named = NAMED_HOOK.fullmatch(webhook.webhook)
    if named and (problem := _hook_problem(named[1])):
        subject.fault(f"{field}.webhook", problem)
    for missing in variables(webhook):
        if not environment().get(missing):
            subject.fault(field, f"{missing} is not set: set {missing} in the environment or in .env")


def check_locale(subject: Subject, report: Report) -> None:
    """Check that CLDR knows the report's locale."""
    if report.locale and (problem := locales.problem(report.locale)):
        subject.fault("report.locale", f'"{report.locale}" {problem}')


def _address_problem(text: str) -> str | None:
    try:
        messages.valid_address(text)
    except PermanentError as error:
        return str(error).removeprefix("address ")
    return None


def wrong_settings() -> Iterator[Fault]:
    """Faults of settings that are looked at only when mail is made."""
    sender = _address_problem(messages.split_address(settings().mail_from)[1])
    if sender:
        yield Fault("", "PIPELINE_MAIL_FROM", sender)
    for problem in _unreachable(settings().notify):
        yield Fault("", "PIPELINE_NOTIFY", problem)


def _unreachable(targets: Iterable[str]) -> Iterator[str]:
    for one in map(notice.target, targets):
        problem = _address_problem(one.where) if one.shape == notice.Shape.MAIL else _hook_problem(one.name)
        if problem:
            yield problem


def _hook_problem(name: str) -> str | None:
    try:
        settings().hook(name) if name else None
    except DefinitionError as error:
        return str(error)
    return None
