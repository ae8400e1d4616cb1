"""Why a relay did not take a message, told apart by what to do about it."""

from __future__ import annotations

import ssl
from typing import Any

from pipeline.errors import PermanentError, PipelineError, TransientError
from pipeline.replies import Kind, Stage, Verdict


class NotAccepted(PipelineError):
    """The relay did not take the message; `verdict` says at which stage, in which words, and what that means."""

    def __init__(self, message: str, verdict: Verdict) -> None:
        super().__init__(message)
        self.verdict = verdict

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.verdict)


class RelayDown(NotAccepted, TransientError):
    """The relay cannot be reached, or sent us away before a recipient was named: certainly not sent."""

    def __init__(self, message: str, verdict: Verdict) -> None:
        super().__init__(message, verdict)
        self.retry_after = verdict.wait


class ConfigurationFault(NotAccepted, PermanentError):
    """The relay refuses us, not a recipient: it would happen to everyone, so nobody else is tried."""


class RecipientRefused(NotAccepted):
    """This one delivery was refused, for now or for good by `verdict.kind`: certainly not sent.

    Also where the relay hung up over it (`verdict.hung_up`): others are tried on a new connection.
    """


class Unknown(NotAccepted):
    """Nothing usable was heard after the final dot: the server may or may not own the message (RFC 1047)."""


FAULTS: dict[Kind, type[NotAccepted]] = {
    Kind.RELAY_DOWN: RelayDown,
    Kind.CONFIGURATION: ConfigurationFault,
    Kind.UNKNOWN: Unknown,
}
COMMANDS = {
    Stage.CONNECT: "the connection",
    Stage.STARTTLS: "STARTTLS",
    Stage.AUTH: "AUTH",
    Stage.MAIL: "MAIL FROM",
    Stage.RCPT: "RCPT TO",
    Stage.DATA: "DATA",
    Stage.DOT: "the final dot",
}


def fault(relay: object, verdict: Verdict) -> NotAccepted:
    """The exception for a verdict other than accepted, worded for an operator."""
    if verdict.code:
        text = f"relay {relay} answered {COMMANDS[verdict.stage]} with {verdict.code} {verdict.text}"
    elif verdict.stage is Stage.CONNECT and verdict.kind is not Kind.CONFIGURATION:
        text = f"relay {relay} cannot be reached: {verdict.text}"
    else:
        text = f"relay {relay}: {verdict.text}"
    return FAULTS.get(verdict.kind, RecipientRefused)(text, verdict)


def was_silent(error: BaseException | None) -> bool:
    """Whether it is about an answer that did not come in time, in smtplib's words or the system's."""
    return isinstance(error, TimeoutError) or (error is not None and isinstance(error.__context__, TimeoutError))


def reason(error: OSError) -> str:
    """What the system, or smtplib, says of a connection that failed, with the way out where we know one."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"its certificate is not to be trusted ({error.verify_message}): "
            "point SSL_CERT_FILE at your authority's certificate, or, inside a safe network, set starttls=never"
        )
    if isinstance(error, ssl.SSLError) and error.reason == "WRONG_VERSION_NUMBER":
        return "it speaks no TLS here: use smtp:// with starttls=required instead of smtps://"
    if was_silent(error):
        return "timed out"
    return error.strerror or str(error) or type(error).__name__
