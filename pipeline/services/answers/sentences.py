"""What became of one delivery, said in a sentence that claims no more than is known: handed over, never received."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.models import FINAL_RUN, Channel, DeliveryStatus, DocumentStatus
from pipeline.report import WHOLE
from pipeline.services import places
from pipeline.services.answers import wording

if TYPE_CHECKING:
    from pipeline.services.answers.who import Answer


def sentence(answer: Answer, run_status: str) -> str:
    """`ACME: "Your shipments" for 16-22 Nov 2026 was handed over to relay smtp.example …`."""
    asked_for = answer.status == DeliveryStatus.DEFERRED and not answer.reply  # the reason says that it is a repeat
    again = f", sent once more ({answer.repeat})," if answer.repeat and not asked_for else ""
    what = f'{_whose(answer)}: "{answer.title}" for {answer.period["title"]}{again}'
    if answer.address is None:
        return f"{what} {_of_document(answer)}"
    return f"{what} {_of_delivery(answer, over=run_status in FINAL_RUN)}"


def _whose(answer: Answer) -> str:
    if answer.key != WHOLE:
        return answer.key
    return answer.name or answer.address or answer.schedule


def _of_document(answer: Answer) -> str:
    if answer.status == DocumentStatus.RENDERED:
        return "was made, and nobody was to be sent it"
    if answer.status == DocumentStatus.PLANNED:
        return "has not been made yet, and nobody is to be sent it"
    return f"was not made: {_stop(answer.reason or 'no reason is known')}"


def _of_delivery(answer: Answer, *, over: bool) -> str:
    to, taker = f"to {answer.address}", _taker(answer)
    why = _stop(answer.reason or answer.reply or "no reason is known")
    match answer.status:
        case DeliveryStatus.ACCEPTED:
            said = _accepted(answer)
        case DeliveryStatus.FAILED if answer.document_status == DocumentStatus.FAILED:
            said = f"was not sent {to}: its document failed: {_stop(answer.document_error or why)}"
        case DeliveryStatus.FAILED if answer.reply:
            said = f"was refused by {taker} for {answer.address}: it answered {_stop(answer.reply)}"
        case DeliveryStatus.DEFERRED:
            said = _deferred(answer)
        case DeliveryStatus.UNCERTAIN:
            said = f"may or may not have been handed over to {taker} for {answer.address}: {why}"
            said += f"; held until settled with `pipeline resolve {wording.short(answer.run_id)}`"
        case DeliveryStatus.EXPIRED:
            said = f"was given up {to}: {why}"
        case DeliveryStatus.BOUNCED | DeliveryStatus.COMPLAINED:
            said = f"was handed over {to}, and {answer.status} afterwards: {why}"
        case DeliveryStatus.PLANNED | DeliveryStatus.QUEUED | DeliveryStatus.SENDING if not over:
            said = f"has not been sent {to} yet: it is {answer.status}, and its run goes on"
        case _:
            said = f"was not sent {to}: {why}"
    return said


def _accepted(answer: Answer) -> str:
    at = f"on {wording.moment(answer.sent_at, answer.zone)}" if answer.sent_at else "at an unknown time"
    if answer.relay == places.OUTBOX:
        return f"for {answer.address} was {_stop(answer.reply or 'kept')} in the outbox {at}; nothing left this machine"
    if answer.channel == Channel.FILE:
        return f"was written to {answer.reply or answer.address} {at}"
    if places.is_caught(answer.relay, answer.reply):
        found = places.KEPT.search(answer.reply or "")
        where = f" as {found[1]}" if found else ""
        return f"to {answer.address} was kept by the mail catcher{where} {at}; nothing left this machine"
    other = places.instead(answer.relay)
    whom = f"{other} instead of {answer.address}" if other else answer.address
    if answer.reason:  # assumed, or said by a person
        return f"counts as handed over to {_taker(answer)} {at}, for {whom}: {_stop(answer.reason)}"
    said = f"; it answered {_stop(answer.reply)}" if answer.reply else ""
    return f"was handed over to {_taker(answer)} {at}, for {whom}{said}"


def _deferred(answer: Answer) -> str:
    again = f", next on {wording.moment(answer.not_before, answer.zone)}" if answer.not_before else ""
    if not answer.reply:
        why = _stop(answer.reason or "to be sent")
        if why.startswith("to be sent"):  # a person wants it
            return f"for {answer.address} is {why}{again}"
        doubt = f"may or may not have been handed over to {_taker(answer)} for {answer.address}: {why}"
        return f"{doubt}; it is sent again, as on_uncertain says{again}"
    said = f"it answered {_stop(answer.reply)}"
    turned_away = f"was turned away for now by {_taker(answer)} for {answer.address}"
    return f"{turned_away}, and is tried again{again}: {said}"


def _taker(answer: Answer) -> str:
    return "its webhook" if answer.channel == Channel.WEBHOOK else f"relay {places.relay(answer.relay)}"


def _stop(text: str) -> str:
    """One line, without the full stop that the sentence around it may not have."""
    return " ".join(text.split()).rstrip(".")
