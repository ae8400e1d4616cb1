"""A plan in the making, in a file of its own: which documents, and who gets them, in order, with flat memory."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self
from uuid import UUID

# Nobody reads it after a crash. The cache (KiB) is all of it that is held in memory, however many there are.
PRAGMAS = ("journal_mode=OFF", "synchronous=OFF", "locking_mode=EXCLUSIVE", "cache_size=-16384")
TABLES = """
create table mails (
    address text, key text, name text, locale text, zone text, problem text, ended text, barred text, place integer,
    primary key (key, address)
) without rowid;
create table combined (
    address text primary key, key text, name text, locale text, zone text, problem text, ended text, barred text,
    place integer
) without rowid;
create table named (key text primary key) without rowid;
create table counted (key text primary key, rows integer) without rowid;
create table documents (key text primary key, id blob, batch integer) without rowid;
"""
FIELDS = "address, key, name, locale, zone, problem, ended, barred"
COUNT = "insert into counted values (?, ?) on conflict (key) do update set rows = rows + excluded.rows"
# Of whoever is named twice for a key, the first is taken.
ADD = f"insert or ignore into mails ({FIELDS}, place) values (?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - our own words
WITH_DOCUMENTS = "from mails left join documents using (key)"
CARRIED = "id is not null and problem is null and ended is null"
# All documents of an address go in one message, to the person who was named first.
COMBINE = f"""
insert into combined select address, :key, name, locale, zone, problem, ended, barred, place {WITH_DOCUMENTS}
where {CARRIED} on conflict (address) do update set name = excluded.name, locale = excluded.locale,
    zone = excluded.zone, barred = excluded.barred, place = excluded.place
