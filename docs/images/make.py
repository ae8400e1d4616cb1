# ruff: noqa: INP001 - a script, no package
"""Makes the pictures of README.md from a real run: a page of the carrier review, and what a terminal says about it.

    .venv/bin/python docs/images/make.py

Needs pdftoppm (Debian: poppler-utils). The run has a home of its own in the temporary folder.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageOps
from rich.console import Console
from rich.text import Text

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
PIPELINE = str(Path(sys.executable).with_name("pipeline"))
SCHEDULE, KEY = "carrier_review", "UA"
# What is typed, in this order.
TYPED = (f"pipeline show {SCHEDULE}", "pipeline who ops@ua.example")
COLUMNS = 88
DOTS_PER_INCH = 110
# Enough for a page of text and two-coloured charts, and a third of the bytes.
COLOURS = 48


def main() -> None:
    """Run the example once and write page.png and terminal.svg beside this file."""
    if not shutil.which("pdftoppm"):
        raise SystemExit("pdftoppm is missing: apt-get install poppler-utils")
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        for part in ("schedules", "reports", "templates", "examples"):
            shutil.copytree(ROOT / part, home / part)
        typed(home, "up", "--run", SCHEDULE, colours=False)
        page(next((home / "var" / "reports" / SCHEDULE).glob(f"*/{KEY}.pdf")))
        terminal([(line, typed(home, *line.split()[1:])) for line in TYPED])


def typed(home: Path, *words: str, colours: bool = True) -> str:
    """What the command says on a terminal of so many columns; it has to succeed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIPELINE_")}
    environment |= {"PIPELINE_HOME": str(home), "COLUMNS": str(COLUMNS), "TERM": "xterm-256color"}
    environment |= {"FORCE_COLOR": "1"} if colours else {}
    return subprocess.run([PIPELINE, *words], env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout


def page(pdf: Path) -> None:
    """The first page as a picture with a thin frame: it is shown on white."""
    command = f"pdftoppm -png -r {DOTS_PER_INCH} -f 1 -singlefile".split()
    subprocess.run([*command, str(pdf), str(pdf.with_suffix(""))], check=True)
    with Image.open(pdf.with_suffix(".png")) as picture:
        framed = ImageOps.expand(picture.convert("RGB"), border=1, fill="#c9ced6")
    framed.quantize(COLOURS).save(HERE / "page.png", optimize=True)


def terminal(said: list[tuple[str, str]]) -> None:
    """The commands with their answers as an SVG that fetches nothing, fonts included."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    for command, answer in said:
        console.print(Text.assemble(("$ ", "dim"), (command, "bold")))
        console.print(Text.from_ansi(answer.rstrip()))
        console.print()
    picture = console.export_svg(title="a run, and who got what", unique_id="terminal")
    picture = re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)
    (HERE / "terminal.svg").write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main()
