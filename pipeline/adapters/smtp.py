"""One SMTP connection, step by step: at every step it knows whether the server may own the message."""

from __future__ import annotations

import re
import smtplib
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from pipeline.adapters.mail_faults import COMMANDS, NotAccepted, fault, reason
from pipeline.adapters.relay_address import Address
from pipeline.failpoints import failpoint
from pipeline.replies import Kind, Stage, Verdict, classify

QUIT_SECONDS = 5.0
# One write may take the whole time-out (RFC 5321 4.5.3.2.5): a large message goes out in several.
CHUNK = 256 * 1024
NO_TLS = "it offers TLS and has none: mend its certificate or key or, inside a safe network, set starttls=never"


@dataclass(frozen=True, slots=True)
class Envelope:
    """Whom a message is from and for, as SMTP writes addresses; its `size` in bytes."""

    sender: str
    recipient: str
    size: int
    utf8: bool


class Connection:
    """Connected, secured and signed in from the start; `closed` as soon as the dialogue is out of step.

    `timeout` and `dot_timeout` are seconds for one answer. Every method raises NotAccepted, by its class.
    """

    def __init__(self, address: Address, timeout: float, dot_timeout: float) -> None:
        self.address, self.timeout, self.dot_timeout = address, timeout, dot_timeout
        self.closed = False
        self.messages = 0
        self.last_used = time.monotonic()
        # A transaction was begun and not accepted: the next one starts with RSET.
        self.in_transaction = False
        # The server has been told of this one already, and its answers have not been read.
        self.announced: Envelope | None = None
        try:
            self._smtp = self._dial()
            # The dot is a small write after a large one: Nagle and a delayed ACK would hold it back for 40 ms.
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._smtp.ehlo_or_helo_if_needed()
            self._secure()
            if address.user is not None:
                self._sign_in(address.user)
        except smtplib.SMTPResponseException as error:
            self.drop()
            raise self._fault(classify(Stage.CONNECT, error.smtp_code, _text(error.smtp_error))) from error
        except OSError as error:
            raise self._silence(Stage.CONNECT, error) from error
        except BaseException:
            self.drop()
            raise

    @property
    def size_limit(self) -> int | None:
        """The largest message in bytes that the relay takes (RFC 1870), or None when it does not say."""
        text = self._smtp.esmtp_features.get("size", "") if self._smtp.does_esmtp else ""
        return int(text) if text.isdigit() and int(text) > 0 else None

    def takes_utf8(self) -> bool:
        return self._smtp.has_extn("smtputf8")

    def begin(self, envelope: Envelope) -> None:
        """MAIL FROM, RCPT TO and DATA: afterwards the server waits for the message.

        In one write where the server takes that (RFC 2920), so that they cost one round trip; none if it is the one
        that was announced with the dot before.
        """
        self.in_transaction = True
        if self._smtp.has_extn("pipelining"):
            if self.announced is None:
                try:
                    self._socket.sendall(self._commands(envelope))
                except OSError as error:
                    raise self._silence(Stage.MAIL, error) from error
            self.announced = None
            self._hear_of_envelope()
        else:
            self._ask(Stage.MAIL, self._smtp.mail, envelope.sender, self._options(envelope))
            self._ask(Stage.RCPT, self._smtp.rcpt, envelope.recipient)
            self._ask(Stage.DATA, self._smtp.docmd, "DATA")
        failpoint("mail.rcpt")

    def _options(self, envelope: Envelope) -> list[str]:
        size = [f"SIZE={envelope.size}"] if self._smtp.has_extn("size") else []
        return [*size, *(["SMTPUTF8"] if envelope.utf8 else [])]

    def _commands(self, envelope: Envelope) -> bytes:
        # Both addresses are known to be some: smtplib would parse them anew.
        mail = " ".join([f"MAIL FROM:<{envelope.sender}>", *self._options(envelope)])
        return f"{mail}\r\nRCPT TO:<{envelope.recipient}>\r\nDATA\r\n".encode("utf-8" if envelope.utf8 else "ascii")

    def _hear_of_envelope(self) -> None:
        refusal, code = None, 0
        for stage in (Stage.MAIL, Stage.RCPT, Stage.DATA):
            try:
                code, text = self._smtp.getreply()
            except OSError as error:
                self.drop()
                # What it said before it hung up counts; its other answers follow from that.
                raise self._fault(refusal) if refusal else self._silence(stage, error) from error
            verdict = classify(stage, code, _text(text))
            if refusal is None and verdict.kind is not Kind.ACCEPTED:
                refusal = verdict
        if refusal is not None:
            if code == 354:
                self._end_nothing(refusal)
            raise self._fault(refusal)

    def _end_nothing(self, refusal: Verdict) -> None:
        """It waits for a message although it has refused the recipient: it gets an empty one, for nobody (RFC 2920).

        Where it may have taken the recipient it is left: somebody would get that one.
        """
        if refusal.stage is not Stage.RCPT or not 400 <= refusal.code < 600:
            self.drop()
            return
        try:
            self._smtp.docmd(".")
        except OSError:
            self.drop()

    def write(self, body: bytes) -> None:
        """All of the message but the dot; `body` is dot-stuffed and ends with CRLF."""
        try:
            for start in range(0, len(body), CHUNK):
                self._socket.sendall(body[start : start + CHUNK])
        except OSError as error:
            raise self._silence(Stage.DATA, error) from error

    def check(self) -> None:
        """Before the dot: raise what the server has said or done in the meantime, if anything."""
        if self.interrupted():
            try:
                self._ask(Stage.DATA, self._smtp.getreply)
                raise self._fault(classify(Stage.DATA, 0, "an answer before the end of the message"))
            finally:
                self.drop()

    def finish(self, following: Envelope | None = None) -> Verdict:
        """The final dot and its answer.

        `following` is announced in the same write where the server takes that, which spares its round trip: nothing but
        this message can be sent next, on this connection.
        """
        self.announced = following if self._smtp.has_extn("pipelining") else None
        self._socket.settimeout(self.dot_timeout)
        self._write_dot(b".\r\n" + (self._commands(self.announced) if self.announced else b""))
        failpoint("mail.dot")
        try:
            verdict = self._ask(Stage.DOT, self._smtp.getreply)
        finally:
            self.last_used = time.monotonic()
            if not self.closed:
                self._socket.settimeout(self.timeout)
        self.in_transaction = False
        self.messages += 1
        return verdict

    def _write_dot(self, data: bytes) -> None:
        taken = 0
        try:
            while taken < len(data):
                taken += self._socket.send(data[taken:])
        except OSError as error:
            # The connection was gone before, if the kernel took none of it.
            untouched = not taken and isinstance(error, BrokenPipeError | ConnectionResetError)
            raise self._silence(Stage.DATA if untouched else Stage.DOT, error) from error

    def interrupted(self) -> bool:
        """Whether the server hung up, or said something that nobody asked for."""
        self._socket.settimeout(0)
        try:
            if self._smtp.file.peek(1):  # type: ignore[union-attr]  # a file from the first answer on
                return True
            # Nothing to read, or the end: TLS tells them apart by itself, plain TCP has to be asked again.
            return isinstance(self._socket, ssl.SSLSocket) or self._socket.recv(1, socket.MSG_PEEK) == b""
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        except OSError:
            return True
        finally:
            self._socket.settimeout(self.timeout)

    def answers(self) -> bool:
        """Whether the connection is good for another message; an unfinished transaction is reset."""
        try:
            code, _ = self._smtp.rset() if self.in_transaction else self._smtp.noop()
        except OSError:
            code = 0
        self.in_transaction = False
        return code == 250

    def quit(self) -> None:
        """Say goodbye and hang up; a server that waits for a message would take the word for its first line."""
        if not self.closed and self.announced is None:
            with suppress(OSError):
                self._socket.settimeout(QUIT_SECONDS)
                self._smtp.quit()
        self.drop()

    def drop(self) -> None:
        """Hang up without a word."""
        self.closed = True
        smtp = getattr(self, "_smtp", None)
        if smtp is not None:
            smtp.close()

    @property
    def _socket(self) -> socket.socket:
        if self._smtp.sock is None:
            raise smtplib.SMTPServerDisconnected("the connection is closed")
        return self._smtp.sock

    def _dial(self) -> smtplib.SMTP:
        # Named here: smtplib would ask the DNS for this machine's name, which may take its whole time-out.
        where: dict[str, Any] = {"host": self.address.host, "port": self.address.port, "local_hostname": _own_name()}
        if self.address.tls:
            return smtplib.SMTP_SSL(**where, timeout=self.timeout, context=ssl.create_default_context())
        return smtplib.SMTP(**where, timeout=self.timeout)

    def _secure(self) -> None:
        if self.address.tls or self.address.starttls == "never":
            return
        if self._smtp.has_extn("starttls"):
            try:
                self._smtp.starttls(context=ssl.create_default_context())
            except smtplib.SMTPResponseException as error:
                words = f"{_text(error.smtp_error)} ({NO_TLS})"
                raise self._fault(classify(Stage.STARTTLS, error.smtp_code, words)) from error
            self._smtp.ehlo()
        elif self.address.starttls == "required":
            raise self._fault(_configuration(Stage.CONNECT, "it offers no STARTTLS, which its URL requires"))

    def _sign_in(self, user: str) -> None:
        try:
            self._smtp.login(user, self.address.password)
        except smtplib.SMTPResponseException as error:
            raise self._fault(classify(Stage.AUTH, error.smtp_code, _text(error.smtp_error))) from error
        except (smtplib.SMTPServerDisconnected, TimeoutError, ConnectionError) as error:
            raise self._silence(Stage.AUTH, error) from error
        except (OSError, UnicodeEncodeError) as error:
            # smtplib's own words: no AUTH offered, no mechanism in common, a password beyond ASCII.
            raise self._fault(_configuration(Stage.AUTH, str(error))) from error

    def _ask(self, stage: Stage, command: Callable[..., tuple[int, bytes]], *arguments: Any) -> Verdict:
        try:
            code, text = command(*arguments)
        except OSError as error:
            raise self._silence(stage, error) from error
        verdict = classify(stage, code, _text(text))
        if verdict.kind is not Kind.ACCEPTED:
            raise self._fault(verdict)
        return verdict

    def _silence(self, stage: Stage, error: OSError) -> NotAccepted:
        self.drop()
        verdict = classify(stage, 0, reason(error))
        if stage is not Stage.CONNECT:
            verdict = replace(verdict, text=f"no answer to {COMMANDS[stage]}: {verdict.text}")
        return self._fault(verdict)

    def _fault(self, verdict: Verdict) -> NotAccepted:
        if verdict.code == 421 or not 400 <= verdict.code < 600:
            self.drop()
        return fault(self.address, verdict)


def _configuration(stage: Stage, text: str) -> Verdict:
    return Verdict(Kind.CONFIGURATION, stage, 0, text)


def _own_name() -> str:
    """What EHLO says: this machine's full name where it has one, else an address literal (RFC 5321 4.1.4)."""
    name = socket.gethostname()
    return name if re.fullmatch(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+", name) else "[127.0.0.1]"


def _text(reply: bytes | str) -> str:
    return reply if isinstance(reply, str) else reply.decode("utf-8", "replace")
