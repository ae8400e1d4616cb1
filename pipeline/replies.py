"""What a mail server's reply means: about the relay, about us, about one recipient, or about the message."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache


class Stage(StrEnum):
    """What the reply answers."""

    CONNECT = "connect"  # the greeting and EHLO
    STARTTLS = "starttls"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"  # the DATA command, and whatever is heard before the final dot
    DOT = "dot"  # the final dot: from here on the server may own the message (RFC 1047)


class Kind(StrEnum):
    """What a reply may mean; each class is answered by one action of the ledger."""

    ACCEPTED = "accepted"
    RELAY_DOWN = "relay_down"
    CONFIGURATION = "configuration"
    THROTTLED = "throttled"
    RECIPIENT_TRANSIENT = "recipient_transient"
    RECIPIENT_PERMANENT = "recipient_permanent"
    RECIPIENT_OTHER = "recipient_other"
    MESSAGE_TOO_LARGE = "message_too_large"
    CONTENT = "content"
    UNKNOWN = "unknown"
    POISON = "poison"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A reply and its class. `code` 0: no reply was heard. `wait`: seconds the server asked for, if it did."""

    kind: Kind
    stage: Stage
    code: int
    text: str
    enhanced: str = ""
    wait: float | None = None

    @property
    def suppresses(self) -> bool:
        """Whether the address itself is dead: it goes on the suppression list."""
        return self.kind is Kind.RECIPIENT_PERMANENT

    @property
    def hung_up(self) -> bool:
        """Whether the connection is over or out of step; the next message needs a new one."""
        unheard = self.kind in {Kind.RELAY_DOWN, Kind.RECIPIENT_TRANSIENT, Kind.UNKNOWN}
        return self.code == 421 or (unheard and not 400 <= self.code < 600)


# Servers say the same thing again and again.
@lru_cache(maxsize=512)
def classify(stage: Stage, code: int, text: str) -> Verdict:
    """The class of one reply, by the first of RULES that fits; `code` 0 (or any nonsense) means no usable reply."""
    reply = Verdict(Kind.UNKNOWN, stage, max(code, 0), _one_line(text), _enhanced(text))
    kind = next(kind for kind, fits in RULES if fits(reply))
    wait = _wait(reply.text) if kind in MAY_WAIT else None
    return Verdict(kind, stage, reply.code, reply.text, reply.enhanced, wait)


# So many refusals in the same words are about us, so many connections that end over a recipient about the relay.
SAME_REFUSALS, HANG_UPS = 10, 3
# Addresses, queue ids and times: what differs in every reply.
_PARTICULARS = re.compile(r"<[^<>\s]+>|\S*[@\d]\S*")


def common_words(verdict: Verdict) -> str:
    """What a refusal says that is the same for every recipient; "" for what is about them, or no refusal.

    A blocklisted relay gets the same for everyone. Addresses that do not exist and mailboxes that are full are never
    about us.
    """
    if verdict.kind not in {Kind.RECIPIENT_OTHER, Kind.CONTENT}:
        return ""
    # RFC 3463: 1 is about the address, 2 about the mailbox.
    about_them = verdict.enhanced.startswith(("5.1.", "5.2.")) or _mailbox_is_full(verdict)
    return "" if about_them else words_of(verdict.code, verdict.text)


def words_of(code: int | None, text: str) -> str:
    """A reply without what differs in every one."""
    return f"{code} {_enhanced(text)} {_PARTICULARS.sub('', text)}"


class HangUps:
    """Connections in a row that end after a good MAIL FROM, with 421 or without a word: in the end the relay is down.

    One process counts for itself, over one relay.
    """

    def __init__(self) -> None:
        self._count = 0

    def judged(self, verdict: Verdict) -> Verdict:
        """The verdict on one delivery as it stands or, where it is one hang-up too many, as one on the relay."""
        hung_up = verdict.kind is Kind.RECIPIENT_TRANSIENT and verdict.hung_up
        self._count = self._count + 1 if hung_up else 0
        if self._count < HANG_UPS:
            return verdict
        self._count = 0
        return in_a_row(verdict, HANG_UPS, Kind.RELAY_DOWN)


def in_a_row(verdict: Verdict, count: int, instead: Kind) -> Verdict:
    """The same reply, heard so often that it means something else."""
    return replace(verdict, kind=instead, text=f"{verdict.text} (the same to {count} recipients in a row)")


