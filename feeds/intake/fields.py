"""Reads single fields of an untrusted entry as clean text, dates, codes and addresses, and notes what is odd.

Pure. Never fails on a value: what cannot be read becomes empty and is reported.
Called by :mod:`feeds.intake.normalise` only.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any, Protocol
from urllib.parse import quote, urlsplit
from zoneinfo import ZoneInfo

from feeds.intake.dates import When, parse_when
from feeds.intake.types import Oddity, RawEntry

# Control characters, lone surrogates, non-characters (XML refuses them) and text-direction overrides.
_ILLEGAL = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\u200b\u2060\ufeff\u202d\u202e\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"
)
_INVISIBLE = frozenset("\u200b\u2060\ufeff")  # harmless, removed without a word
_SPACE = re.compile(r"\s+")
_SPLIT = re.compile(r"[|\n]")
# An address with a host and no port, in which nothing is to be encoded: most are.
_PLAIN_ADDRESS = re.compile(r"https?://[a-z0-9.-]+(?:/[\w.~%/:=&?#+!$,;'@()*-]*)?", re.ASCII)
MAX_URL = 2000
MAX_LINE = 1000
MAX_TAGS = 100


class Vocabulary(Protocol):
    """What we ask of a city: does it know a tag such as ``theme:0402``, and which ones look like it?"""

    def known(self, tag: str) -> bool:
        """Whether the city has this tag."""

    def suggest(self, tag: str) -> tuple[str, ...]:
        """Known tags that look like it, nearest first."""


def clean(text: str) -> tuple[str, bool]:
    """Compose (NFC) and take out what no page or feed may carry; say whether anything bad was there."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    composed = text if text.isascii() else unicodedata.normalize("NFC", text)
    if _ILLEGAL.search(composed) is None:
        return composed, False
    bad = any(found not in _INVISIBLE for found in _ILLEGAL.findall(composed))
    return _ILLEGAL.sub("", composed), bad


