"""Handing over a batch of deliveries: the ledger before and after every final dot, one connection per process."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parseaddr
from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import UUID

from pipeline import log
from pipeline.adapters import documents as renderer, mailer, messages, storage
from pipeline.db import clock, reading, transaction
from pipeline.errors import Parked, PermanentError, TransientError
from pipeline.handle import RunHandle
from pipeline.models import Artifact, Channel, Delivery, DeliveryStatus, Document
from pipeline.replies import Kind, Verdict
from pipeline.retry import Retry
from pipeline.services import artifacts, deliveries
from pipeline.settings import settings
from pipeline.workflows.report.planning import report_of
from pipeline.workflows.report.rendering import templates_of

logger = log.get(__name__)
