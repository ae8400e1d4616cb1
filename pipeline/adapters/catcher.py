"""The mail catcher: a real SMTP server that delivers nothing and keeps every message as an `.eml` file."""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import secrets
import signal
import socket
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from aiosmtpd.smtp import SMTP, Envelope, Session, syntax

from pipeline import __version__
from pipeline.errors import PermanentError

SIZE_LIMIT = 50 * 1024 * 1024
# fsync waits for the disk, not for the processor: several at once share one commit of the file system's journal
# (measured: 1,700 a second one after the other, 4,000 with eight threads) and the event loop never waits.
WRITERS = 8
PART = ".part"
END_OF_DATA = b"\r\n.\r\n"
# RFC 5321 4.5.3.1.6: 1,000 octets with the line's end. Real relays cut or refuse longer ones, so it shows here.
LINE_LIMIT = 998


class Outbox:
    """A folder of caught messages; a file in it is complete and on disk from the moment it has its name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for remains in folder.glob(f".*{PART}"):
            remains.unlink(missing_ok=True)

    def keep(self, sender: str, recipients: Sequence[str], content: bytes, at: datetime) -> str:
        """Stores one message as it came, below headers with its envelope, and returns its file name.

        `at` is an aware instant; names sort by it. Raises OSError when the disk refuses: then no file is left.
        """
        name = f"{at.astimezone(UTC):%Y%m%dT%H%M%SZ}-{_readable(recipients[0])}-{secrets.token_hex(4)}.eml"
        part = self.folder / f".{name}{PART}"
        envelope = f"X-Envelope-From: <{sender}>\r\nX-Envelope-To: {', '.join(recipients)}\r\n"
        try:
            _write_durably(part, envelope.encode(errors="surrogateescape") + content)
            part.rename(self.folder / name)
        except OSError:
            part.unlink(missing_ok=True)
            raise
        return name


def _readable(address: str) -> str:
    """The address as part of a file name: no separators, no control characters, short enough for any file system."""
    return re.sub(r"[^\w.@+-]", "_", address)[:60]


def _write_durably(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


class Catcher:
    """What aiosmtpd asks when a message has come."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._writers = ThreadPoolExecutor(WRITERS, thread_name_prefix="outbox")

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: ARG002, N802
        sender, content = envelope.mail_from or "", envelope.original_content or b""
        keep, loop = self._outbox.keep, asyncio.get_running_loop()
        try:
            name = await loop.run_in_executor(
                self._writers, keep, sender, envelope.rcpt_tos, content, datetime.now(UTC)
            )
        except OSError as error:
            return f"452 4.3.1 not kept: {error.strerror} ({self._outbox.folder})"
        return f"250 2.0.0 kept as {_ascii(name)}"


class Server(SMTP):
    """aiosmtpd with the message read in large pieces instead of line by line.

    Measured with messages of 15 kB on four connections and two busy cores: 370 a second line by line, 580 to 730 in
    pieces.
    """

    # The size of the reader's buffer; commands have a limit of their own (512 octets) besides.
    line_length_limit = 256 * 1024

    @syntax("DATA")
    async def smtp_DATA(self, arg: str) -> None:  # noqa: N802
        if await self.check_helo_needed() or await self.check_auth_needed("DATA"):
            return
        if arg or not self.envelope or not self.envelope.rcpt_tos:
            await self.push("501 5.5.4 Syntax: DATA" if arg else "503 5.5.1 need RCPT first")
            return
        await self.push("354 End data with <CR><LF>.<CR><LF>")
        content = await self._content()
        if content is None:
            status = f"552 5.3.4 larger than {SIZE_LIMIT} octets"
        elif max(map(len, content.split(b"\r\n"))) > LINE_LIMIT:
            status = f"500 5.6.0 a line is longer than {LINE_LIMIT} octets (RFC 5321 4.5.3.1.6)"
        else:
            self.envelope.content = self.envelope.original_content = content
            status = await self._call_handler_hook("DATA")
        self._set_post_data_state()  # type: ignore[no-untyped-call]
        await self.push(status)

    async def _content(self) -> bytes | None:
        """What stands before the lone dot, with doubled dots undone; None if it is larger than the limit."""
        received, searched, too_large = bytearray(b"\r\n"), 0, False
        while (end := received.find(END_OF_DATA, searched)) < 0:
            piece = await self._reader.read(self.line_length_limit)
            if not piece:
                raise ConnectionResetError
            searched = max(0, len(received) - len(END_OF_DATA) + 1)
            received += piece
            if len(received) > SIZE_LIMIT + len(END_OF_DATA):
                too_large, searched = True, 0
                del received[: -len(END_OF_DATA)]
        if rest := received[end + len(END_OF_DATA) :]:
            self._reader.feed_data(rest)  # the next command, sent without waiting for our answer (RFC 2920)
        return None if too_large else bytes(received[: end + 2]).replace(b"\r\n.", b"\r\n")[2:]


def _ascii(text: str) -> str:
    """SMTP replies are ASCII (RFC 5321 4.2) although the file's name may not be."""
    return text.encode("ascii", "backslashreplace").decode()


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises PermanentError naming a port that cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        way_out = "stop what listens there, or choose another port with --port"
        raise PermanentError(f"mail catcher: {host}:{port}: {error.strerror}; {way_out}") from error
    listening.listen(128)
    return listening


async def serve(listening: socket.socket, folder: Path) -> None:
    """Catches mail on `listening` into `folder` until SIGTERM or SIGINT; connections in the middle of one end there."""
    loop = asyncio.get_running_loop()
    catcher, stop = Catcher(Outbox(folder)), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    ident = f"pipeline mail catcher {__version__}"

    def protocol() -> SMTP:
        return Server(
            catcher, data_size_limit=SIZE_LIMIT, enable_SMTPUTF8=True, hostname="localhost", ident=ident, loop=loop
        )

    listening.setblocking(False)  # noqa: FBT003
    server = await loop.create_server(protocol, sock=listening)
    await stop.wait()
    server.close()


def run(folder: Path, listening: socket.socket) -> None:
    """Serves until it is told to stop; says where on standard output."""
    host, port = listening.getsockname()[:2]
    print(f"mail catcher on smtp://{host}:{port}, messages in {folder}", flush=True)  # noqa: T201
    with suppress(KeyboardInterrupt):
        asyncio.run(serve(listening, folder))


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m pipeline.adapters.catcher`; `--socket` is a listening socket inherited from the embedded tree."""
    parser = argparse.ArgumentParser(prog="pipeline catcher", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=2525, help="0 takes a free one (default: 2525)")
    parser.add_argument("--folder", type=Path, default=Path("var/outbox"), help="default: var/outbox")
    parser.add_argument("--socket", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    try:
        inherited = options.socket is not None
        listening = socket.socket(fileno=options.socket) if inherited else listen(options.host, options.port)
    except PermanentError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 2
    run(options.folder, listening)
    return 0


if __name__ == "__main__":
    sys.exit(main())
