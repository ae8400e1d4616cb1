"""The people whom a run was planned for, as rows: what who they are is found by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from pipeline.bulk import among, insert_new
from pipeline.db import clock
from pipeline.models import Channel, DeliveryStatus, Recipient, new_id


def meet(session: Session, deliveries: Iterable[Mapping[str, Any]]) -> None:
    """Those among the recipients of planned deliveries who were never seen before; others stay as they are."""
    people: dict[str, Mapping[str, Any]] = {}
    for one in deliveries:
        # What has failed at once has no address.
        if one["channel"] == Channel.EMAIL and one["status"] != DeliveryStatus.FAILED:
            people.setdefault(one["address"], one["context"])
    known = {address for (address,) in among(session, select(Recipient.address), list(people))}
    seen_at = clock(session)
    # In one order, so that two plans which meet the same people do not wait for each other.
    new = sorted(people.keys() - known)
    rows = [{"id": new_id(), "address": address, **people[address], "seen_at": seen_at} for address in new]
    insert_new(session, Recipient, rows)
