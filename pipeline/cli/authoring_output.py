"""How checks and new homes are told: tables and sentences for people, dictionaries for machines."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.cli import tables
from pipeline.services.answers import wording

if TYPE_CHECKING:
    from rich.table import Table

    from pipeline.authoring.check import Checked, Fault
    from pipeline.authoring.reports import Sample

# What stands in a new home, in the order in which people get to know it.
HOME = (
    ("schedules/stock.yaml", "an example with comments: a report from data/stock.csv"),
    ("templates/", "optional: the looks of single reports"),
    ("reports/", "optional: code, where a report needs logic"),
    ("workflows/", "optional: batch jobs of your own, with an example"),
    ("tests/", "one test that everything is in order"),
    (".env", "every setting, with its default and its meaning"),
    ("Dockerfile", "the home on top of the worker's image"),
)
NEXT = (
    ("pipeline check", "is everything in order?"),
    ("pipeline preview stock", "makes one of the example's documents, sends nothing"),
    ("pipeline new NAME", "a report of your own: asks four questions"),
    ("pipeline up", "starts everything; mail is caught in var/outbox"),
)


def show_checked(found: Checked) -> None:
    """Print what is in order as a table, then every fault in a line, then the sum."""
    out = tables.console()
    if found.fine:
        out.print(_fine(found))
        out.print()
    show_faults(found)
    out.print(tables.hint(_sum(found)), style="red" if found.faults else "green" if found.fine else "")


def show_faults(found: Checked) -> None:
    """Print every note and fault in a line."""
    out = tables.console()
    for kind, faults in (("note", found.notes), ("fault", found.faults)):
        for one in faults:
            style = "red" if kind == "fault" else "yellow"
            out.print(
                tables.words(kind, style).append_text(tables.words(f"{' ' * (6 - len(kind))}{one}")), soft_wrap=True
            )
    if found.notes or found.faults:
        out.print()


def _fine(found: Checked) -> Table:
    made = tables.table("schedule", "when", "what", whole=("schedule",))
    for one in found.fine:
        parts = list(one.parts) if one.target == one.name else [one.target, *one.parts]
        made.add_row(tables.words(one.name), tables.words(one.when), tables.words(", ".join(parts), "dim"))
    return made


def _sum(found: Checked) -> str:
    fine = f"{wording.counted(len(found.fine), 'schedule')} {'is' if len(found.fine) == 1 else 'are'} in order"
    if not found.faults:
        return f"{fine}." if found.fine else "There is no schedule yet: `pipeline new NAME` makes one."
    files = len({fault.place.partition(":")[0] for fault in found.faults if fault.place})
    where = f" in {wording.counted(files, 'file')}" if files else ""
    return f"{wording.counted(len(found.faults), 'fault')}{where}; {fine}."


def checked_as_json(found: Checked) -> dict[str, Any]:
    """The same for machines: `file` is relative to the home and may end in the number of a line."""
    return {
        "ok": not found.faults,
        "faults": [_fault(fault) for fault in found.faults],
        "notes": [_fault(note) for note in found.notes],
        "fine": [asdict(one) for one in found.fine],
    }


def _fault(fault: Fault) -> dict[str, str]:
    return {"file": fault.place, "field": fault.field, "message": fault.reason, "text": str(fault)}


def show_home(folder: Path) -> None:
    """Print what is in a new home and what to do next."""
    out = tables.console()
    out.print(tables.words(f"A home of your own is in {folder}:", "bold"))
    out.print(_listed(HOME))
    out.print(tables.words("What to do next:", "bold"))
    here = folder.absolute() == Path.cwd()
    out.print(_listed(NEXT if here else ((f"cd {folder}", ""), *NEXT), "cyan"))
    out.print(tables.words("Your databases, relay and time zone stand in .env; README.md says the rest."))


def _listed(rows: tuple[tuple[str, str], ...], style: str = "") -> Table:
    from rich.table import Table

    made = Table.grid(padding=(0, 3, 0, 0))
    for first, second in rows:
        made.add_row(tables.words(f"  {first}", style), tables.words(second, "dim"))
    return made


def show_sample(sample: Sample, period: str, *, of_days: bool = False) -> None:
    """Print the first rows as a table with types; `of_days`: that the query was found to compare days."""
    out = tables.console()
    bound = "".join(f"  :{name} = {value}" for name, value in sample.bound.items())
    out.print()
    if sample.rows:
        out.print(_sample(sample))
    out.print(tables.words(f"{sample.count:,} rows" + (f" for {period}{bound}" if bound else ""), "dim"))
    if of_days:
        out.print(tables.words("The query compares days, so the report says time: date.", "dim"))
    if not sample.count:
        out.print(tables.words("The query is fine, and gives no rows for this period.", "yellow"))
    out.print()


def _sample(sample: Sample) -> Table:
    made = tables.table(*(f"{name}\n{kind}" for name, kind in sample.columns.items()))
    for row in sample.rows:
        made.add_row(
            *(tables.words("NULL" if value is None else value, "dim" if value is None else "") for value in row)
        )
    return made
