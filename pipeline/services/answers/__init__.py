"""What ran, when, why or why not, who got what, and what happens next: the questions that every door asks.

Each answer is a frozen dataclass that `as_json` turns into what machines read; all take a session and only read.
"""

from pipeline.services.answers.artifacts import ArtifactDetail, ArtifactPage, artifact, artifact_page
from pipeline.services.answers.audit import AuditEntry, AuditPage, audit, audit_page
from pipeline.services.answers.backfills import BackfillPage, BackfillSummary, backfills, summarise_backfills
from pipeline.services.answers.deliveries import Deliveries, DeliveryDetail, deliveries, each_delivery
from pipeline.services.answers.delivery_pages import DeliveryFilter, DeliveryPage, delivery_page
from pipeline.services.answers.detail import WORST_FIRST, RunDetail, show
from pipeline.services.answers.document_pages import DocumentPage, DocumentRow, document_page
from pipeline.services.answers.files import DocumentFile, files
from pipeline.services.answers.heat import SlotDay, slot_days
from pipeline.services.answers.lists import ScheduleSummary, schedules
from pipeline.services.answers.load import Load, load
from pipeline.services.answers.mail import MailStatus, mail
from pipeline.services.answers.people import (
    SubscriptionDetail,
    Subscriptions,
    SuppressionDetail,
    SuppressionPage,
    subscriptions,
    suppression_page,
    suppressions,
)
from pipeline.services.answers.plain import as_json
from pipeline.services.answers.pools import Holder, PoolStatus, pools
from pipeline.services.answers.progress import progress, standings
from pipeline.services.answers.recipients import LastDelivery, RecipientPage, RecipientSummary, recipient_page
from pipeline.services.answers.run_pages import RunFilter, RunPage, run_counts, run_page
from pipeline.services.answers.schedule_pages import (
    DueNext,
    ScheduleDetail,
    SchedulePage,
    due_next,
    next_slots,
    schedule,
    schedule_page,
)
from pipeline.services.answers.slots import EVER, SlotAnswer, Slots, Span, slots, zone
from pipeline.services.answers.summary import RunSummary, summarise
from pipeline.services.answers.today import DueToday, Timeline, timeline
from pipeline.services.answers.totals import MonthTotal, totals
from pipeline.services.answers.upcoming import Dropped, Fire, Upcoming, upcoming
from pipeline.services.answers.who import Answer, Who, who

__all__ = [
    "EVER",
    "WORST_FIRST",
    "Answer",
    "ArtifactDetail",
    "ArtifactPage",
    "AuditEntry",
    "AuditPage",
    "BackfillPage",
    "BackfillSummary",
    "Deliveries",
    "DeliveryDetail",
    "DeliveryFilter",
    "DeliveryPage",
    "DocumentFile",
    "DocumentPage",
    "DocumentRow",
    "Dropped",
    "DueNext",
    "DueToday",
    "Fire",
    "Holder",
    "LastDelivery",
    "Load",
    "MailStatus",
    "MonthTotal",
    "PoolStatus",
    "RecipientPage",
    "RecipientSummary",
    "RunDetail",
    "RunFilter",
    "RunPage",
    "RunSummary",
    "ScheduleDetail",
    "SchedulePage",
    "ScheduleSummary",
    "SlotAnswer",
    "SlotDay",
    "Slots",
    "Span",
    "SubscriptionDetail",
    "Subscriptions",
    "SuppressionDetail",
    "SuppressionPage",
    "Timeline",
    "Upcoming",
    "Who",
    "artifact",
    "artifact_page",
    "as_json",
    "audit",
    "audit_page",
    "backfills",
    "deliveries",
    "delivery_page",
    "document_page",
    "due_next",
    "each_delivery",
    "files",
    "load",
    "mail",
    "next_slots",
    "pools",
    "progress",
    "recipient_page",
    "run_counts",
    "run_page",
    "schedule",
    "schedule_page",
    "schedules",
    "show",
    "slot_days",
    "slots",
    "standings",
    "subscriptions",
    "summarise",
    "summarise_backfills",
    "suppression_page",
    "suppressions",
    "timeline",
    "totals",
    "upcoming",
    "who",
    "zone",
]
