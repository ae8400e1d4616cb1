"""One command's worth of servers: broker, mail catcher, worker and beat, supervised as one tree of processes."""

from __future__ import annotations

from pipeline.embedded.parts import Parts
from pipeline.embedded.state import State
from pipeline.embedded.tree import Tree, joined, running

__all__ = ["Parts", "State", "Tree", "joined", "running"]
