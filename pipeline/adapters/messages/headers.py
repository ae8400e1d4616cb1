"""Header lines: ASCII, shorter than 999, and nothing in them that somebody smuggled in."""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from functools import lru_cache

from pipeline.errors import PermanentError

CRLF = "\r\n"
# RFC 5322 2.1.1: characters of a line without its CRLF.
LONGEST_LINE = 998
# RFC 2047 2: an encoded word has 75 characters at most, a line that holds one 76.
ENCODED_WORD, ENCODED_LINE = 75, 76
WORD_BEGIN, WORD_END = "=?utf-8?b?", "?="
# Anything that could end a header line, or that no header may hold: C0, C1, line and paragraph separators.
CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# RFC 5322 3.2.3: a phrase of these needs no quotes.
ATOMS = re.compile(r"[\w!#$%&'*+/=?^`{|}~-]+( [\w!#$%&'*+/=?^`{|}~-]+)*", re.ASCII)


def checked(field: str, value: str) -> str:
    """`value` if it can stand in a header; else PermanentError naming `field` and what is wrong."""
    found = CONTROLS.search(value)
    if found:
        kind = "a line break" if found[0] in "\r\n\x0b\x0c\x85\u2028\u2029" else "a control character"
        raise PermanentError(f"{field} {value!r} holds {kind}: take it out")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise PermanentError(f"{field} {value!r} holds half a character (a lone surrogate): take it out") from None
    return value


def header(name: str, field: str, value: str) -> str:
    """An unstructured header such as Subject; encoded where it is not ASCII."""
    value = checked(field, value).strip()
    return fold(f"{name}: {value}", field) if _is_plain(value) else f"{name}: {encoded(value, len(name) + 2)}"


@lru_cache(maxsize=1024)
def phrase(name: str, field: str, value: str) -> str:
    """A display name, in quotes or encoded where it must be, with what separates it from the `<` that follows."""
    value = checked(field, value).strip()
    if not value:
        return ""
    if not _is_plain(value):
        return encoded(value, len(name) + 2) + CRLF + " "
    return (value if ATOMS.fullmatch(value) else quoted(value)) + " "


def quoted(value: str) -> str:
    return '"{}"'.format(re.sub(r'(["\\])', r"\\\1", value))


@lru_cache(maxsize=1024)
def encoded(value: str, indent: int) -> str:
    """`value` as encoded words (RFC 2047), one a line; `indent` characters stand before the first.

    The standard library's Header does it, too, and takes longer than all the rest of a message.
    """
    return f"{CRLF} ".join(_encoded_words(value, indent))


def _encoded_words(value: str, indent: int) -> Iterator[str]:
    room = _bytes_in(ENCODED_LINE - indent)
    part = bytearray()
    for character in value:
        more = character.encode()
        if len(part) + len(more) > room:
            yield _word(part)
            part, room = bytearray(), _bytes_in(ENCODED_LINE - 1)
        part += more
    yield _word(part)


def _bytes_in(characters: int) -> int:
    """How many bytes an encoded word of so many characters holds; some in any case."""
    return max((min(characters, ENCODED_WORD) - len(WORD_BEGIN) - len(WORD_END)) // 4 * 3, 12)


def _word(part: bytearray) -> str:
    return f"{WORD_BEGIN}{binascii.b2a_base64(part, newline=False).decode()}{WORD_END}"


def _is_plain(value: str) -> bool:
    # ASCII that looks like an encoded word would be decoded by the reader: it is encoded, too.
    return value.isascii() and "=?" not in value


def fold(line: str, field: str) -> str:
    """`line` broken at spaces where it is too long: never inside a word, as a long URL must stay whole."""
    if len(line) <= LONGEST_LINE or CRLF in line:
        return line
    lines = [""]
    for word in line.split(" "):
        if len(lines[-1]) + 1 + len(word) > LONGEST_LINE:
            lines.append("")
        lines[-1] += f" {word}"
    if any(len(part) > LONGEST_LINE for part in lines):
        raise PermanentError(f"{field} is longer than the {LONGEST_LINE} characters that a mail line may have")
    return CRLF.join(lines)[1:]
