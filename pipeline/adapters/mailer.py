"""Relays: where a message goes, and this process's one long-lived connection to each of them."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable

from pipeline.adapters.mail_faults import (
    ConfigurationFault,
    NotAccepted,
    RecipientRefused,
    RelayDown,
    Unknown,
    fault,
    was_silent,
)
from pipeline.adapters.mail_routes import Target, relays, target
from pipeline.adapters.outgoing import Outgoing, outgoing
from pipeline.adapters.relay_address import parse_url
from pipeline.adapters.smtp import Connection, Envelope
from pipeline.errors import PermanentError, StaleClaim
from pipeline.failpoints import failpoint
from pipeline.replies import Kind, Stage, Verdict
from pipeline.settings import settings

__all__ = [
    "ConfigurationFault",
    "NotAccepted",
    "RecipientRefused",
    "Relay",
    "RelayDown",
    "Target",
    "Unknown",
    "close_relays",
    "leave_relays",
    "relay_for",
    "relays",
    "target",
]

MESSAGES_PER_CONNECTION = 500
# Seconds after which a connection is asked whether it is still there, and within which it is not even looked at: should
# it be gone, the message goes on a new one.
IDLE_SECONDS, JUST_NOW = 30.0, 1.0
# RFC 5321 4.5.3.2.6: what the answer to the final dot may take. Giving up earlier makes doubts, not speed.
DOT_SECONDS = 600.0
# It goes on while the machine is suspended, where the system has such a clock.
CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Relay:
    """A relay, and a connection to it that is made on first use and renewed whenever it is in doubt.

    `timeout` is in seconds, for one answer; `longest_sleep` between announcing a message and its dot. Threads take
    turns; processes have one each (`relay_for`).
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 60.0,
        dot_timeout: float = DOT_SECONDS,
        catcher: bool = False,
        longest_sleep: float = math.inf,
    ) -> None:
        self.longest_sleep = longest_sleep
        self.address, self.timeout, self.dot_timeout, self.catcher = parse_url(url), timeout, dot_timeout, catcher
        self._connection: Connection | None = None
        self._following: Outgoing | None = None
        # Until this server is silent where it was told of two messages at once.
        self._announces = True
        self._lock = threading.RLock()

    def __str__(self) -> str:
        return str(self.address)

    def connect(self) -> None:
        """Connect anew and sign in. Raises RelayDown or ConfigurationFault."""
        with self._lock:
            self.drop()
            self._connection = self._connected()

    def send(
        self,
        envelope_from: str,
        address: str,
        data: bytes,
        before_dot: Callable[[], None],
        following: tuple[str, bytes] | None = None,
    ) -> Verdict:
        """Hand one message to the relay for one recipient; returns its answer, whose text holds the queue id.

        `before_dot` is called when everything but the terminating dot is written; what it raises ends the connection,
        and the message is not sent. `following` is the address and the bytes of the message that will be sent next,
        from the same sender: it takes one round trip less, and any other but it a new connection. Raises RelayDown,
        RecipientRefused or ConfigurationFault: certainly not sent, even where `before_dot` has been called; Unknown:
        nobody can say; PermanentError: an address that is none.
        """
        with self._lock:
            message = self._made(envelope_from, address, data)
            self._following = self._next(envelope_from, *following) if following else None
            try:
                connection = self._begin(message)
                connection.write(message.stuffed)
                failpoint("mail.body")
                began = time.clock_gettime(CLOCK)
                before_dot()
                failpoint("mail.committed")
                if time.clock_gettime(CLOCK) - began > self.longest_sleep:
                    # What was announced so long ago others may have taken over, and sent.
                    raise StaleClaim("this process slept between announcing a message and sending it")
                connection.check()
                return self._finish(connection)
            except NotAccepted:
                raise
            except BaseException:
                # A stale claim, a time limit: whatever it was, it struck in the middle of the dialogue.
                self.drop()
                raise

    def close(self) -> None:
        """Say goodbye and hang up."""
        with self._lock:
            if self._connection is not None:
                self._connection.quit()
            self._connection = None

    def leave(self) -> None:
        """Hang up if the server was told of a message, which does not come: it would wait for it."""
        if not self._lock.acquire(blocking=False):
            return  # another thread hands one over, which may take minutes
        try:
            if self._connection is not None and self._connection.announced is not None:
                self.drop()
        finally:
            self._lock.release()

    def drop(self) -> None:
        """Hang up without a word."""
        if self._connection is not None:
            self._connection.drop()
        self._connection = None

    def _connected(self) -> Connection:
        try:
            return Connection(self.address, self.timeout, self.dot_timeout)
        except RelayDown as error:
            if not self.catcher or error.verdict.code:
                raise
            text = (
                f"no mail catcher listens at {self.address} ({error.verdict.text}): "
                "start `pipeline up`, or set PIPELINE_CATCHER_URL to one that runs"
            )
            raise RelayDown(text, error.verdict) from error

    def _made(self, *of: *tuple[str, str, bytes]) -> Outgoing:
        known = self._following
        return known if known is not None and known.of == of else outgoing(*of)

    def _next(self, *of: *tuple[str, str, bytes]) -> Outgoing | None:
        try:
            return outgoing(*of)
        except PermanentError:
            return None  # it is told of when its turn comes

    def _announced(self, connection: Connection) -> Envelope | None:
        """What the server may be told of with the dot: the message that comes next, if it will take it from us."""
        message = self._following
        if message is None or not self._announces or connection.messages + 1 >= MESSAGES_PER_CONNECTION:
            return None
        return None if self._refusal(connection, message) else message.envelope

    def _finish(self, connection: Connection) -> Verdict:
        following = self._announced(connection)
        try:
            return connection.finish(following)
        except NotAccepted as error:
            self._heed(error, told_of_two=following is not None)
            raise

    def _heed(self, error: NotAccepted, *, told_of_two: bool) -> None:
        if told_of_two and was_silent(error.__cause__):
            self._announces = False

    def _begin(self, message: Outgoing) -> Connection:
        """A connection whose server waits for the message."""
        if (connection := self._reusable(message.envelope)) is None:
            self.connect()
            return self._envelope(message)
        announced = connection.announced is not None
        try:
            return self._envelope(message)
        except NotAccepted as error:
            if not connection.closed:
                raise
            self._heed(error, told_of_two=announced)
        # Servers end long connections as they please: only a new one that ends as well says something.
        self.connect()
        return self._envelope(message)

    def _envelope(self, message: Outgoing) -> Connection:
        connection = self._connection
        if connection is None:
            raise RuntimeError("connect() comes first")
        if refusal := self._refusal(connection, message):
            raise fault(self, refusal)
        connection.begin(message.envelope)
        return connection

    def _refusal(self, connection: Connection, message: Outgoing) -> Verdict | None:
        """Why the relay cannot be given it, by what it has said of itself."""
        limit, size = connection.size_limit, message.envelope.size
        if limit is not None and size > limit:
            text = f"the message has {size} bytes, the relay takes {limit}"
            return Verdict(Kind.MESSAGE_TOO_LARGE, Stage.MAIL, 0, text)
        if message.envelope.utf8 and not connection.takes_utf8():
            text = f"{message.beyond_ascii} needs SMTPUTF8 (RFC 6531), which the relay does not offer"
            return Verdict(Kind.POISON, Stage.MAIL, 0, text)
        return None

    def _reusable(self, envelope: Envelope) -> Connection | None:
        """The connection of the last message, if it takes this one."""
        connection = self._connection
        if connection is None or connection.closed:
            return None
        since = time.monotonic() - connection.last_used
        if connection.announced is not None:
            if connection.announced == envelope and since <= IDLE_SECONDS:
                return connection
            # It waits for another message, and would take any for that one; or for so long that it hangs up.
            self.drop()
            return None
        if since > JUST_NOW and connection.interrupted():
            return None
        if connection.messages >= MESSAGES_PER_CONNECTION:
            self.close()
            return None
        asked = since > IDLE_SECONDS or connection.in_transaction
        return None if asked and not connection.answers() else connection


_relays: dict[str, Relay] = {}


def relay_for(url: str) -> Relay:
    """This process's relay of that URL; a forked child begins with none."""
    found = _relays.get(url)
    if found is None:
        configured = settings()
        found = Relay(
            url,
            timeout=configured.smtp_timeout,
            catcher=url == configured.catcher_url,
            longest_sleep=configured.lease,
        )
        _relays[url] = found
    return found


def leave_relays(*, but: str | None = None) -> None:
    """Hang up where what was announced does not come; `but` is the URL of the relay that may still get it."""
    for url, relay in list(_relays.items()):
        if url != but:
            relay.leave()


def close_relays() -> None:
    """Say goodbye to every relay: at a worker's end."""
    while _relays:
        _relays.popitem()[1].close()


def _forget_relays() -> None:
    # The connections are the parent's: the child closes its copies and says nothing on them.
    while _relays:
        _relays.popitem()[1].drop()


os.register_at_fork(after_in_child=_forget_relays)
