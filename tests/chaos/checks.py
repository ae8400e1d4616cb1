"""What must hold after any faults, looked at from outside: files, the mail server's log, and rows in SQL."""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from pipeline.models import Artifact, Attempt, Delivery, Document, Run, RunArtifact, RunEvent, Slot, Step
from tests.chaos.load import KEYS, PARTS, SCHEDULES
from tests.chaos.site import Site

# How many sentences of a kind are worth reading.
SHOWN = 10


@dataclass
class Found:
    """What was counted, and a sentence for everything that is not as promised."""

    runs: int = 0
    documents: int = 0
    deliveries: int = 0
    lost: int = 0
    doubled: int = 0
    uncertain: int = 0
    wrong: list[str] = field(default_factory=list)


def check(site: Site, faults: int, every: int) -> Found:
    """Hold everything against everything else.

    `faults` is how many there were: each may leave a few doubts; `every`, how many seconds lie between two slots.
    """
    found = Found()
    with Session(site.engine) as session:
        runs = session.scalars(select(Run)).all()
        found.runs = len(runs)
        found.wrong += _slots(session, runs, every)
        found.wrong += [f"run {run.id} of {run.schedule_key} is {run.status}: {run.error}" for run in runs if _bad(run)]
        found.wrong += _steps(session)
        _documents(session, site, runs, found)
        _deliveries(session, site, runs, found)
        found.wrong += _traces(session, site, runs)
    if found.uncertain > faults * 4:
        found.wrong.append(f"{found.uncertain} uncertain deliveries after {faults} faults, with four senders")
    return found


def _bad(run: Run) -> bool:
    """A run ends well, or lacks nothing but what nobody can know."""
    if run.status == "partial":
        return not str(run.error).startswith("of the deliveries: ") or "uncertain" not in str(run.error)
    return run.status != "succeeded"


def _slots(session: Session, runs: Sequence[Run], every: int) -> Iterator[str]:
    """Each due instant has one slot, and each slot one run."""
    for key in SCHEDULES:
        slots = session.scalars(select(Slot).where(Slot.schedule_key == key).order_by(Slot.due_at)).all()
        yield from (f"slot {one.due_at} of {key} was {one.decision}" for one in slots if one.decision != "fired")
        for before, after in pairwise(slots):
            if after.due_at - before.due_at != timedelta(seconds=every):
                yield f"{key}: after the slot {before.due_at} comes {after.due_at}"
        opened = Counter(run.id for run in runs if run.schedule_key == key)
        if {one.run_id for one in slots} != set(opened):
            yield f"{key}: {len(slots)} slots, {len(opened)} runs"


def _steps(session: Session) -> Iterator[str]:
    """Each step was recorded as done by one attempt."""
    won: Counter[object] = Counter()
    for attempt in session.scalars(select(Attempt)):
        won[attempt.step_id] += attempt.outcome == "succeeded"
        if attempt.outcome in {"running", "failed"}:
            yield f"an attempt of step {attempt.step_id} is {attempt.outcome}: {attempt.error}"
    for step in session.scalars(select(Step)):
        if step.status != "succeeded" or won[step.id] != 1:
            yield f"step {step.name} of {step.run_id} is {step.status}, won by {won[step.id]} attempts: {step.error}"


def _documents(session: Session, site: Site, runs: Iterable[Run], found: Found) -> None:
    """Each key has one document, whose file is there, whole, and about that key alone."""
    files: dict[object, list[Artifact]] = defaultdict(list)
    for document_id, artifact in session.execute(
        select(RunArtifact.document_id, Artifact).join(Artifact, Artifact.id == RunArtifact.artifact_id)
    ):
        files[document_id].append(artifact)
    for run in runs:
        if run.schedule_key != "load":
            continue
        documents = session.scalars(select(Document).where(Document.run_id == run.id)).all()
        found.documents += len(documents)
        if sorted(one.key for one in documents) != KEYS:
            found.wrong.append(f"run {run.id} has documents {sorted(one.key for one in documents)}")
        for one in documents:
            for sentence in _file(site, one, files[one.id]):
                found.lost += 1
                found.wrong.append(sentence)


