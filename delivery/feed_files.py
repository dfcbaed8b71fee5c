"""The files of a notice as feeds name them. Pure.

Guesses a type from the name where the publisher gave none; opens no address. Called by ``api.views``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from delivery.types import Enclosure

# Kept here, because the machine's own table differs from machine to machine, and bytes must not.
_TYPES = {
    ".csv": "text/csv",
    ".doc": "application/msword",
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ".gif": "image/gif",
    ".ics": "text/calendar",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".mp3": "audio/mpeg",
    ".mp4": "video/mp4",
    ".ofd": "application/ofd",
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".ppt": "application/vnd.ms-powerpoint",
    ".pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    ".rar": "application/vnd.rar",
    ".txt": "text/plain",
    ".xls": "application/vnd.ms-excel",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ".zip": "application/zip",
}


def enclosures_of(attachments: Iterable[Mapping[str, str]]) -> tuple[Enclosure, ...]:
    """Return the files that have a web address, in order, each address once."""
    found: dict[str, Enclosure] = {}
    for one in attachments:
        url = one.get("url", "")
        if url.startswith(("https://", "http://")):
            title = one.get("title") or one.get("name") or ""
            found.setdefault(url, Enclosure(url, _type(one.get("type", ""), url), _length(one), title))
    return tuple(found.values())


def _type(given: str, url: str) -> str:
    kind, slash, sub = given.partition(";")[0].strip().lower().partition("/")
    if slash and kind and sub and given.isascii():
        return f"{kind}/{sub}"
    return _TYPES.get(PurePosixPath(urlsplit(url).path).suffix.lower(), "")


def _length(one: Mapping[str, str]) -> int:
    given = str(one.get("length") or one.get("size") or "")
    return int(given) if given.isascii() and given.isdigit() and len(given) < 16 else 0