MAY_WAIT = {Kind.THROTTLED, Kind.RECIPIENT_TRANSIENT, Kind.RELAY_DOWN}
# RFC 3463 and its registry: no such mailbox, moved without a forward, domain takes no mail (null MX), disabled.
DEAD_ADDRESS = {"5.1.1", "5.1.6", "5.1.10", "5.2.1"}
# The sender is refused: RFC 3463 (5.1.7 and 5.1.8, its address), RFC 7372 (20-26), Gmail (25 PTR, 26 DMARC, 27 SPF,
# 29 TLS, 30 DKIM), Exchange (57 not signed in, 60 not allowed to send as, 501-503 and 705 banned for what it sent,
# 708 and 750 its tenant or domain is new or not registered, 515 the domain's SPF, DKIM or DMARC).
OUR_FAULT = {"5.1.7", "5.1.8"} | {
    f"5.7.{n}" for n in (20, 21, 22, 23, 24, 25, 26, 27, 29, 30, 57, 60, 501, 502, 503, 515, 705, 708, 750)
}


def _words(pattern: str) -> Callable[[Verdict], bool]:
    compiled = re.compile(pattern, re.IGNORECASE)
    # A quoted address is no part of the sentence: <unknown-user@example.org> may well exist.
    return lambda reply: compiled.search(re.sub(r"<[^<>\s]+>", "<>", reply.text)) is not None


_names_a_rate = _words(
    r"too (many|frequent|much)|too (fast|quickly)|throttl|\brates?\b|rate-?limit|limit exceeded"
    r"|(connection|relay|sending|hourly|daily|message)s? (limit|quota)"
)
# One mailbox that gets too much, or a server that wants to see us twice: no reason to slow the whole relay down.
_is_one_mailbox = _words(r"grey-?list|gray-?list|receiving mail (too quickly|at a rate)")
_mailbox_is_full = _words(r"quota|mailbox (is )?full|mailbox .*exceed|insufficient (system )?storage|out of storage")
_names_a_size = _words(
    r"(message|mail|data|size).{0,30}(too (big|large|long)|exceeds|exceeded).{0,40}(size|limit|maximum|large|big|long)"
    r"|too (big|large)|size (limit|exceeds)"
)
_user_is_unknown = _words(
    r"(user|recipient|mailbox|account|address|person|alias)\b[^:;]{0,60}"
    r"(unknown|not found|(does not|doesn.?t|not) exist|disabled|inactive|no longer)"
    r"|user (does not|doesn.?t) have an? \S+ account"
    r"|(unknown|no such|non-?existent|invalid|inactive) (local )?(user|recipient|mailbox|account|person|local part)"
    r"|no mailbox (here )?by that name|RecipNotFound|RecipientNotFound"
)
# Postfix and Exim answer RCPT with what they hold against MAIL FROM, and may quote "user unknown" doing so.
_is_about_the_sender = _words(
    r"sender address rejected|sender verif|verification failed for <|not (match a )?verified\b"
    r"|not authorized to perform|(sending|relay) (limit|quota)"
)
_asks_for_sign_in = _words(r"auth(entication)? (is )?(required|first)|(must|please) authenticate|authenticate first")


def _answers(*stages: Stage) -> Callable[[Verdict], bool]:
    return lambda reply: reply.stage in stages


_signing_on = _answers(Stage.CONNECT, Stage.STARTTLS, Stage.AUTH)
_after_mail = _answers(Stage.RCPT, Stage.DATA, Stage.DOT)


def _is_success(reply: Verdict) -> bool:
    return reply.code == 354 if reply.stage is Stage.DATA else 200 <= reply.code < 300


def _is_refusal(reply: Verdict) -> bool:
    return 400 <= reply.code < 600


def _temporary(reply: Verdict) -> bool:
    return reply.code < 500


def _is_throttling(reply: Verdict) -> bool:
    if reply.code != 421 and reply.enhanced == "4.3.2":
        return True
    return reply.enhanced.startswith("4.7.") or (_names_a_rate(reply) and reply.enhanced != "4.2.2")


def _is_ours(reply: Verdict) -> bool:
    refused_sign_in = reply.code in {530, 534, 535, 538} or _asks_for_sign_in(reply)
    return refused_sign_in or reply.enhanced in OUR_FAULT or _is_about_the_sender(reply)


def _is_dead_address(reply: Verdict) -> bool:
    by_code = reply.enhanced in DEAD_ADDRESS
    # Yahoo says it with 554, some with 551 or 553; anything else that is said of everyone names no user.
    by_text = reply.stage is Stage.RCPT and 550 <= reply.code <= 554 and _user_is_unknown(reply)
    return _after_mail(reply) and (by_code or by_text) and not _names_a_rate(reply)


