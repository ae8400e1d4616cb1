"""Copies of documents where people look for them: `file:///reports/{period}/{key}.pdf` and the like."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from pipeline.adapters import folders
from pipeline.adapters.folders import CHUNK, folder
from pipeline.destinations import OF_FOLDER, Folder, fill
from pipeline.errors import DefinitionError, PermanentError

LONGEST_NAME = 150
# What some file system, shell or share cannot hold; `~` is ours: it marks a name that was altered.
UNSAFE = set('/\\:*?"<>|~')
# Control and invisible characters, half characters, line separators.
UNSAFE_CATEGORIES = {"Cc", "Cf", "Cs", "Zl", "Zp"}
DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def safe_name(key: str) -> str:
    """A name for `key` that any file system takes: the key itself, or, where it had to be altered, with `~` and a hash.

    At most 150 bytes, no separators, control characters or leading dots. Different keys have different names; those
    that differ only in case are told apart by `copy_to` on file systems that do not.
    """
    name = "".join("_" if _unsafe(character) else character for character in unicodedata.normalize("NFC", key))
    name = re.sub(r"^[. ]+|[. ]+$", lambda found: "_" * len(found[0]), name) or "_"
    if name == key and len(name.encode()) <= LONGEST_NAME and not DEVICES.fullmatch(name):
        return name
    mark = _mark(key)
    return name.encode()[: LONGEST_NAME - len(mark)].decode(errors="ignore") + mark


def expand(pattern: str, values: Mapping[str, str]) -> str:
    """The URL of one copy: fields of OF_FOLDER filled in with safe names; a folder gets `{key}.{format}` appended.

    Raises DefinitionError for a pattern that cannot be meant.
    """
    if pattern.endswith("/"):
        pattern += "{key}.{format}"
    try:
        return fill(pattern, {name: values[name] for name in OF_FOLDER}, safe_name)
    except ValueError as error:
        raise DefinitionError(str(error)) from None


def check_pattern(pattern: str) -> None:
    """Raises DefinitionError for a `deliver_to` that cannot be meant; touches nothing."""
    url = expand(pattern, dict.fromkeys(OF_FOLDER, "x"))
    folders.check(url.rpartition("/")[0] or "/")


def copy_to(wanted: Folder, values: Mapping[str, str], data: bytes | Path, *, durable: bool = True) -> str:
    """Write a copy whole or not at all, and return its URL; `values` has every field of OF_FOLDER.

    The same bytes at the same place are fine, others are overwritten only where `wanted` says so: else PermanentError
    naming the file. Raises TransientError when the place cannot be used now. `durable`: it survives a power cut.
    """
    url = expand(wanted.folder, values)
    parent, _, name = url.rpartition("/")
    place = folder(parent or "/")
    for candidate in (name, _apart(name, values["key"])):
        try:
            replace = wanted.overwrite and _is_ours(place, candidate)
            place.write(candidate, data, replace=replace, durable=durable)
        except FileExistsError:
            if not _same(place, candidate, data):
                if candidate in place.names():
                    break
                # The file system does not tell case, and this is another key's file: this one's gets a mark.
                continue
        return f"{parent}/{candidate}"
    raise PermanentError(
        f"{url} is there with other content and was not overwritten: put {{schedule}}, {{period}}, {{key}} and "
        f"{{format}} into deliver_to as needed, say {{folder: {wanted.folder}, overwrite: true}}, or move the file away"
    )


def _unsafe(character: str) -> bool:
    return character in UNSAFE or unicodedata.category(character) in UNSAFE_CATEGORIES


def _mark(key: str) -> str:
    return "~" + hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()[:12]


def _apart(name: str, key: str) -> str:
    stem, dot, ending = name.rpartition(".")
    return f"{stem}{_mark(key)}.{ending}" if dot else f"{name}{_mark(key)}"


def _is_ours(place: folders.Folder, name: str) -> bool:
    """Whether what lies under the name is not, where case is not told, another key's."""
    return place.size(name) is None or name in place.names()


def _same(place: folders.Folder, name: str, data: bytes | Path) -> bool:
    size = len(data) if isinstance(data, bytes) else data.stat().st_size
    if place.size(name) != size:
        return False
    with place.open(name) as theirs:
        if isinstance(data, bytes):
            return theirs.read() == data
        with data.open("rb") as ours:
            return _equal(theirs, ours)


def _equal(one: BinaryIO, other: BinaryIO) -> bool:
    while block := one.read(CHUNK):
        if block != other.read(CHUNK):
            return False
    return not other.read(1)
