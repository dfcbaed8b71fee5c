"""What a client that asks for a feed wants: a page, or which format; whether it takes gzip. Pure.

Called by ``api.feed_asgi``.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

from delivery.feed_writer import FORMATS, Format

Wanted = Literal["rss", "atom", "json", "page", ""]

_TYPES: dict[str, Wanted] = {
    "application/atom+xml": "atom",
    "application/rss+xml": "rss",
    "application/feed+json": "json",
    "application/json": "json",
    "text/html": "page",
    "application/xhtml+xml": "page",
    # Readers that name only XML take any; every reader knows Atom.
    "application/xml": "atom",
    "text/xml": "atom",
    "application/rdf+xml": "rss",
}
_GENERIC = ("application/xml", "text/xml", "application/json")


@lru_cache(maxsize=512)
def wanted(accept: str) -> Wanted:
    """Return what a header ``Accept`` asks for, or ``""`` where it names nothing that we have.

    The type with the most weight wins; of equals a feed's own type wins over plain XML, and then the first.
    """
    best: tuple[float, bool, int] = (0.0, False, 0)
    found: Wanted = ""
    for place, part in enumerate(accept.lower().split(",")):
        name, _, rest = part.strip().partition(";")
        kind = _TYPES.get(name.strip())
        weight = (_weight(rest), name.strip() not in _GENERIC, -place)
        if kind is not None and weight[0] > 0 and weight > best:
            best, found = weight, kind
    return found


def wanted_format(accept: str) -> Format:
    """Return the format for a client that asks for a feed without saying which; Atom says most."""
    found = wanted(accept)
    return found if found in FORMATS else "atom"


@lru_cache(maxsize=512)
def takes_gzip(accept_encoding: bytes) -> bool:
    """Whether gzip is acceptable; ``gzip;q=0`` refuses it."""
    for part in accept_encoding.decode("latin-1").lower().split(","):
        name, _, rest = part.strip().partition(";")
        if name.strip() in ("gzip", "*"):
            return _weight(rest) > 0
    return False


def _weight(parameters: str) -> float:
    for one in parameters.split(";"):
        name, _, value = one.strip().partition("=")
        if name.strip() == "q":
            try:
                return min(max(float(value), 0.0), 1.0)
            except ValueError:
                return 0.0
    return 1.0
