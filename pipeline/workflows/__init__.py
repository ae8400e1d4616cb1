"""Workflows, one module each, found by name; each has steps of its own."""
