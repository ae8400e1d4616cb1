"""Names for jobs that have none: after the program that a command line is about."""

from __future__ import annotations

import re
import shlex
from collections.abc import Container, Iterator, Sequence
from itertools import dropwhile, pairwise
from pathlib import PurePath


def _listed(words: str) -> frozenset[str]:
    return frozenset(words.split())


# What stands before the program that matters, or says nothing of it.
_WRAPPERS = _listed("""
sudo doas env nice ionice chronic timeout nohup time command exec eval setsid flock chrt taskset stdbuf xargs
solo cronic
""")
_INTERPRETERS = _listed("""
sh bash dash zsh ksh python python2 python3 perl ruby php node nodejs java Rscript
""")
# Programs that are many: which one it is says what follows.
_GENERAL = _listed("""
manage artisan console rake npm yarn make run-parts docker kubectl systemctl service certbot bundle mysql psql pg_dump
mysqldump rsync curl wget find tar cp mv rm echo cat git aws gcloud rclone restic borg celery flask
""")
# What prepares, and the shell's own words.
_NOTHING = _listed("cd test [ [[ . source export true umask ulimit set sleep")
_KEYWORDS = _listed("if then else elif do while until ! {")
# Options of wrappers behind which a word stands that is not the program.
_WITH_VALUE = frozenset({"-u", "-g", "-s", "-k", "-w", "-E", "--user", "--signal"})
LONGEST = 40


def name_of(command: str, taken: Container[str]) -> str:
    """A key for the schedule of this command line that nobody has `taken`."""
    name = re.sub(r"[^a-z0-9]+", "_", _said(command).lower()).strip("_")[:LONGEST].strip("_")
    name = name if re.match(r"[a-z]", name) else f"job_{name}".strip("_")
    free, number = name, 2
    while free in taken:
        free, number = f"{name}_{number}", number + 1
    return free


def _said(command: str) -> str:
    return next((program for words in _segments(command) if (program := _program(words))), "job")


def _segments(command: str) -> Iterator[list[str]]:
    """The simple commands of a command line, each in words, without what redirections name."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars="();<>|&\n")
    lexer.whitespace, lexer.whitespace_split, lexer.commenters = " \t", True, ""
    words: list[str] = []
    redirected = False
    try:
        for word in lexer:
            if not redirected and not re.fullmatch(r"[();<>|&\n]+", word):
                words.append(word)
            elif not redirected and not re.search(r"[<>]", word):
                yield words
                words = []
            redirected = bool(re.fullmatch(r"[<>&|]*[<>][<>&|]*", word))
    except ValueError:  # a quotation that is not closed
        words = words or command.split()
    yield words


def _program(words: Sequence[str]) -> str | None:
    """The program of one simple command, with what it is about where it alone says little; None for what prepares."""
    rest = list(dropwhile(lambda word: word in _KEYWORDS or bool(re.match(r"[A-Za-z_]\w*=", word)), words))
    while rest and PurePath(rest[0]).name in _WRAPPERS | _INTERPRETERS:
        if "-c" in rest[:-1] and not rest[rest.index("-c") + 1].isdigit():
            return _said(rest[rest.index("-c") + 1])
        if "-m" in rest[:-1]:
            return _with_subject(rest[rest.index("-m") + 1 :])
        later = _behind_options(rest)
        if not later:
            return PurePath(rest[0]).name
        rest = later
    if not rest or rest[0] in _NOTHING:
        return None
    stem = PurePath(rest[0]).stem or rest[0]
    return _with_subject([stem, *rest[1:]]) if stem in _GENERAL else stem


def _with_subject(words: Sequence[str]) -> str:
    """A program and the first thing that it is about."""
    about = next((word for word in words[1:] if not word.startswith("-")), "")
    return f"{words[0]} {PurePath(about).name}".strip()


def _behind_options(words: Sequence[str]) -> list[str]:
    """What a wrapper is given to run: without its options, their users and numbers, and flock's file."""
    found: list[str] = []
    skip = PurePath(words[0]).name == "flock"
    for before, word in pairwise(words):
        if found or not (word.startswith("-") or before in _WITH_VALUE or re.fullmatch(r"[\d.]+[smhd]?", word)):
            if skip:
                skip = False
            else:
                found.append(word)
    return found
