"""Builds the example's SQLite database from the real flights committed in examples/nycflights13."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from contextlib import closing
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import PermanentError, Refused
from pipeline.settings import settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

DATA = Path(__file__).parent.parent / "examples" / "nycflights13"

# SQLite keeps both numbers in the file's header: the first says whose file it is, the second what is in it.
APPLICATION = 0x4E594331
VERSION = 1  # raise it with every change of the tables or their rows: older databases are then built anew

# A build that dies is thrown away, so nothing needs a journal.
UNSAFE = "pragma journal_mode = off; pragma synchronous = off;"
TABLES = """
create table flights (
    id integer primary key,         -- in the order of departure
    time_hour text not null,        -- scheduled departure cut to the hour, UTC, 'YYYY-MM-DD HH:MM:SS'
    day text not null,              -- scheduled departure, on New York's calendar, 'YYYY-MM-DD'
    sched_dep_time integer not null, -- New York's clock: 1705 is 17:05
    dep_delay integer,              -- minutes, early is negative; null when cancelled
    arr_delay integer,              -- minutes; null when cancelled or diverted
    cancelled integer not null,     -- 1: never left
    carrier text not null,
    flight integer not null,
    tailnum text,
    origin text not null,
    dest text not null,
    air_time integer,               -- minutes
    distance integer not null       -- statute miles
);
create table airlines (carrier text primary key, name text not null);
create table airports (faa text primary key, name text not null, lat real, lon real, alt integer, tz integer, dst text,
    tzone text);
create table planes (tailnum text primary key, year integer, type text, manufacturer text, model text, engines integer,
    seats integer, speed integer, engine text);
create table contacts (
    key text not null,              -- a carrier, a destination or a tail number, as kind says
    kind text not null check (kind in ('carrier', 'destination', 'aircraft')),
    email text not null,
    name text not null,
    locale text not null,
    active integer not null,
    primary key (kind, key, email)
);
"""
INDEXES = """
create index flights_time_hour on flights (time_hour);
create index flights_tailnum on flights (tailnum);
create index flights_carrier on flights (carrier);
create index flights_dest on flights (dest);
analyze;
"""

# No two flights share all five: with them the same flight has the same id in every build.
FLIGHT_KEY = ["time_hour", "sched_dep_time", "carrier", "flight", "origin"]

PEOPLE = [
    ("Grace Holloway", "en_US"),
    ("José Ñandú", "es_ES"),
    ("Zoë Müller", "de_DE"),
    ("Marcus O'Neill", "en_US"),
    ("Anaïs Lefèvre", "fr_FR"),
    ("Łucja Żak", "pl_PL"),
    ("Denise Park", "en_US"),
    ("Søren Ødegård", "nb_NO"),
    ("João Conceição", "pt_BR"),
]
WITHOUT_FLIGHTS = "XE"  # a carrier that no flight names any more
WITHOUT_CONTACT = "CAE"  # a destination of two or three flights a week


def source_url(name: str) -> str:
    """The URL of the database that reports call `name`; the example's own is built here on first use.

    Raises DefinitionError for a database that is not known, and what `ensure_database` raises.
    """
    url = settings().source_url(name)
    path = settings().var / "example" / "flights.db"
    if url == f"sqlite:///{path}":
        ensure_database(path, settings().home / "examples" / "nycflights13")
    return url


def ensure_database(path: Path, data: Path | None = None) -> bool:
    """Build the example database at `path` unless it is there and current; return True when this call built it.

    `data` is the folder of the committed files; default: the one beside this package.

    Callers at once are harmless: a lock file beside it lets one build, and the finished file appears in one instant.
    Raises Refused when `path` holds something else, PermanentError when the data folder is missing.
    """
    if is_current(path):
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f"{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if is_current(path):
            return False
        unfinished = path.with_name(f"{path.name}.unfinished")
        try:
            unfinished.unlink(missing_ok=True)  # of a build that was killed
            build(unfinished, data or DATA)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
    return True


def is_current(path: Path) -> bool:
    """Tell whether `path` is this version of the example; raise Refused when it is somebody else's file."""
    # An empty file is what a client leaves that connected before there was a database.
    if not path.exists() or path.stat().st_size == 0:
        return False
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            (application,) = connection.execute("pragma application_id").fetchone()
            (version,) = connection.execute("pragma user_version").fetchone()
    except sqlite3.DatabaseError:
        application = version = None
    if application != APPLICATION:
        raise Refused(f"{path}: not the example database; move it away or choose another path for the example")
    return bool(version == VERSION)


