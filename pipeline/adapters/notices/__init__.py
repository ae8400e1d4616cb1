"""Notices on their way out: put into words by templates, handed to a relay or a webhook."""

from pipeline.adapters.notices.sending import send
from pipeline.adapters.notices.words import put

__all__ = ["put", "send"]
