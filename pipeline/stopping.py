"""Whether the worker that a process belongs to was asked to stop: its children see what it notes here."""

from __future__ import annotations

import mmap
import struct
import time

# By time.monotonic(), which all processes of a machine share; 0 is never. Children are forked with this memory.
_INSTANT = struct.Struct("d")
_shared = mmap.mmap(-1, _INSTANT.size)


def ask() -> None:
    """Note that the worker was asked to stop now."""
    _shared[:] = _INSTANT.pack(time.monotonic())


def since() -> float | None:
    """Seconds since the worker was asked to stop; None while it was not."""
    (instant,) = _INSTANT.unpack(_shared[:])
    return time.monotonic() - instant if instant else None


def forget() -> None:
    """Nobody has asked."""
    _shared[:] = _INSTANT.pack(0.0)
