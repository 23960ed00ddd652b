"""Quotes in delimited text: which lines continue a record, and which quotes are none."""

import codecs
import re
from pathlib import Path
from typing import NamedTuple

CHUNK = 1 << 20


class Quotes(NamedTuple):
    """What the quotes of a file are.

    Attributes:
        continued: numbers of the lines that continue the record of the line before.
        fault: the first line whose quotes do not enclose fields, and what is wrong; None: all do.
        swallowing: the first line of a record whose every line is a whole record by itself, as
            where two stray quotes enclose lines; None: there is none.
    """

    continued: list[int]
    fault: tuple[int, str] | None = None
    swallowing: int | None = None


def look_at_quotes(path: Path, separator: str, quote: str) -> Quotes:
    """Go through the quotes of a file.

    Args:
        path: of text in UTF-8.
        separator: between two values.
        quote: around a value; two of them are one in it.
    """
    sign, split = quote.encode(), separator.encode()
    q, s = re.escape(sign), re.escape(split)
    enclosed = rb"%b(?:[^%b]++|%b%b)*+%b" % (q, q, q, q, q)
    bare = rb"[^%b%b]*+" % (q, s)
    field = rb"(?:%b|%b)" % (enclosed, bare)
    whole = re.compile(rb"%b(?:%b%b)*+\r?\n?\Z" % (field, s, field), re.DOTALL)
    inside = re.compile(rb"(?:[^%b]++|%b%b)*+" % (q, q, q))
    # Fields that are whole, each with its separator, up to the one that is not.
    fields = re.compile(rb"(?:%b%b)*+" % (field, s), re.DOTALL)
    continued: list[int] = []
    if not _has(path, sign):
        return Quotes(continued)
    swallowing: int | None = None
    first, opened, record = 0, False, []
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if number == 1:
                line = line.removeprefix(codecs.BOM_UTF8)
            if not opened:
                if sign not in line or whole.match(line):
                    continue
                first, record, at = number, [line], 0
            else:
                continued.append(number)
                record.append(line)
                closing = _end_of(inside, line, 0)
                if closing >= len(line):
                    continue
                at = closing + 1
                opened = False
                if line[at:].strip(b"\r\n") and not line.startswith(split, at):
                    return Quotes(continued, (first, _after(quote)), swallowing)
                at += bool(line[at:].strip(b"\r\n"))
            while not opened and line[at:].strip(b"\r\n"):
                at = _end_of(fields, line, at)
                rest = line[at:]
                if whole.match(rest):
                    break
                if not rest.startswith(sign):
                    return Quotes(
                        continued, (first, f"a {quote} in a value that does not begin with one")
                    )
                closing = _end_of(inside, line, at + 1)
                if closing < len(line):
                    return Quotes(continued, (first, _after(quote)), swallowing)
                opened = True
            if not opened and len(record) > 1 and swallowing is None and _all_whole(record, split):
                swallowing = first
    if opened:
        return Quotes(continued, (first, f"a {quote} opens a value and none closes it"), swallowing)
    return Quotes(continued, None, swallowing)


def _has(path: Path, sign: bytes) -> bool:
    with path.open("rb") as file:
        return any(sign in chunk for chunk in iter(lambda: file.read(CHUNK), b""))


def _end_of(inside: re.Pattern[bytes], line: bytes, start: int) -> int:
    found = inside.match(line, start)
    return found.end() if found else start


def _after(quote: str) -> str:
    return f"text follows the {quote} that closes a value"


def _all_whole(record: list[bytes], split: bytes) -> bool:
    counts = {line.count(split) for line in record}
    return len(counts) == 1 and counts != {0}


def lines_are_alike(path: Path, separator: str) -> bool:
    """Whether each line that is not blank has as many values as the first, quotes being text.

    Args:
        path: of text in UTF-8.
        separator: between two values.
    """
    split, width = separator.encode(), None
    with path.open("rb") as file:
        for line in file:
            if not line.strip():
                continue
            count = line.count(split)
            if width is None:
                width = count
            elif count != width:
                return False
    return True
