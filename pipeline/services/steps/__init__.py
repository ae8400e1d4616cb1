"""Steps as rows: claimed under a fence and a lease, recorded, joined, and taken from what died."""

from pipeline.services.steps.advancing import advance, carries_nothing, lose_message
from pipeline.services.steps.claiming import Claim, claim, is_being_done, renew
from pipeline.services.steps.recording import keep_output, record, record_failure, tries
from pipeline.services.steps.releasing import (
    POISONOUS,
    cancelled_of,
    hand_back,
    not_known,
    owned_by,
    release,
    revoked,
    tried_since,
)
from pipeline.services.steps.suspecting import Suspicion, progressed, suspicion, working_on
from pipeline.services.steps.waking import at_work, call, wake

__all__ = [
    "POISONOUS",
    "Claim",
    "Suspicion",
    "advance",
    "at_work",
    "call",
    "cancelled_of",
    "carries_nothing",
    "claim",
    "hand_back",
    "is_being_done",
    "keep_output",
    "lose_message",
    "not_known",
    "owned_by",
    "progressed",
    "record",
    "record_failure",
    "release",
    "renew",
    "revoked",
    "suspicion",
    "tried_since",
    "tries",
    "wake",
    "working_on",
]
