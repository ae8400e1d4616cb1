"""A message as SMTP takes it: its envelope, and lines that end with CRLF."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipeline.adapters.messages import wire_address
from pipeline.adapters.smtp import Envelope


@dataclass(frozen=True, slots=True)
class Outgoing:
    """`of`: the sender, the address and the bytes that it was made from."""

    of: tuple[str, str, bytes]
    envelope: Envelope
    body: bytes

    @property
    def stuffed(self) -> bytes:
        """The body as it is written: a line that begins with a dot gets a second one (RFC 5321 4.5.2)."""
        if not self.body.startswith(b".") and b"\r\n." not in self.body:
            return self.body
        return re.sub(rb"^\.", b"..", self.body, flags=re.MULTILINE)

    @property
    def beyond_ascii(self) -> str:
        """The address that is not ASCII, or the header with one."""
        sender, recipient = self.envelope.sender, self.envelope.recipient
        if not sender.isascii() or not recipient.isascii():
            return f'"{recipient if sender.isascii() else sender}"'
        found = re.search(rb"^([!-9;-~]+):(?:[^\r\n]|\r\n[ \t])*?[\x80-\xff]", _head(self.body), re.MULTILINE)
        return f"its {found[1].decode()}" if found else "its header"


def outgoing(envelope_from: str, address: str, data: bytes) -> Outgoing:
    """Raises PermanentError for an address that is none."""
    sender = wire_address(envelope_from, "envelope sender") if envelope_from else ""
    recipient, body = wire_address(address, "recipient"), _lines(data)
    utf8 = not (sender.isascii() and recipient.isascii() and _head(body).isascii())
    return Outgoing((envelope_from, address, data), Envelope(sender, recipient, len(body), utf8), body)


def _head(body: bytes) -> bytes:
    return body.partition(b"\r\n\r\n")[0]


def _lines(data: bytes) -> bytes:
    """`data` with every line ended by CRLF, the last one too: a lone CR or LF is how mail is smuggled."""
    return b"\r\n".join(data.splitlines()) + b"\r\n"
