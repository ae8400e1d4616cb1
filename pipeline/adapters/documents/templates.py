"""Jinja2 over one unpacked bundle: sandboxed, strict, and every mistake told with its file and line."""

from __future__ import annotations

import json
import re
import traceback
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, FileSystemLoader, StrictUndefined, TemplateNotFound, UndefinedError
from jinja2 import Template as JinjaTemplate
from jinja2.exceptions import SecurityError, TemplateSyntaxError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from pipeline.adapters.documents.bundles import BASE
from pipeline.adapters.documents.locales import Localizer
from pipeline.adapters.messages import EncodedAttachment
from pipeline.errors import DefinitionError
from pipeline.mistakes import did_you_mean

# Whose numbers and dates the filters write; set for the length of one rendering, so that macros see it too.
_READER: ContextVar[Localizer] = ContextVar("reader")
_SHORT_TEXT = "<text>"
_IN_BRACES = re.compile(r"\{([^{}]*)\}")


def _escapes(name: str | None) -> bool:
    return name is None or not name.endswith((".txt", _SHORT_TEXT))


def _number(value: Any, digits: int = 0, unit: str = "") -> str:
    return _READER.get().number(value, digits, unit)


def _percent(value: Any, digits: int = 1) -> str:
    return _READER.get().percent(value, digits)


def _date(value: Any, style: str = "medium") -> str:
    return _READER.get().date(value, style)


def _datetime(value: Any, style: str = "medium") -> str:
    return _READER.get().datetime(value, style)


def _filled_in(text: str, **values: Any) -> str:
    """`text` with what stands in braces replaced, as `str.format`, which the sandbox makes slow, does it."""
    return _IN_BRACES.sub(lambda match: str(values[match[1]]), text)


class _Sandbox(ImmutableSandboxedEnvironment):
    def make_globals(self, d: MutableMapping[str, Any] | None) -> MutableMapping[str, Any]:
        """In one dict: Jinja2's chain of two is gone through, in Python, for every template of every message."""
        return {**self.globals, **(d or {})}


class Templates:
    """The templates of one report: its own folder first, then `_base`, then any file by its whole path.

    The folder must not change while it is open: a bundle is unpacked under its content's hash.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name
        self.folders = [folder / name, folder / BASE, folder]
        self.environment = self._environment()
        self._texts: dict[str, JinjaTemplate] = {}
        self._words: dict[str, dict[str, Any]] = {}
        # Images of messages by their address, with their content ids.
        self.images: dict[str, tuple[str, EncodedAttachment]] = {}

    def _environment(self) -> Environment:
        environment = _Sandbox(
            loader=ChoiceLoader([FileSystemLoader(folder) for folder in self.folders]),
            undefined=StrictUndefined,
            autoescape=_escapes,
            auto_reload=False,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters |= {"number": _number, "percent": _percent, "date": _date, "datetime": _datetime}
        environment.filters["fill"] = _filled_in
        return environment

    def find(self, path: str) -> Path | None:
        """The file that a template means by `path`, None where there is none or where the name leads out."""
        for folder in self.folders:
            found = (folder / path).resolve()
            if found.is_file() and found.is_relative_to(self.folder.resolve()):
                return found
        return None

    def place(self, path: str) -> str:
        """Where people find the file that templates call `path`: `templates/<folder>/<path>`."""
        found = self.find(path)
        return f"templates/{found.relative_to(self.folder.resolve()).as_posix()}" if found else f"templates/{path}"

    def words(self, reader: Localizer) -> dict[str, Any]:
        """The base templates' own words in the reader's language, English where it has none."""
        found = self._words.get(reader.language)
        if found is None:
            spoken = self._spoken
            found = spoken["en"] | spoken.get(reader.locale.language, {}) | spoken.get(str(reader.locale), {})
            self._words[reader.language] = found
        return found

    @cached_property
    def _spoken(self) -> dict[str, dict[str, Any]]:
        found = self.find("words.json")
        if found is None:
            raise DefinitionError("is missing from the template bundle", place=f"templates/{BASE}/words.json")
        try:
            spoken: dict[str, dict[str, Any]] = json.loads(found.read_text(encoding="utf-8"))
        except ValueError as error:
            raise DefinitionError(f"is not JSON: {error}", place=self.place("words.json")) from error
        return spoken

    def render(self, path: str, context: Mapping[str, Any], reader: Localizer) -> str:
        """The template `path` filled in.

        Raises DefinitionError for an undefined variable, a syntax error or any other mistake, naming file and line.
        """
        with self._telling(path, context):
            return self._filled(self.environment.get_template(path), context, reader)

    def render_text(self, source: str, context: Mapping[str, Any], reader: Localizer, *, place: str) -> str:
        """A one-line template from a schedule file (`place`), filled in without escaping; spaces collapse."""
        with self._telling(place, context, file=place):
            template = self._texts.get(source)
            if template is None:
                code = self.environment.compile(source, name=_SHORT_TEXT, filename=_SHORT_TEXT)
                template = JinjaTemplate.from_code(self.environment, code, self.environment.make_globals(None))
                self._texts[source] = template
            return one_line(self._filled(template, context, reader))

    def _filled(self, template: JinjaTemplate, context: Mapping[str, Any], reader: Localizer) -> str:
        token = _READER.set(reader)
        try:
            return template.render(context)
        finally:
            _READER.reset(token)

    @contextmanager
    def _telling(self, path: str, context: Mapping[str, Any], file: str = "") -> Iterator[None]:
        try:
            yield
        except TemplateSyntaxError as error:
            place = file or f"{self.place(error.name or path)}:{error.lineno}"
            raise DefinitionError(f"is not a template: {error.message}", place=place) from error
        except TemplateNotFound as error:
            reason = f'"{error.name}" is not in the bundle, which holds templates/{self.name} and templates/{BASE}'
            raise DefinitionError(reason, place=file or self.place(path)) from error
        except DefinitionError:
            raise
        except Exception as error:
            place = file or self._line(error, path)
            raise DefinitionError(_reason(error, context), place=place) from error

    def _line(self, error: Exception, path: str) -> str:
        """The innermost line of a template that the error went through (Jinja2 writes them into the traceback)."""
        for frame in reversed(traceback.extract_tb(error.__traceback__)):
            file = Path(frame.filename)
            if file.is_relative_to(self.folder):
                return f"templates/{file.relative_to(self.folder).as_posix()}:{frame.lineno}"
        return self.place(path)


def one_line(text: str) -> str:
    """`text` with every run of white space, line ends above all, as one space: safe in a header."""
    return re.sub(r"[\s\x00-\x1f\x7f\x85\u2028\u2029]+", " ", text).strip()


def _reason(error: Exception, context: Mapping[str, Any]) -> str:
    if isinstance(error, RecursionError):
        return f'it extends or includes itself: what is to be built upon is called "{BASE}/…"'
    if not isinstance(error, UndefinedError):
        kind = "the sandbox forbids it" if isinstance(error, SecurityError) else type(error).__name__
        return f"{kind}: {error}"
    missing = re.match(r"'(\w+)' is undefined", str(error))
    if not missing:
        return str(error)
    known = ", ".join(sorted(context))
    return f"{error}{did_you_mean(missing[1], context, f'; there is {known}', lead=': ')}"


@lru_cache(maxsize=16)
def opened(folder: Path, name: str) -> Templates:
    """The templates of a report in an unpacked bundle, compiled once per process."""
    return Templates(folder, name)
