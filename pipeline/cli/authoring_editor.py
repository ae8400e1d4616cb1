"""A text written in the editor of whoever sits at the terminal."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

from pipeline.errors import Refused


def edited(text: str) -> str:
    """`text` as somebody changed it in $VISUAL or $EDITOR. Raises Refused when there is no editor, or no change."""
    chosen = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    editor = chosen or next((one for one in ("sensible-editor", "nano", "vi") if shutil.which(one)), None)
    if editor is None:
        raise Refused("there is no editor: set $EDITOR, type the query, or name a .sql file")
    with tempfile.TemporaryDirectory(prefix="pipeline-new-") as folder:
        path = Path(folder) / "query.sql"
        path.write_text(text, encoding="utf-8")
        try:
            subprocess.run([*shlex.split(editor), str(path)], check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise Refused(f"the editor {editor} did not work: {error}") from None
        found = path.read_text(encoding="utf-8")
    if not found.strip() or found == text:
        raise Refused("the editor brought no query back: type it, or name a .sql file")
    return found
