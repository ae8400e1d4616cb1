"""Scheduled report delivery on Celery: what ran, why or why not, and who got what."""

import os

__version__ = "0.1.0"

# Before anything loads pyarrow: with an allocator of its own it keeps 35 MB more of each process, and is no faster.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
