"""The verbs on rows: each takes a session and leaves committing to its caller; no Celery, HTTP or SMTP."""
