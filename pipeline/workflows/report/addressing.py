"""Who is named for which document: read from the datasets in portions, never all at once."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq

from pipeline.adapters import datasets, messages
from pipeline.adapters.drafts import Addressee, Draft
from pipeline.bulk import portions
from pipeline.db import reading
from pipeline.errors import PermanentError
from pipeline.handle import RunHandle
from pipeline.report import WHOLE, Report
from pipeline.schedule import Person
from pipeline.services import freezing, optouts, subscriptions

RECIPIENTS, SUBSCRIPTIONS = "recipients", "subscriptions"


class Named(NamedTuple):
    """Somebody whom a dataset names: a `Person` whom nobody has checked, light enough for a million of them."""

    email: str | None = None
    key: str | None = None
    name: str | None = None
    locale: str | None = None
    zone: str | None = None


def add_addressees(run: RunHandle, draft: Draft, report: Report) -> None:
    """Everybody whom the run's schedule or trigger names, and what is against each, go into the draft."""
    for some in portions(_addressees(run, draft, report)):
        run.alive()
        draft.add(_weighed(some, run.name))


def _weighed(some: list[Addressee], schedule: str) -> list[Addressee]:
    """The same people, with what is against sending them anything."""
    addresses = list({one.address for one in some})
    with reading() as session:
        barred = optouts.barred(session, addresses, schedule)
        ended = subscriptions.ended(session, addresses, schedule)
    if not barred and not ended:
        return some
    return [one._replace(barred=barred.get(one.address), ended=ended.get((one.address, one.key))) for one in some]


def _addressees(run: RunHandle, draft: Draft, report: Report) -> Iterator[Addressee]:
    """Who is to get what; somebody whose key was left out by the trigger's scope is not asked for at all."""
    if run.scope["to"]:
        keys = filter(None, draft.keys_with_rows())
        yield from (addressee(Person(email=to, key=key), report) for key in keys for to in run.scope["to"])
        return
    said, wanted = run.definition.recipients, set(run.scope["keys"])
    # Somebody whom several of them name is taken as the first one has it.
    people = [(addressee(person, report) for person in said.people)]
    if said.source:
        place = said.source.url or "the recipients' query"
        # As spreadsheets and editors count, the line of headings is the first.
        rows = enumerate(people_in(run.get(f"dataset:{RECIPIENTS}"), report), 2 if place.endswith(".csv") else 1)
        people.append(addressee(person, report, f"row {number} of {place}") for number, person in rows)
    if said.subscriptions:
        people.append(addressee(person, report) for person in people_in(run.get(f"dataset:{SUBSCRIPTIONS}"), report))
    yield from (one for one in chain(*people) if not wanted or one.key in wanted)


def people_in(path: Path, report: Report) -> Iterator[Named]:
    """The rows of the recipients' source. Raises PermanentError when it lacks the columns email or key."""
    columns = set(pq.read_schema(path).names)
    needed = {"email", "key"} if report.split_by else {"email"}
    if needed - columns:
        missing, found = " and ".join(sorted(needed - columns)), ", ".join(sorted(columns))
        raise PermanentError(
            f"the recipients' source has no column {missing}: it has {found}; name it with `as` in the query"
        )
    return map(Named._make, datasets.texts(path, Named._fields))


def addressee(person: Person | Named, report: Report, place: str = "") -> Addressee:
    """The person as a recipient of one document; an address nothing can be sent to keeps its row and says why.

    `place` is where the recipients' file or query has them, which whoever mends that has to find.
    """
    key = person.key if report.split_by else WHOLE
    problem = None if key else "the recipient has no key"
    try:
        address = messages.valid_address(person.email or "")
    except PermanentError as error:
        address, problem = repr(person.email)[1:-1] if person.email else "", str(error)
    if problem and place:
        problem = f"{place}: {problem}"
    return Addressee(address, key or freezing.NULL_KEY, person.name, person.locale, person.zone, problem)
