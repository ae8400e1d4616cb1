"""The busiest write of all on PostgreSQL: the answer to one message and the dot of the next, in one round trip."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from pipeline.errors import StaleClaim
from pipeline.models import new_id
from pipeline.own_commits import OwnCommits
from pipeline.services import ledger


@dataclass(frozen=True, slots=True)
class Accepted:
    """A message that the other side took, with its words."""

    delivery_id: UUID
    relay: str
    code: int | None
    reply: str
    at: datetime


# One statement is one transaction. The server's own default for synchronous_commit may be off: it is said here, and
# holds when this very statement commits. It answers with a count of rows, which costs less than a row.
_DOT = """
WITH durable AS (SELECT set_config('synchronous_commit', 'on', true)),
dotted AS (
    UPDATE deliveries SET phase = 'dot', relay = %(relay)s
    WHERE id = %(id)s AND attempt_id = %(attempt)s AND status = 'sending' RETURNING id
),
{before}
INSERT INTO delivery_attempts (id, delivery_id, attempt_id, at, event, relay, text)
SELECT %(event)s, dotted.id, %(attempt)s, clock_timestamp(), 'dot', %(relay)s, %(text)s FROM durable, dotted
"""
# Whoever comes after this attempt does not begin with the same message, whatever becomes of it.
_FIRST = """begun AS (
    UPDATE attempts SET progressed = true WHERE id = %(attempt)s AND EXISTS (SELECT FROM dotted)
)"""
_ANSWERED = """taken AS (
    UPDATE deliveries SET status = 'accepted', phase = NULL, relay = %(a_relay)s, reply = %(a_reply)s,
        sent_at = %(a_at)s, reason = NULL, cause = NULL, not_before = NULL
    WHERE id = %(a_id)s AND status IN ({unsettled})
),
told AS (
    INSERT INTO delivery_attempts (id, delivery_id, attempt_id, at, event, relay, code, text)
    VALUES (%(a_event)s, %(a_id)s, %(attempt)s, %(a_at)s, 'accepted', %(a_relay)s, %(a_code)s, %(a_reply)s)
)"""
_UNSETTLED = ", ".join(f"'{status}'" for status in ledger.UNSETTLED)
_ALONE, _WITH_ANSWER = _DOT.format(before=_FIRST), _DOT.format(before=_ANSWERED.format(unsettled=_UNSETTLED))


def dot(
    connection: OwnCommits,
    delivery_id: UUID,
    attempt_id: UUID,
    relay: str,
    answer: Accepted | None,
    *,
    text: str | None = None,
) -> None:
    """`ledger.accepted` of `answer` and `ledger.dot`, in one statement; without an answer, `steps.progressed` and it.

    Raises StaleClaim when the delivery is another attempt's by now; the answer is written all the same.
    """
    values: dict[str, object] = {
        "id": delivery_id,
        "attempt": attempt_id,
        "relay": relay,
        "event": new_id(),
        "text": text,
    }
    if answer is not None:
        values |= {
            "a_id": answer.delivery_id,
            "a_relay": answer.relay,
            "a_reply": answer.reply.replace("\0", "\N{REPLACEMENT CHARACTER}"),
            "a_code": answer.code,
            "a_at": answer.at,
            "a_event": new_id(),
        }
    if not connection.execute(_WITH_ANSWER if answer else _ALONE, values):
        raise StaleClaim(f"delivery {delivery_id} was taken over by another process")
