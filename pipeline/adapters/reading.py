"""Reads YAML and text files, each again only when it has changed; what cannot be read is told with its line."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

import yaml

from pipeline.errors import DefinitionError

# Aliases of aliases can say so much in a few lines that no memory holds it.
LARGEST = 100_000
# When a file was changed, and how large it is; None for one that is not there.
Stamp = tuple[int, int] | None


def stamp(path: str) -> Stamp:
    """The file's stamp as it is now."""
    try:
        status = os.stat(path)  # noqa: PTH116 - Path.stat takes twice as long, and there may be many
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


class Reader:
    """Reads files and remembers them: kept from load to load, it reads again only what has changed."""

    def __init__(self) -> None:
        # What was read in this load, also in vain: the stamps are from just before.
        self.stamps: dict[str, Stamp] = {}
        self._known: dict[str, tuple[Stamp, Any]] = {}

    def begin(self) -> None:
        """Another load begins: what the last one did not read is forgotten."""
        self._known = {path: known for path, known in self._known.items() if path in self.stamps}
        self.stamps = {}

    def yaml(self, path: Path, place: str) -> dict[str, Any]:
        """The mapping in a YAML file, called `place` in errors. Raises DefinitionError with the line that is wrong."""
        found: dict[str, Any] = self._remembered(path, lambda: _mapping(path, place))
        return found

    def text(self, path: Path) -> str:
        """The text of a file. Raises OSError or UnicodeDecodeError."""
        found: str = self._remembered(path, lambda: _text(path))
        return found

    def _remembered(self, path: Path, read: Callable[[], Any]) -> Any:
        name = str(path)
        now = self.stamps[name] = stamp(name)
        if name not in self._known or self._known[name][0] != now:
            self._known.pop(name, None)
            self._known[name] = (now, read())
        return self._known[name][1]


class _Loader(yaml.SafeLoader):
    """YAML as people mean it: a key given twice is a mistake, and a date stays the text that was written."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML reads the class attribute
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise yaml.MarkedYAMLError(None, None, "a name must be a word", key_node.start_mark)
            if key in seen:
                raise yaml.MarkedYAMLError(None, None, f'"{key}" is given twice', key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def _text(path: Path) -> str:
    """The text of a file. Raises OSError, also for a pipe or a device: reading one may never end."""
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise OSError(errno.EINVAL, "it is a pipe or a device, and no file")
    return path.read_text(encoding="utf-8")


def _mapping(path: Path, place: str) -> dict[str, Any]:
    try:
        return parse_yaml(_text(path), place)
    except UnicodeDecodeError as error:
        raise DefinitionError(f"is not UTF-8 text: {error.reason} at byte {error.start}", place=place) from None
    except OSError as error:
        raise DefinitionError(f"cannot be read: {error.strerror}", place=place) from None


def parse_yaml(text: str, place: str) -> dict[str, Any]:
    """The mapping that a text in YAML is, called `place` in errors. Raises DefinitionError with the line."""
    try:
        found = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise DefinitionError(f"{line}{error.problem or error.context}", place=place) from None
    except yaml.reader.ReaderError as error:
        raise DefinitionError(
            f"holds the character #x{error.character:04x}, which YAML does not allow", place=place
        ) from None
    except RecursionError:
        raise DefinitionError("is nested too deeply", place=place) from None
    except ValueError as error:
        raise DefinitionError(f"holds a value that is none: {error}", place=place) from None
    if not isinstance(found, dict):
        raise DefinitionError("must be a mapping of fields such as report, when, recipients", place=place)
    sizes: dict[int, int] = {}
    if _size(found, sizes) > max(LARGEST, 10 * len(sizes)):
        raise DefinitionError(f"has more than {LARGEST:,} values once its aliases are written out", place=place)
    return found


def _size(value: Any, sizes: dict[int, int]) -> int:
    """How many values it has with every alias written out; `sizes` has those already counted, by their id."""
    if not isinstance(value, (dict, list)):
        return 1
    if id(value) not in sizes:
        sizes[id(value)] = 0  # what holds itself is told of where it is written out
        inner = value.values() if isinstance(value, dict) else value
        sizes[id(value)] = 1 + sum(_size(one, sizes) for one in inner)
    return sizes[id(value)]
