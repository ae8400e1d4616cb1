"""A scripted SMTP server: the recipient's local part chooses how it behaves, and its log is the ground truth.

The part before a `+` counts, so that `ok+17@example.org` and `550+17@example.org` are as many mailboxes as wanted:

ok (and any other name)  takes the message
NNN                      refuses RCPT with that code, such as 550; 421 hangs up as well
NNNxN                    refuses RCPT with that code so many times for this address, such as 451x2, then takes it
dot-NNN                  refuses with that code after the final dot
dot-nonsense             answers the final dot with what is no reply
drop-before-354          hangs up on DATA
drop-mid-body            hangs up after the body's first line
552-mid-body             says 552 after the body's first line, and hangs up
store-then-drop          takes the message, and hangs up instead of saying so
slow-dot                 takes the message, and says so seconds later

Run alone: `python -m tests.smtp_server PORT LOG [SLOW_SECONDS]`.
"""
# ruff: noqa: N802 - aiosmtpd finds its hooks by these names

from __future__ import annotations

import asyncio
import email
import json
import os
import re
import signal
import ssl
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session

from pipeline.adapters.mailer import Relay

TEXTS = {
    "421": "4.3.2 Service not available, closing transmission channel",
    "451": "4.2.1 Mailbox busy, try again later",
    "550": "5.1.1 Recipient address rejected: User unknown",
    "554": "5.7.1 Relay access denied",
}


