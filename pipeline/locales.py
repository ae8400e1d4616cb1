"""Which locales there are: those of CLDR, as Babel brings them."""

from __future__ import annotations

from importlib.util import find_spec

from pipeline.mistakes import did_you_mean


def problem(text: str) -> str | None:
    """Why there is no such locale, with one that is near; None where there is, or where Babel is missing (beat)."""
    if find_spec("babel") is None:
        return None
    from babel import Locale, UnknownLocaleError, localedata

    written = text.replace("-", "_")
    try:
        Locale.parse(written)
    except (ValueError, UnknownLocaleError):
        return f"is not a locale: {did_you_mean(written, localedata.locale_identifiers(), 'write en, de_DE or pt_BR')}"
    return None
