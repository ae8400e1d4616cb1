"""The bare loop: fetch, render as WeasyPrint's documentation shows, mail; two processes, none of the pipeline's code.

It fills in the same template files, so the two documents of a key have the same pages and the same text. Run as
`python -m benchmarks.bare_loop JSON`, where JSON holds the fields of `Job`; it prints what it did, as JSON.
"""

from __future__ import annotations

import gc
import json
import smtplib
import sqlite3
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import EmailMessage
from itertools import groupby
from multiprocessing import Pool
from operator import itemgetter
from pathlib import Path
from typing import Any

from css_inline import CSSInliner
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from weasyprint import CSS, HTML
from weasyprint.text.fonts import FontConfiguration

from benchmarks.bare_context import FILTERS, document_context, message_context

CONTACTS = "select key, email, name from contacts where kind = 'aircraft' and active = 1"


@dataclass(frozen=True)
class Job:
    """What is asked for; `tuned` keeps fonts, stylesheet and garbage from one document to the next."""

    database: str
    sql: str
    parameters: dict[str, Any]
    templates: str
    smtp_port: int
    processes: int = 2
    tuned: bool = False
    # Where the PDFs are kept, to be compared; only ever given where no time is taken.
    keep: str | None = None


class Worker:
    """What one process needs for all its documents: compiled templates and one connection."""

    def __init__(self, job: Job) -> None:
        self.job = job
        folder = Path(job.templates)
        self.environment = Environment(
            loader=FileSystemLoader([folder / "aircraft_log", folder / "_base", folder]),
            undefined=StrictUndefined,
            autoescape=select_autoescape(default=True, disabled_extensions=("txt",)),
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self.environment.filters |= FILTERS
        self.words = json.loads((folder / "_base" / "words.json").read_text())["en"]
        self.css = (folder / "_base" / "document.css").read_text()
        self.inliner = CSSInliner(load_remote_stylesheets=False, keep_at_rules=True)
        self.smtp = smtplib.SMTP("127.0.0.1", job.smtp_port, local_hostname="localhost")
        self.fonts: FontConfiguration | None = None
        self.sheet: CSS | None = None

    def make(self, rows: list[dict[str, Any]], contact: tuple[str, str]) -> int:
        """Render and mail the document of one aircraft; its pages."""
        key, (address, name) = rows[0]["tailnum"], contact
        html = self.environment.get_template("document.html").render(document_context(key, rows, self.words))
        document = self.laid_out(html)
        data = document.write_pdf(pdf_variant="pdf/ua-1")
        self.smtp.send_message(self.message(key, address, name, rows, data))
        if self.job.keep:
            Path(self.job.keep, f"{key}.pdf").write_bytes(data)
        return len(document.pages)

    def laid_out(self, html: str) -> Any:
        """With a new FontConfiguration and CSS per document, as "Tips & Tricks" has it; tuned: one per process."""
        if self.fonts is None or self.sheet is None or not self.job.tuned:
            self.fonts = FontConfiguration()
            self.sheet = CSS(string=self.css, font_config=self.fonts)
            if self.job.tuned:
                gc.collect()
                gc.freeze()
                gc.set_threshold(100_000, 20, 50)
        return HTML(string=html).render(stylesheets=[self.sheet], font_config=self.fonts, pdf_variant="pdf/ua-1")

    def message(self, key: str, address: str, name: str, rows: list[dict[str, Any]], data: bytes) -> EmailMessage:
        filename = f"aircraft_log-{key}.pdf"
        context = message_context(key, name, rows, filename, self.words)
        text = {part: self.environment.get_template(part).render(context) for part in ("subject.txt", "body.txt")}
        message = EmailMessage()
        message["From"], message["To"] = "Reports <reports@example.com>", address
        message["Subject"] = text["subject.txt"].strip()
        message.set_content(text["body.txt"].strip() + "\n")
        html = self.inliner.inline(self.environment.get_template("body.html").render(context))
        message.add_alternative(html, subtype="html")
        message.add_attachment(data, maintype="application", subtype="pdf", filename=filename)
        return message


_worker: Worker


def begin(job: Job) -> None:
    global _worker  # noqa: PLW0603 - one a process
    _worker = Worker(job)


def one(task: tuple[list[dict[str, Any]], tuple[str, str]]) -> int:
    return _worker.make(*task)


def fetched(job: Job) -> Iterator[tuple[list[dict[str, Any]], tuple[str, str]]]:
    """Each aircraft's rows and its contact; aircraft that nobody is to hear of are left out."""
    connection = sqlite3.connect(job.database)
    contacts = {key: (email, name) for key, email, name in connection.execute(CONTACTS)}
    cursor = connection.execute(job.sql, job.parameters)
    names = [column[0] for column in cursor.description]
    rows = (dict(zip(names, row, strict=True)) for row in cursor)
    for key, group in groupby(rows, itemgetter("tailnum")):
        if key in contacts:
            yield list(group), contacts[key]


def main() -> None:
    job = Job(**json.loads(sys.argv[1]))
    # The clock starts when everything is imported and the processes are there.
    with Pool(job.processes, begin, (job,)) as pool:
        pool.map(int, range(job.processes), chunksize=1)
        started = time.perf_counter()
        pages = list(pool.imap_unordered(one, fetched(job), chunksize=5))
        seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "documents": len(pages), "pages": sum(pages)}))


if __name__ == "__main__":
    main()
