"""The files that templates and stylesheets ask for: a document takes those of its template folder, and no others."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin

import tinycss2  # type: ignore[import-untyped]  # it ships no types
from jinja2 import nodes

from pipeline.adapters.documents import images, resources
from pipeline.adapters.documents.templates import Templates
from pipeline.authoring.check.names import Found
from pipeline.errors import DefinitionError
from pipeline.mistakes import did_you_mean

# Addresses that a page loads, as against the href of a link to click on.
_LOADED = re.compile(
    r"""<(?:img|link|image|use|embed|object|source)\b[^>]*?\b(?:src|href|data)\s*=\s*(["'])(?P<address>[^"'<>]*)\1""",
    re.IGNORECASE,
)


def in_template(tree: nodes.Template, templates: Templates) -> Iterator[Found]:
    """Addresses written out in a template that lead to no file of the bundle; what is computed the rendering finds."""
    for data in tree.find_all(nodes.TemplateData):
        for found in _LOADED.finditer(data.data):
            reason = _refused(found["address"], templates)
            if reason:
                yield data.lineno + data.data.count("\n", 0, found.start("address")), reason


def in_message(tree: nodes.Template, templates: Templates) -> Iterator[Found]:
    """Images written out in a message's HTML that are in no file of the bundle, or that mail programs do not show."""
    for data in tree.find_all(nodes.TemplateData):
        for found in images.IMAGE.finditer(data.data):
            address = images.address_of(found)
            try:
                if not images.is_elsewhere(address):
                    images.taken(address, templates)
            except DefinitionError as error:
                yield data.lineno + data.data.count("\n", 0, found.start()), error.reason


def in_stylesheet(path: Path, templates: Templates) -> Iterator[Found]:
    """Mistakes in the stylesheet's grammar, and addresses in it that lead to no file of the bundle."""
    rules = tinycss2.parse_stylesheet(path.read_text(encoding="utf-8", errors="replace"), skip_comments=True)
    for node in _nodes(rules):
        if node.type == "error":
            yield node.source_line, f"is not a stylesheet: {node.message}"
        elif node.type == "url":
            reason = _refused(node.value, templates)
            if reason:
                yield node.source_line, reason
        elif node.type == "at-rule" and node.lower_at_keyword == "import":
            for one in node.prelude:
                reason = _refused(one.value, templates) if one.type == "string" else None
                if reason:
                    yield one.source_line, reason


def _nodes(tree: Iterable[Any]) -> Iterator[Any]:
    for node in tree:
        yield node
        if node.type == "function" and node.lower_name == "url":
            yield from (_Address(one.value, node.source_line) for one in node.arguments if one.type == "string")
        for part in ("prelude", "content", "arguments"):
            yield from _nodes(getattr(node, part, None) or ())


class _Address:
    """An address in quotes, which tinycss2 gives as a function."""

    type = "url"

    def __init__(self, value: str, source_line: int) -> None:
        self.value, self.source_line = value, source_line


def _refused(address: str, templates: Templates) -> str | None:
    """Why a document cannot have what is at this address; None where it can, or where it is part of the page."""
    path = unquote(address.partition("#")[0].partition("?")[0]).strip()
    if not path:
        return None
    try:
        resources.read(templates, urljoin(resources.ROOT, address))
    except LookupError as error:
        files = [one.relative_to(folder).as_posix() for folder in templates.folders[:2] for one in folder.rglob("*.*")]
        hint = did_you_mean(path, files)
        return f'"{address}" is missing: {hint}' if hint else str(error)
    return None
