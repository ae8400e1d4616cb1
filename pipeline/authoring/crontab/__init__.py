"""Crontabs as schedule files: each line's job, and in words what of it has no counterpart."""

from pipeline.authoring.crontab.importing import Here, Imported, Written, import_crontab
from pipeline.authoring.crontab.machine import here

__all__ = ["Here", "Imported", "Written", "here", "import_crontab"]