class ScriptedServer:
    """Listens on loopback in a thread of its own; `log` gets a line, fsynced, for every message taken."""

    host = "127.0.0.1"

    def __init__(
        self,
        log: Path,
        *,
        port: int = 0,
        slow: float = 5.0,
        smtps: ssl.SSLContext | None = None,
        pipelining: bool = True,
        **options: Any,
    ) -> None:
        self.log, self.port, self.slow, self.smtps, self.pipelining = log, port, slow, smtps, pipelining
        self.options = {"hostname": "mx.example.org", "ident": "scripted", **options}
        self.commands: Counter[str] = Counter()
        self.connections = 0
        # The bytes of every message taken, as long as the process lives.
        self.contents: list[bytes] = []
        # What it says to MAIL FROM, if anything, and after each code to RCPT.
        self.refuse_sender = ""
        # Whether it offers a TLS that it does not have.
        self.broken_tls = False
        # Whether it forgets what was written after a dot before it has answered.
        self.flushes = False
        self.texts = dict(TEXTS)
        self.open: set[SMTP] = set()
        self.refused: Counter[str] = Counter()

    @property
    def url(self) -> str:
        return f"{'smtps' if self.smtps else 'smtp'}://{self.host}:{self.port}"

    def taken(self) -> list[dict[str, Any]]:
        """The log: delivery, message_id, sender, recipient, behaviour, size and the UTC instant of each message."""
        return [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []

    def start(self) -> ScriptedServer:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self.loop).result(60)
        return self

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self.loop).result(60)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(60)
        self.loop.close()

    async def _listen(self) -> None:
        def connection() -> SMTP:
            return Connection(self, loop=self.loop, **self.options)

        self.server = await self.loop.create_server(connection, self.host, self.port, ssl=self.smtps)
        self.port = self.server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        self.server.close()
        for connection in list(self.open):
            connection.transport.abort()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def store(self, envelope: Envelope, behaviour: str) -> None:
        """Keep the message and write its line to the disk before anybody is told."""
        content = bytes(envelope.original_content or b"")
        head = email.message_from_bytes(content.partition(b"\r\n\r\n")[0])
        line = {
            "delivery": head["X-Delivery-ID"],
            "message_id": head["Message-ID"],
            "sender": envelope.mail_from,
            "recipient": envelope.rcpt_tos[0],
            "behaviour": behaviour,
            "size": len(content),
            "at": datetime.now(UTC).isoformat(),
        }
        log = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(log, json.dumps(line).encode() + b"\n")
        os.fsync(log)
        os.close(log)
        self.contents.append(content)

    async def handle_EHLO(
        self, _connection: SMTP, session: Session, _envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        offers = [name for name, on in (("PIPELINING", self.pipelining), ("STARTTLS", self.broken_tls)) if on]
        return [responses[0], *(f"250-{name}" for name in offers), *responses[1:]]

    async def handle_NOOP(self, *_: Any) -> str:
        self.commands["NOOP"] += 1
        return "250 2.0.0 Ok"

    async def handle_RSET(self, *_: Any) -> str:
        self.commands["RSET"] += 1
        return "250 2.0.0 Ok"

    async def handle_MAIL(
        self, _connection: SMTP, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.refuse_sender:
            return self.refuse_sender
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 2.1.0 Ok"

    async def handle_RCPT(
        self, connection: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        self.commands["RCPT"] += 1
        scripted = re.fullmatch(r"(\d{3})(?:x(\d+))?", behaviour_of(address))
        code, times = scripted.groups() if scripted else (None, None)
        if code is None or (times is not None and self.refused[address] >= int(times)):
            envelope.rcpt_tos.append(address)
            return "250 2.1.5 Ok"
        self.refused[address] += 1
        if code == "421":
            await connection.push(f"421 {self.texts[code]}")
            connection.transport.close()
        return f"{code} {self.texts.get(code, code[0] + '.0.0 refused by the script')}"

    async def handle_DATA(self, connection: SMTP, _session: Session, envelope: Envelope) -> str:
        if self.flushes:
            connection._reader._buffer.clear()
        behaviour = behaviour_of(envelope.rcpt_tos[0])
        if behaviour.startswith("dot-"):
            code = behaviour.removeprefix("dot-")
            return "what?" if code == "nonsense" else f"{code} {code[0]}.7.1 refused after the final dot"
        self.store(envelope, behaviour)
        if behaviour == "store-then-drop":
            connection.transport.abort()
        elif behaviour == "slow-dot":
            await asyncio.sleep(self.slow)
        return f"250 2.0.0 Ok: queued as {len(self.contents):08X}"


class Connection(SMTP):
    """One client's connection, which can break off in the middle."""

    def __init__(self, script: ScriptedServer, **options: Any) -> None:
        super().__init__(script, **options)
        self.script = script

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.script.open.add(self)
        self.script.connections += not isinstance(transport, asyncio.sslproto._SSLProtocolTransport)

    def connection_lost(self, error: Exception | None) -> None:
        self.script.open.discard(self)
        super().connection_lost(error)

    async def push(self, status: Any) -> None:
        if not self.transport.is_closing():
            await super().push(status)

    async def smtp_DATA(self, arg: str) -> None:
        behaviour = behaviour_of(self.envelope.rcpt_tos[0]) if self.envelope.rcpt_tos else ""
        if behaviour == "drop-before-354":
            self.transport.close()
        elif behaviour in {"drop-mid-body", "552-mid-body"}:
            await self.push("354 End data with <CR><LF>.<CR><LF>")
            await self._reader.readline()
            if behaviour == "552-mid-body":
                await self.push("552 5.3.4 That is more than I can take")
            self.transport.close()
        else:
            await super().smtp_DATA(arg)


def committing(relay: Relay, behaviour: str) -> Callable[[], None]:
    """A commit that takes its time: what the server does meanwhile is noticed before the dot."""

    def commit() -> None:
        deadline = time.monotonic() + 60
        while behaviour.endswith("mid-body") and time.monotonic() < deadline and not relay._connection.interrupted():
            time.sleep(0.01)

    return commit


def behaviour_of(address: str) -> str:
    return address.partition("@")[0].partition("+")[0]


@pytest.fixture
def smtp_server(tmp_path: Path) -> Iterator[ScriptedServer]:
    """A scripted server on a free port, gone after the test."""
    server = ScriptedServer(tmp_path / "smtp.log", slow=0.5).start()
    yield server
    server.stop()


def main(port: str, log: str, slow: str = "5") -> None:
    server = ScriptedServer(Path(log), port=int(port), slow=float(slow)).start()
    sys.stdout.write(f"{server.url}\n")
    sys.stdout.flush()
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    server.stop()


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    main(*sys.argv[1:])