def build(path: Path, data: Path) -> None:
    """Write the whole database to the new file `path`, down to the disk; takes about three seconds."""
    if not (data / "flights.parquet").exists():
        raise PermanentError(f"{data}: the example's data is missing; it comes with a clone of the repository only")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript(f"pragma application_id = {APPLICATION}; pragma user_version = {VERSION};")
        connection.executescript(UNSAFE + TABLES)
        connection.execute("begin")
        for name in ("airlines", "airports", "planes"):
            load(connection, name, read(data, name))
        load(connection, "flights", flights(data))
        connection.executemany("insert into contacts values (?, ?, ?, ?, ?, ?)", contacts(connection))
        connection.execute("commit")
        connection.executescript(INDEXES)
    with path.open("rb") as written:
        os.fsync(written.fileno())


def read(data: Path, name: str) -> pa.Table:
    """Read one of the committed files."""
    from pyarrow import parquet

    return parquet.read_table(data / f"{name}.parquet")


def flights(data: Path) -> pa.Table:
    """Return the flights in the order of departure, instants and days as the text that the table holds."""
    import pyarrow as pa

    table = read(data, "flights").sort_by([(name, "ascending") for name in FLIGHT_KEY])
    texts = {"time_hour": table["time_hour"].cast(pa.timestamp("s")), "day": table["day"]}
    for name, column in texts.items():
        table = table.set_column(table.column_names.index(name), name, column.cast(pa.string()))
    return table


def load(connection: sqlite3.Connection, name: str, table: pa.Table) -> None:
    """Insert all rows of `table` into the table `name`, column by column of the same name."""
    columns, marks = ", ".join(table.column_names), ", ".join("?" * table.num_columns)
    for batch in table.to_batches(max_chunksize=50_000):
        rows = zip(*(column.to_pylist() for column in batch.columns), strict=True)
        connection.executemany(f"insert into {name} ({columns}) values ({marks})", rows)  # noqa: S608 - our names


def contacts(connection: sqlite3.Connection) -> Iterator[tuple[str, str, str, str, str, bool]]:
    """Yield invented contacts, the same in every build, at addresses that RFC 2606 and RFC 6761 reserve.

    As in real life some left (not active), one destination has none, and one belongs to a carrier without flights.
    """
    people = cycle(PEOPLE)
    for position, carrier in enumerate(distinct(connection, "carrier")):
        yield carrier, "carrier", f"ops@{carrier.lower()}.example", *next(people), True
        if position % 3 == 1:
            yield carrier, "carrier", f"customers@{carrier.lower()}.example", *next(people), position % 2 == 1
    yield WITHOUT_FLIGHTS, "carrier", f"ops@{WITHOUT_FLIGHTS.lower()}.example", *next(people), True
    for dest in distinct(connection, "dest"):
        if dest != WITHOUT_CONTACT:
            yield dest, "destination", f"arrivals+{dest.lower()}@example.com", *next(people), True
    for position, tail in enumerate(distinct(connection, "tailnum"), start=1):
        yield tail, "aircraft", f"fleet+{tail.lower()}@example.com", f"Fleet desk {tail}", "en_US", position % 1000 != 0


def distinct(connection: sqlite3.Connection, column: str) -> list[str]:
    """Return the values that `column` takes in flights, sorted, without NULL."""
    query = f"select distinct {column} from flights where {column} is not null order by {column}"  # noqa: S608 - ours
    return [value for (value,) in connection.execute(query)]