def _file(site: Site, document: Document, files: Sequence[Artifact]) -> Iterator[str]:
    if document.status != "rendered" or len(files) != 1:
        yield f"document {document.key} of {document.run_id} is {document.status} with {len(files)} files"
        return
    path = Path(files[0].uri.removeprefix("file://"))
    path = path if path.is_absolute() else site.home / "var" / "artifacts" / path
    data = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(data).hexdigest() != files[0].sha256:
        yield f"the file {path} of document {document.key} is not what was recorded"
    elif f"of {document.key}".encode() not in data or data.count(b"of k") != 1:
        yield f"the file of document {document.key} is about something else: {data!r}"


def _deliveries(session: Session, site: Site, runs: Iterable[Run], found: Found) -> None:
    """The mail server took each accepted message once, each doubtful one at most once, and nothing else."""
    taken = Counter(line["delivery"] for line in site.smtp.taken())
    known = set()
    for run in runs:
        if run.schedule_key != "load":
            continue
        rows = session.scalars(select(Delivery).where(Delivery.run_id == run.id)).all()
        found.deliveries += len(rows)
        if len(rows) != 2 * len(KEYS):
            found.wrong.append(f"run {run.id} has {len(rows)} deliveries")
        for row in rows:
            known.add(str(row.id))
            found.uncertain += row.status == "uncertain"
            _delivery(site, row, taken[str(row.id)], found)
    found.wrong += [f"the mail server took a message of no delivery: {one}" for one in taken.keys() - known]


def _delivery(site: Site, row: Delivery, taken: int, found: Found) -> None:
    if row.channel == "file":
        copy = site.home / "copies" / f"{row.key}.csv"
        if row.status != "accepted" or not copy.is_file() or f"of {row.key}" not in copy.read_text():
            found.lost += 1
            found.wrong.append(f"copy {row.key} of {row.run_id} is {row.status}, its file there: {copy.is_file()}")
        return
    if taken > 1:
        found.doubled += 1
        found.wrong.append(f"delivery {row.id} of {row.run_id} was mailed {taken} times")
    if row.status not in {"accepted", "uncertain"} or (row.status == "accepted" and not taken):
        found.lost += 1
        found.wrong.append(f"delivery {row.id} of {row.run_id} is {row.status}, and was taken {taken} times")


def _traces(session: Session, site: Site, runs: Iterable[Run]) -> Iterator[str]:
    """Every step of the workflow has left its line; what a step was handed is what those before it returned.

    A step that was killed after its line, and before that was recorded, is done again: no line is there too often for
    any other reason.
    """
    path = site.home / "traces.txt"
    lines = Counter(path.read_text().splitlines() if path.is_file() else [])
    tries = Counter(
        f"{step.run_id} {step.name.replace(':', ' ')}"
        for step in session.scalars(select(Step).join(Attempt, Attempt.step_id == Step.id))
    )
    numbers = " ".join(map(str, range(PARTS)))
    for run in runs:
        if run.schedule_key != "traces":
            continue
        wanted = [
            f"{run.id} first",
            *(f"{run.id} part {number}" for number in range(PARTS)),
            f"{run.id} last {numbers}",
        ]
        for line in wanted:
            most = tries[line.removesuffix(f" {numbers}") if "last" in line else line]
            if not 1 <= lines.pop(line, 0) <= most:
                yield f"trace {line!r} is not there once for each try ({most}) at most, and at least once"
    yield from (f"a trace that nobody should have left: {line}" for line in lines)


def settled(site: Site) -> bool:
    """Whether nothing is under way any more."""
    with Session(site.engine) as session:
        return session.scalar(select(Run.id).where(Run.finished_at.is_(None)).limit(1)) is None


def recoveries(site: Site, ends: Sequence[datetime]) -> list[float]:
    """For each of these instants the seconds until the first step after it succeeded, if anything was left to do."""
    with Session(site.engine) as session:
        done = session.scalars(select(Attempt.finished_at).where(Attempt.outcome == "succeeded")).all()
    after = ([one for one in done if one and one >= end] for end in ends)
    return [(min(found) - end).total_seconds() for end, found in zip(ends, after, strict=True) if found]


def healed(site: Site) -> Counter[str]:
    """What runs tell of their healing, without who and what."""
    with Session(site.engine) as session:
        texts = session.scalars(select(RunEvent.text).where(RunEvent.kind == "healed")).all()
    return Counter(re.sub(r"^[^ ].*?: ", "", re.sub(r"process \S+", "a process", text)) for text in texts)
