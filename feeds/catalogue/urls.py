"""One spelling for the addresses of notices, so that equal addresses are equal texts. Pure.

Called by ``feeds.intake.decide`` (names of entries) and ``feeds.catalogue.identity`` (across sources).
"""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

_TRACKING = ("utm_", "spm")  # beginnings of query names that only count visits
# Most addresses: lower-case host without a port, a path, no query, no fragment. Nothing to change there.
_CANONICAL = re.compile(r"https?://[a-z0-9.-]+/[\w.~%/:=&+!$,;'@()*-]*", re.ASCII)


@lru_cache(maxsize=4096)  # an entry's address is asked for several times on its way in
def canonical_url(url: str) -> str:
    """Bring an address into one spelling: lower-case host, no fragment, no default port, no tracking.

    What is no address at all (a bad port, an open bracket) is returned as it stands.
    """
    if not url or _CANONICAL.fullmatch(url):
        return url
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port and parts.port not in (80, 443) else ""
    except ValueError:
        return url
    query = [
        (name, text) for name, text in parse_qsl(parts.query, keep_blank_values=True) if not _tracks(name)
    ]
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
    return urlunsplit((parts.scheme.lower(), host + port, parts.path or "/", urlencode(query), ""))


def _tracks(name: str) -> bool:
    return name.lower().startswith(_TRACKING)
