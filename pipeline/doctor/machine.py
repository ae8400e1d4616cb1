"""Checks of this machine: Python, packages, the libraries and fonts of PDFs, disk."""

from __future__ import annotations

import ctypes
import multiprocessing
import shutil
import subprocess
import sys
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from pipeline.doctor.check import Check, fault, fine, warning
from pipeline.settings import Settings

DISTRIBUTION = "report-pipeline"
NEWEST_REFUSED = (3, 10)
# The names that WeasyPrint loads them by, on Linux and macOS; and Debian's packages.
LIBRARIES = {
    "libpango-1.0-0": ("libpango-1.0.so.0", "libpango-1.0.0.dylib", "libpango-1.0.dylib"),
    "libpangoft2-1.0-0": ("libpangoft2-1.0.so.0", "libpangoft2-1.0.0.dylib", "libpangoft2-1.0.dylib"),
    "libharfbuzz0b": ("libharfbuzz.so.0", "libharfbuzz.0.dylib"),
    "libfontconfig1": ("libfontconfig.so.1", "libfontconfig.1.dylib"),
    "libglib2.0-0": ("libgobject-2.0.so.0", "libgobject-2.0.0.dylib"),
}
SUBSET = ("libharfbuzz-subset.so.0", "libharfbuzz-subset.0.dylib")
INSTALL = "sudo apt-get install --no-install-recommends"


def python(_: Settings) -> Check:
    found = f"Python {'.'.join(map(str, sys.version_info[:3]))} ({sys.executable})"
    if sys.version_info[:2] <= NEWEST_REFUSED:
        return fault("Python", found, "install Python 3.11 or newer, then `make setup`")
    return fine("Python", found)


def packages(_: Settings) -> Check:
    """Whether what pyproject.toml asks for is installed, in the versions it asks for; of the worker's extra too."""
    from packaging.requirements import Requirement

    wrong, count = [], 0
    for line in metadata.requires(DISTRIBUTION) or []:
        wanted = Requirement(line)
        if wanted.marker and not wanted.marker.evaluate({"extra": "worker" if _is_worker() else ""}):
            continue
        count += 1
        installed = _version(wanted.name)
        if installed is None:
            wrong.append(f"{wanted.name} is missing")
        elif not wanted.specifier.contains(installed, prereleases=True):
            wrong.append(f"{wanted.name} is {installed}, wanted {wanted.specifier}")
    if wrong:
        return fault("packages", "; ".join(wrong), "`make setup`, or `pip install -r requirements/worker.txt`")
    return fine("packages", f"all {count} that are needed" + ("" if _is_worker() else " (without a worker's)"))


def _is_worker() -> bool:
    """Whether documents are made here: beat's image has no WeasyPrint on purpose."""
    return _version("weasyprint") is not None


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def libraries(_: Settings) -> Check:
    """The system libraries that WeasyPrint needs to lay out a PDF."""
    if not _is_worker():
        return fine("PDF libraries", "not needed here: no documents are made without WeasyPrint")
    missing = [package for package, names in LIBRARIES.items() if _load(names) is None]
    if missing:
        return fault("PDF libraries", f"missing: {', '.join(missing)}", f"`{INSTALL} {' '.join(missing)}`")
    if _load(SUBSET) is None:
        found = "libharfbuzz-subset is missing: PDFs take three to five times as long"
        return warning("PDF libraries", found, f"`{INSTALL} libharfbuzz-subset0`")
    return fine("PDF libraries", f"Pango {_pango_version()}, HarfBuzz with its subset library")


def _load(names: tuple[str, ...]) -> ctypes.CDLL | None:
    for name in names:
        with suppress(OSError):
            return ctypes.CDLL(name)
    return None


def _pango_version() -> str:
    pango = _load(LIBRARIES["libpango-1.0-0"])
    if pango is None:
        return ""
    pango.pango_version_string.restype = ctypes.c_char_p
    return str(pango.pango_version_string().decode())


def fonts(_: Settings) -> Check:
    """At least one font family: without any, a PDF is full of empty boxes."""
    if not _is_worker():
        return fine("fonts", "not needed here")
    if not shutil.which("fc-list"):
        return warning("fonts", "fc-list is missing, so nothing is known", f"`{INSTALL} fontconfig fonts-dejavu-core`")
    listed = subprocess.run(["fc-list", ":", "family"], capture_output=True, text=True, timeout=30, check=False)
    families = sorted({line.split(",")[0] for line in listed.stdout.splitlines() if line.strip()})
    if not families:
        return fault("fonts", "no font at all", f"`{INSTALL} fonts-dejavu-core`")
    more = f" and {len(families) - 3} more" if len(families) > 3 else ""
    return fine("fonts", ", ".join(families[:3]) + more)


def shared_memory(_: Settings) -> Check:
    """Locks between processes: without them Celery's worker ends as it starts."""
    try:
        multiprocessing.get_context().Lock()
    except OSError as error:
        found = f"no locks between processes ({error.strerror}): a worker cannot start"
        return fault("shared memory", found, "make /dev/shm writable: `sudo mount -t tmpfs -o mode=1777 shm /dev/shm`")
    return fine("shared memory", "locks between processes work")


def disk(settings: Settings) -> Check:
    """Room where the home's var/ is and, on another disk, the artifacts."""
    folders = {nearest(settings.var).stat().st_dev: nearest(settings.var)}
    if "://" not in settings.storage_url:
        store = nearest(Path(settings.storage_url).expanduser().absolute())
        folders.setdefault(store.stat().st_dev, store)
    free = {folder: shutil.disk_usage(folder).free // 1_000_000 for folder in folders.values()}
    found = ", ".join(f"{room:,} MB free in {folder}" for folder, room in free.items())
    if min(free.values()) < settings.min_free_mb:
        advice = f"`pipeline trigger retention` purges old runs; or lower PIPELINE_MIN_FREE_MB ({settings.min_free_mb})"
        return warning("disk", found, advice)
    return fine("disk", found)


def nearest(path: Path) -> Path:
    """The path itself, or the nearest folder above it that exists."""
    return path if path.exists() else nearest(path.parent)