where excluded.place < place
"""


class Addressee(NamedTuple):
    """Somebody who gets the document of `key`, or does not: `problem` says why nothing can be sent to the address.

    `ended`: how the address ended its subscription to this key, if it did; `barred`: why it gets nothing at all.
    """

    address: str
    key: str
    name: str | None = None
    locale: str | None = None
    zone: str | None = None
    problem: str | None = None
    ended: str | None = None
    barred: str | None = None


class Made(NamedTuple):
    """A document that the run makes."""

    key: str
    id: UUID
    batch: int


class Draft:
    """Rows are counted by key, addressees added, then documents that there are; what comes of it is read in order.

    `combined`: the key of messages that carry all documents of an address; None: each document is a message.
    """

    def __init__(self, path: Path | str, *, combined: str | None = None) -> None:
        self._combined = combined
        self._added = 0
        # How many rows have no key.
        self.without_key = 0
        # One thread at a time: what is read may be read ahead in another than that which wrote.
        self._file = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        for pragma in PRAGMAS:
            self._file.execute(f"pragma {pragma}")
        self._file.executescript(TABLES)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    # ---- keys

    def count(self, counts: Iterable[tuple[str | None, int]]) -> None:
        """Add so many rows to those of a key."""
        found = list(counts)
        self.without_key += sum(rows for key, rows in found if key is None)
        self._write(COUNT, ((key, rows) for key, rows in found if key is not None))

    @property
    def has_rows(self) -> bool:
        return self.without_key > 0 or self._count("select exists (select 1 from counted where rows > 0)") > 0

    def has(self, key: str) -> bool:
        """Whether some rows have the key."""
        return self._file.execute("select 1 from counted where key = ?", (key,)).fetchone() is not None

    def keep(self, keys: Iterable[str]) -> None:
        """Forget all keys but these, which have rows."""
        one = "select key, rows from counted where key = ?"
        kept = [self._file.execute(one, (key,)).fetchone() for key in dict.fromkeys(keys)]
        self._file.execute("delete from counted")
        self.without_key = 0
        self.count(kept)

    def keys_with_rows(self) -> Iterator[str]:
        """The keys, in order."""
        return (key for (key,) in self._file.execute("select key from counted order by key"))

    def count_keys(self, *, named: bool) -> int:
        """How many keys have rows and, with `named`, somebody who was named for them."""
        return self._count(f"select count(*) from counted {'join named using (key)' if named else ''}")  # noqa: S608

    def counted(self) -> Iterator[tuple[str, int, bool]]:
        """Each key that has rows, in order: how many, and whether somebody was named for it."""
        rows = "select key, rows, named.key is not null from counted left join named using (key) order by key"
        return ((key, count, bool(named)) for key, count, named in self._file.execute(rows))

    # ---- addressees

    def add(self, addressees: Iterable[Addressee]) -> None:
        """Add some, in the order in which they were named."""
        rows = [(*one, place) for place, one in enumerate(addressees, self._added)]
        self._added += len(rows)
        self._write("insert or ignore into named values (?)", [(key,) for key in {row[1] for row in rows}])
        self._write(ADD, rows)

    # ---- documents

    def know(self, documents: Iterable[Made]) -> None:
        """Add the documents that are made; call it when all addressees are there."""
        rows = ((one.key, one.id.bytes, one.batch) for one in documents)
        self._write("insert or ignore into documents values (?, ?, ?)", rows)
        if self._combined is not None:
            self._file.execute(COMBINE, {"key": self._combined})

    def documents(self) -> Iterator[tuple[str, UUID]]:
        """The documents in the order of their keys."""
        for key, id_ in self._file.execute("select key, id from documents order by key"):
            yield key, UUID(bytes=id_)

    @property
    def batches(self) -> Batches:
        return Batches(self._file)

    def count_documents(self) -> int:
        return self._count("select count(*) from documents")

    # ---- messages

    def mails(self) -> Iterator[tuple[Addressee, UUID | None]]:
        """Whoever is to get a message with its document, or gets none, by key and address; combined ones first."""
        for row in self._file.execute(f"select {FIELDS} from combined order by address"):  # noqa: S608
            yield Addressee._make(row), None
        of_their_own = f"{WITH_DOCUMENTS} where {self._alone}"
        for *row, id_ in self._file.execute(f"select {FIELDS}, id {of_their_own} order by key, address"):
            yield Addressee._make(row), _uuid(id_) if id_ else None

    def count_mails(self) -> int:
        """How many messages have something to carry, whether or not their address may get any."""
        alone = self._count(f"select count(*) {WITH_DOCUMENTS} where id is not null and {self._alone}")
        return alone + self._count("select count(*) from combined")

    def carried(self) -> Iterator[tuple[str, UUID]]:
        """Each address with a document that its combined message carries."""
        if self._combined is not None:
            carried = f"{WITH_DOCUMENTS} where {CARRIED}"
            for address, id_ in self._file.execute(f"select address, id {carried} order by key, address"):
                yield address, UUID(bytes=id_)

    @property
    def _alone(self) -> str:
        """The condition of those who are not part of a combined message."""
        return "true" if self._combined is None else f"not ({CARRIED})"

    def _write(self, statement: str, rows: Iterable[tuple[object, ...]]) -> None:
        self._file.execute("begin")
        self._file.executemany(statement, rows)
        self._file.execute("commit")

    def _count(self, question: str) -> int:
        return int(self._file.execute(question).fetchone()[0])


class Batches:
    """The batch of each document's key, as a dict would say it, looked up where it lies."""

    def __init__(self, file: sqlite3.Connection) -> None:
        self._file = file

    def get(self, key: str) -> int | None:
        found = self._file.execute("select batch from documents where key = ?", (key,)).fetchone()
        return found[0] if found else None

    def values(self) -> list[int]:
        """The numbers of the batches, in order."""
        return [number for (number,) in self._file.execute("select distinct batch from documents order by batch")]


# Many who follow each other get the same document.
_uuid = lru_cache(maxsize=1)(lambda raw: UUID(bytes=raw))
