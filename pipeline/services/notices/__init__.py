"""What people are told: `tell` makes a notice a row, `settle` ends its matter; beat sends it, and nobody else."""

from pipeline.services.notices.aside import aside
from pipeline.services.notices.telling import about_file, about_run, about_schedule, goes_on, is_trial, settle, tell

__all__ = ["about_file", "about_run", "about_schedule", "aside", "goes_on", "is_trial", "settle", "tell"]
