"""The addresses of public feeds, their hubs, and which public feeds hold a notice.

Writes and asks nothing over the network. Called by the feed path, the pages and the hub's job.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlencode

from api.wiring import Services
from delivery.feed_writer import FORMATS, Format
from feeds.catalogue.notices import Notice

LANGS = ("zh-Hans", "en")
_KINDS = ("role", "theme", "place", "agency")


@dataclass(frozen=True, slots=True)
class PublicFeed:
    """A feed anybody may read: ``kind`` is all, role, theme, place, agency, search or alerts."""

    kind: str
    code: str = ""

    @property
    def path(self) -> str:
        """Its address on this site, without suffix."""
        named = self.code and self.kind != "search"
        return f"/feeds/{self.kind}/{self.code}" if named else f"/feeds/{self.kind}"


def hub_links(services: Services) -> tuple[str, ...]:
    """Return the WebSub hubs of the public feeds: our own, another, or none, as the setting says."""
    given = str(getattr(services.settings, "hub_url", "")).strip()
    if given.lower() == "none":
        return ()
    return (given or f"{services.settings.base_url}/hub",)


def public_address(services: Services, which: PublicFeed, fmt: Format, lang: str, page: int = 0) -> str:
    """Return the absolute address of a public feed, or of one document of its archive."""
    asked = {"q": which.code if which.kind == "search" else "", "lang": "en" if _english(lang) else ""}
    query = urlencode({name: value for name, value in asked.items() if value})
    path = which.path + (f"/archive/{page}" if page else "")
    return f"{services.settings.base_url}{path}.{fmt}" + (f"?{query}" if query else "")


def addresses(services: Services, which: PublicFeed) -> tuple[str, ...]:
    """Return every address a public feed is served under: each format in each language."""
    return tuple(public_address(services, which, fmt, lang) for fmt in FORMATS for lang in LANGS)


def feeds_of(services: Services, notices: Iterable[Notice]) -> tuple[PublicFeed, ...]:
    """Return the public feeds that these notices stand in, each once; searches are not among them."""
    city = services.city
    found: dict[PublicFeed, None] = {}
    for item in notices:
        found[PublicFeed("all")] = None
        if "warning" in item.codes("type"):
            found[PublicFeed("alerts")] = None
        for kind in _KINDS:
            codes = set(item.codes(kind)) | ({item.place} if kind == "place" and item.place else set())
            if kind == "place":
                codes |= {code for known in codes if known in city.places for code in city.ancestors(known)}
            found |= {PublicFeed(kind, code): None for code in sorted(codes) if city.known(f"{kind}:{code}")}
    return tuple(found)


def page_of(which: PublicFeed) -> str:
    """Return the path of the page for people that is nearest to a public feed."""
    if which.kind in ("role", "theme", "place"):
        return f"/?{urlencode({which.kind: which.code})}"
    if which.kind == "search":
        return "/search" + (f"?{urlencode({'q': which.code})}" if which.code else "")
    return "/"


def _english(lang: str) -> bool:
    return lang.startswith("en")
