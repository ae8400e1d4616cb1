"""Making messages, without sending them: ours beside a loop over EmailMessage, the same templates filled in."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email import policy
from email.message import EmailMessage
from pathlib import Path
from statistics import median
from typing import Any

import dkim
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from css_inline import CSSInliner
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from benchmarks.bare_context import FILTERS, PERIOD, message_context
from benchmarks.product import ROOT
from benchmarks.results import Result, Target
from pipeline.adapters.documents import Enclosure, Envelope, bundle, render_message_parts, unpack
from pipeline.adapters.messages import Attachment, EncodedAttachment, compose, encode
from pipeline.adapters.messages.signing import Signer
from pipeline.schedule import Person

AT = datetime(2026, 11, 16, 6, tzinfo=UTC)
SENDER, SELECTOR, DOMAIN = "Reports <reports@example.com>", "s2026", "example.com"
ROWS = [{"dep_delay": 4.0, "arr_delay": -2.0}, {"dep_delay": 12.0, "arr_delay": 9.0}]
ROUNDS = 3
FACTS: dict[str, Any] = {
    "template": "aircraft_log", "title": "Aircraft log", "key": "N1", "key_label": "Tailnum", "report": "aircraft_log",
    "period": {"start": "2013-09-09T04:00:00+00:00", "end": "2013-09-23T04:00:00+00:00", "zone": "America/New_York",
               "label": "2013-09-09..2013-09-23"},
    "figures": [
        {"label": "Left late, average", "value": "8.0 min"}, {"label": "Arrived late, average", "value": "3.5 min"},
    ],
    "summary": "", "rows_count": 2, "generated_at": AT.isoformat(), "locale": "en", "zone": "UTC", "params": {},
    "extra": {},
}  # fmt: skip


class Ours:
    """Messages as a worker makes them; `own` files are encoded for each message, a shared one once."""

    def __init__(self, folder: Path, signer: Signer | None = None) -> None:
        self.templates, self.signer = folder, signer

    def make(self, number: int, file: Attachment | EncodedAttachment | None) -> bytes:
        parts = render_message_parts(
            [Enclosure(FACTS, ["aircraft_log-N1.pdf"] if file else [])],
            self.templates,
            {"name": f"Ann {number}"},
            Envelope(schedule="aircraft_log", sender=SENDER),
        )
        return compose(
            sender=SENDER,
            recipient=Person(email=f"a{number}@example.org", name=f"Ann {number}"),
            subject=parts.subject,
            text=parts.text,
            html=parts.html,
            attachments=[file] if file else [],
            message_id=f"<{number}@example.com>",
            delivery_id=str(number),
            date=AT,
            list_id="<aircraft_log.example.com>",
            signer=self.signer,
        )


class Theirs:
    """The loop that anybody would write: compiled templates, EmailMessage, and dkimpy where it is signed."""

    def __init__(self, folder: Path, key: bytes | None = None) -> None:
        loader = FileSystemLoader([folder / "aircraft_log", folder / "_base", folder])
        self.environment = Environment(
            loader=loader,
            undefined=StrictUndefined,
            autoescape=select_autoescape(default=True, disabled_extensions=("txt",)),
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self.environment.filters |= FILTERS
        self.words = json.loads((folder / "_base" / "words.json").read_text())["en"]
        self.inliner, self.key = CSSInliner(load_remote_stylesheets=False, keep_at_rules=True), key

    def make(self, number: int, file: Attachment | None) -> bytes:
        context = message_context("N1", f"Ann {number}", ROWS, "aircraft_log-N1.pdf", self.words)
        said = {part: self.environment.get_template(part).render(context) for part in ("subject.txt", "body.txt")}
        message = EmailMessage(policy=policy.SMTP)
        message["From"], message["To"] = SENDER, f"Ann {number} <a{number}@example.org>"
        message["Subject"], message["Message-ID"] = said["subject.txt"].strip(), f"<{number}@example.com>"
        message.set_content(said["body.txt"].strip() + "\n")
        html = self.inliner.inline(self.environment.get_template("body.html").render(context))
        message.add_alternative(html, subtype="html")
        if file:
            message.add_attachment(file.data, maintype="application", subtype="pdf", filename=file.name)
        data = message.as_bytes()
        headers = [b"from", b"to", b"subject", b"message-id", b"content-type", b"mime-version"]
        if self.key is None:
            return data
        return dkim.sign(data, SELECTOR.encode(), DOMAIN.encode(), self.key, include_headers=headers) + data


def measure(count: int) -> Result:
    """Messages a second of one process, both by turns."""
    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    with tempfile.TemporaryDirectory() as scratch:
        packed = bundle(ROOT / "templates", "aircraft_log")
        folder = unpack(packed, Path(scratch) / hashlib.sha256(packed).hexdigest())
        own = [Attachment("aircraft_log-N1.pdf", "application/pdf", os.urandom(12_000)) for _ in range(count)]
        shared, ready = [own[0]] * count, [encode(own[0])] * count
        plain: list[None] = [None] * count
        ours, theirs = Ours(folder), Theirs(folder)
        signed, signs = Ours(folder, Signer(key, SELECTOR, DOMAIN)), Theirs(folder, pem)
        cases = [
            ("without attachment", [(ours.make, plain), (theirs.make, plain)]),
            ("each with 12 kB of its own", [(ours.make, own), (theirs.make, own)]),
            ("12 kB that all share", [(ours.make, ready), (theirs.make, shared)]),
            ("12 kB of its own, signed (RSA, 2,048 bits)", [(signed.make, own), (signs.make, own)]),
        ]
        speeds = {name: by_turns(pair) for name, pair in cases}
    ours_shared, theirs_shared = speeds[cases[2][0]]
    rows = [(name, f"{a:,.0f}", f"{b:,.0f}", f"{a / b:.1f}") for name, (a, b) in speeds.items()]
    return Result(
        "composing",
        f"Messages made, text and HTML, by one process ({count:,} of each, medians of {ROUNDS})",
        ("", "ours, a second", "EmailMessage, a second", "times as fast"),
        rows,
        {"period": PERIOD, "messages_per_second": speeds},
        [
            Target(
                "time of a message that shares a file, EmailMessage = 1",
                theirs_shared / ours_shared,
                0.5,
            ),
        ],
        ["Both fill in the same three templates and write the styles into the tags. Signed: ours, and dkimpy."],
    )


def by_turns(pair: list[tuple[Callable[[int, Any], bytes], list[Any]]]) -> tuple[float, float]:
    """Messages a second of each of the two, who take turns."""
    found: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        for (make, files), speeds in zip(pair, found, strict=True):
            make(0, files[0])
            began = time.perf_counter()
            for number, file in enumerate(files):
                make(number, file)
            speeds.append(len(files) / (time.perf_counter() - began))
    return median(found[0]), median(found[1])
