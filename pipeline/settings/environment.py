"""The process's environment over the home's `.env`: settings, and the databases of reports."""

from __future__ import annotations

import os
import re
from pathlib import Path

PREFIX = "PIPELINE_"


def source_urls() -> dict[str, str]:
    """Every PIPELINE_SOURCE_<NAME>_URL of the environment, by lower-case name; in a clone also the example's."""
    pattern = re.compile(rf"{PREFIX}SOURCE_(\w+)_URL")
    found = {m[1].lower(): v for k, v in environment().items() if (m := pattern.fullmatch(k)) and v}
    return _example_urls() | found


def _example_urls() -> dict[str, str]:
    """The database `flights` of a home that has the example's data: `example.source_url` builds it on first use."""
    home = home_folder().absolute()
    known = (home / "examples" / "nycflights13").is_dir()
    return {"flights": f"sqlite:///{home / 'var' / 'example' / 'flights.db'}"} if known else {}


def environment() -> dict[str, str]:
    """The process's environment over the `.env` of the home (a variable that is set wins over the file)."""
    return {**_dotenv(home_folder() / ".env"), **os.environ}


def home_folder() -> Path:
    return Path(os.environ.get(f"{PREFIX}HOME") or Path.cwd()).expanduser()


def _dotenv(path: Path) -> dict[str, str]:
    from dotenv import dotenv_values

    return {k: v for k, v in dotenv_values(path).items() if v is not None} if path.is_file() else {}


def masked(url: str) -> str:
    """`url` with its password (also where a scheme is missing) and its secret-looking query values replaced by ***."""
    url = re.sub(r"((?:^|//)[^:/@\s]*):(?!//).*@", r"\1:***@", url)
    return re.sub(r"(?i)([?&][^=&]*(?:password|secret|token|key)[^=&]*=)[^&]+", r"\1***", url)