def _is_too_large(reply: Verdict) -> bool:
    if reply.enhanced in {"5.3.4", "5.2.3"}:
        return True
    # 552 also says "mailbox full" (5.2.2), and Gmail's "blocked because of its content" (5.7.0).
    policy = reply.enhanced == "5.2.2" or reply.enhanced.startswith(("5.6.", "5.7."))
    return not policy and not _mailbox_is_full(reply) and (reply.code == 552 or _names_a_size(reply))


def _is_full(reply: Verdict) -> bool:
    by_text = _mailbox_is_full(reply) and reply.enhanced != "5.3.4"
    return _after_mail(reply) and (reply.enhanced == "5.2.2" or by_text)


# The first line that fits decides: what is no refusal at all, then 4xx, then 5xx.
RULES: tuple[tuple[Kind, Callable[[Verdict], bool]], ...] = (
    (Kind.ACCEPTED, _is_success),
    (Kind.UNKNOWN, lambda reply: reply.stage is Stage.DOT and not _is_refusal(reply)),
    # Silence, a lost connection, nonsense. After a good MAIL FROM the relay is there: it may be this recipient or this
    # message that it chokes on, and one must not hold up all the others. Where it was not, the next connection tells.
    (Kind.RECIPIENT_TRANSIENT, lambda reply: not _is_refusal(reply) and _after_mail(reply)),
    (Kind.RELAY_DOWN, lambda reply: not _is_refusal(reply)),
    (Kind.RELAY_DOWN, lambda reply: _temporary(reply) and _signing_on(reply)),
    (Kind.RECIPIENT_TRANSIENT, lambda reply: _temporary(reply) and _after_mail(reply) and _is_one_mailbox(reply)),
    (Kind.THROTTLED, lambda reply: _temporary(reply) and _is_throttling(reply)),
    # Not one recipient was named yet: whatever it is, it is the relay's trouble.
    (Kind.RELAY_DOWN, lambda reply: _temporary(reply) and reply.stage is Stage.MAIL),
    # A 421 here, too: the server says goodbye over this recipient's domain, and takes the others' on a new connection.
    (Kind.RECIPIENT_TRANSIENT, _temporary),
    # Everything below is a 5xx.
    (Kind.CONFIGURATION, lambda reply: _signing_on(reply) or _is_ours(reply)),
    # Commands out of step: the connection is worthless, the recipient is not to blame.
    (Kind.RELAY_DOWN, lambda reply: reply.code == 503 and reply.stage is not Stage.DOT),
    (Kind.RECIPIENT_PERMANENT, _is_dead_address),
    (Kind.RECIPIENT_OTHER, _is_full),
    (Kind.MESSAGE_TOO_LARGE, _is_too_large),
    (Kind.CONFIGURATION, _answers(Stage.MAIL)),
    (Kind.RECIPIENT_OTHER, _answers(Stage.RCPT)),
    (Kind.CONTENT, lambda _: True),
)


def _one_line(text: str) -> str:
    """A reply of several lines as one, with the enhanced code that each line repeats said once."""
    if "\n" not in text:
        return " ".join(text.split())[:1000].rstrip()
    first, *rest = [" ".join(line.split()) for line in text.splitlines() if line.strip()] or [""]
    return " ".join([first, *(re.sub(r"^[245]\.\d{1,3}\.\d{1,3} +", "", line) for line in rest)])[:1000].rstrip()


_ENHANCED = re.compile(r"(?:^\s*|#)([245]\.\d{1,3}\.\d{1,3})\b")


def _enhanced(text: str) -> str:
    # RFC 2034 puts it first; qmail and Cisco's gateways write (#5.1.1) somewhere.
    found = _ENHANCED.search(text)
    return found[1] if found else ""


_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600}
_WAIT = re.compile(
    r"(?:again|retry|retries|wait|come back|resend|defer\w*|gr[ae]y-?list\w*)[^0-9]{0,40}?"
    r"(?:(\d{1,2}):(\d\d):(\d\d)|(\d{1,6}) ?(s|m|h)(?:ec(?:ond)?s?|in(?:ute)?s?|(?:ou)?rs?)?)\b",
    re.IGNORECASE,
)


def _wait(text: str) -> float | None:
    found = _WAIT.search(text)
    if not found:
        return None
    hours, minutes, seconds, amount, unit = found.groups()
    if amount is None:
        return int(hours) * 3600.0 + int(minutes) * 60 + int(seconds)
    return float(amount) * _UNIT_SECONDS[unit.lower()]
