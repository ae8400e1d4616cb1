"""Scheduled report delivery on Celery: what ran, why or why not, and who got what."""

__version__ = "0.1.0"