def clean_json(value: Any) -> Any:
    """Make a value that upstream gave fit for storage: clean texts, finite numbers, text keys."""
    if isinstance(value, str):
        return clean(value)[0]
    if isinstance(value, Mapping):
        return {clean(str(key))[0]: clean_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [clean_json(item) for item in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value if value is None or isinstance(value, (bool, int, float)) else str(value)


def one_line(text: str) -> str:
    """Bring a text on one line with single spaces (U+3000 counts as a space)."""
    return _SPACE.sub(" ", text).strip()


class FieldReader:
    """Reads the fields of one entry and collects oddities on the way."""

    def __init__(self, entry: RawEntry, zone: ZoneInfo, vocabulary: Vocabulary | None) -> None:
        self._entry, self._zone, self._vocabulary = entry, zone, vocabulary
        self._fields = entry.fields
        self.oddities: list[Oddity] = []

    def note(self, field: str, problem: str, message: str, *, dropped: bool = False) -> None:
        """Add an oddity about this entry."""
        self.oddities.append(Oddity(self._entry.line, field, problem, message, dropped))

    def has(self, name: str) -> bool:
        """Whether the entry gives a field at all; one it does not give reads as empty, and is not odd."""
        return self._fields.get(name) is not None

    def value(self, name: str) -> Any:
        """Return a field as it was given, or ``None``."""
        return self._fields.get(name)

    def text(self, name: str) -> str:
        """Return a field as clean text that may have several lines; numbers are written out."""
        value = self._fields.get(name)
        if value is None:
            return ""
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            self.note(name, "wrong-type", f"{name} should be text and is {_kind(value)}; it was left out.")
            return ""
        text, bad = clean(str(value))
        if bad:
            self.note(name, "control-characters", f"{name} held control characters; they were taken out.")
        return text.strip()

    def line(self, name: str) -> str:
        """Return a field as one line of at most 1,000 characters."""
        text = self.text(name)
        if not text:
            return ""
        text = one_line(text)
        if len(text) > MAX_LINE:
            self.note(name, "too-long", f"{name} has {len(text)} characters; it was cut after {MAX_LINE}.")
        return text[:MAX_LINE].rstrip()

    def lines(self, name: str) -> tuple[str, ...]:
        """Return a field that is a list, or a text with ``|`` between its parts; each part once."""
        value = self._fields.get(name)
        if value is None:
            return ()
        parts: Iterable[Any] = value if isinstance(value, (list, tuple)) else _SPLIT.split(self.text(name))
        texts = (one_line(clean(str(part))[0]) for part in parts if isinstance(part, (str, int)))
        kept = tuple(dict.fromkeys(text[:MAX_LINE] for text in texts if text))
        if len(kept) > MAX_TAGS:
            self.note(name, "too-long", f"{name} has {len(kept)} values; the first {MAX_TAGS} were kept.")
        return kept[:MAX_TAGS]

    def when(self, name: str) -> When | None:
        """Return a date field, or ``None`` with an oddity where it is no date."""
        if not self.has(name):
            return None
        text = self.line(name)
        if not text:
            return None
        found = parse_when(text, self._zone)
        if found is not None and found.end.year >= 9999:
            found = None  # "for ever"; it has hours that no other zone can say
        if found is None:
            self.note(
                name, "bad-date", f"{name} {text[:40]!r} is not a date of the calendar; it was left empty."
            )
        return found

    def codes(self, name: str, kind: str) -> tuple[str, ...]:
        """Return codes that the city knows; ``kind:`` in front is allowed, others become oddities."""
        if not self.has(name):
            return ()
        codes = (text.removeprefix(f"{kind}:") for text in self.lines(name))
        return tuple(code for code in codes if self._knows(name, f"{kind}:{code}"))

    def _knows(self, name: str, tag: str) -> bool:
        if self._vocabulary is None or self._vocabulary.known(tag):
            return True
        near = ", ".join(self._vocabulary.suggest(tag))
        advice = f"did you mean {near}?" if near else "see the city's files for the codes."
        self.note(name, "unknown-tag", f"{name} {tag[:60]!r} is not known in this city; {advice}")
        return False

    def url(self, name: str) -> str:
        """Return an http(s) address, or ``""`` with an oddity."""
        text = one_line(self.text(name))
        address = web_address(text)
        if text and not address:
            self.note(name, "bad-url", f"{name} {text[:80]!r} is not a web address; it was left out.")
        return address

    def number(self, name: str) -> int | None:
        """Return a whole number of 0 or more, or ``None`` with an oddity."""
        text = self.line(name)
        if text.isdecimal() and len(text) < 16:
            return int(text)
        if text:
            self.note(name, "wrong-type", f"{name} {text[:40]!r} is not a whole number; it was left out.")
        return None

    def choice(self, name: str, allowed: tuple[str, ...], default: str) -> str:
        """Return one of the allowed words, else ``default`` with an oddity."""
        if not self.has(name):
            return default
        text = self.line(name).lower()
        if text and text not in allowed:
            self.note(
                name,
                "unknown-value",
                f"{name} {text[:40]!r} is none of {', '.join(allowed)}; {default} was used.",
            )
        return text if text in allowed else default


def web_address(text: str) -> str:
    """Return ``text`` as an http(s) address with spaces and Chinese percent-encoded, or ``""``."""
    if _PLAIN_ADDRESS.fullmatch(text) and len(text) <= MAX_URL:
        return text
    try:
        parts = urlsplit(text)
        fine = parts.scheme.lower() in ("http", "https") and bool(parts.hostname) and len(text) <= MAX_URL
        fine = fine and parts.port != 0  # reading the port also refuses one that is no port
    except ValueError:
        return ""
    return quote(text, safe="%/:=&?~#+!$,;'@()*[]") if fine else ""


def _kind(value: Any) -> str:
    return {dict: "an object", list: "a list", bool: "true or false"}.get(type(value), type(value).__name__)
