"""Lists of feeds as OPML: all public ones, and those that fit what a resident chose.

Sensitive matters and roles are left out of a resident's own list, also where a saved search names them: it is
made to be handed to another program. Of somebody discreet no search is listed, since a word can be anything.
Called by ``api.web.routes.feed_lists``.
"""

from __future__ import annotations

from collections.abc import Iterable

from api.feed_heads import marked, public_query
from api.feed_links import PublicFeed, page_of, public_address
from api.wiring import Services
from feeds.catalogue.words import fold
from feeds.intake.opml import Outline, write_opml
from profiles.types import Profile

_NAMES = {
    "all": ("全部", "Everything"),
    "role": ("身份", "Roles"),
    "theme": ("主题", "Themes"),
    "place": ("地点", "Places"),
    "agency": ("机构", "Agencies"),
    "search": ("我保存的搜索", "My saved searches"),
}


def public_list(services: Services, lang: str) -> bytes:
    """Return every public feed of the city, in folders."""
    city = services.city
    feeds = [PublicFeed("all"), PublicFeed("alerts")]
    feeds += [PublicFeed("role", code) for code in city.roles]
    feeds += [PublicFeed("theme", code) for code, theme in city.themes.items() if not theme.parent]
    districts = [code for code, place in city.places.items() if place.kind in ("district", "zone")]
    feeds += [PublicFeed("place", code) for code in districts]
    feeds += [PublicFeed("agency", code) for code in city.agencies]
    return _written(services, (_outline(services, feed, lang) for feed in feeds), lang)


def own_list(services: Services, profile: Profile, lang: str) -> bytes:
    """Return everything and the warnings, then the public feeds of the places, themes and searches followed.

    Their own feed is not among them: nobody knows its address but its holder.
    """
    tags = (*(f"place:{place.code}" for place in profile.places), *profile.interests)
    tags = tuple(tag for tag in tags if not (profile.discreet and tag.startswith("word:")))
    always = [PublicFeed("all"), PublicFeed("alerts")]
    feeds = dict.fromkeys(always + [feed for tag in tags if (feed := _feed(services, tag)) is not None])
    return _written(services, (_outline(services, feed, lang) for feed in feeds), lang)


def personal_list(services: Services, token: str, lang: str) -> bytes:
    """Return a list of one: the personal feed of whoever knows its token."""
    address = f"{services.settings.base_url}/f/{token}"
    name = services.city.name.of(lang)
    title = marked(services, f"{name}: notices for me" if lang.startswith("en") else f"{name} · 我的公告")
    return _written(services, [Outline(title, f"{address}.atom", address)], lang)


def _feed(services: Services, tag: str) -> PublicFeed | None:
    """The public feed of something that is followed; none for what is sensitive, or has no feed."""
    kind, _, code = tag.partition(":")
    if kind == "word":
        return PublicFeed("search", code) if code.strip() and not _names_sensitive(services, code) else None
    if kind not in ("theme", "place", "agency") or services.city.is_sensitive(tag):
        return None
    return PublicFeed(kind, code) if services.city.known(tag) else None


def _names_sensitive(services: Services, said: str) -> bool:
    """Whether words mean something sensitive: by the rules that tag notices, or by its name."""
    city, plain = services.city, fold(said).strip()
    if any(city.is_sensitive(f"{tag.kind}:{tag.code}") for tag in services.tagger.tag(title=said, text=said)):
        return True
    quiet = [one.label for one in city.themes.values() if one.sensitive]
    quiet += [one.label for one in city.roles.values() if one.sensitive]
    quiet += [one.label for one in city.life_events.values() if one.sensitive]
    names = [fold(name) for label in quiet for name in (label.zh, label.en)]
    return any(name in plain or (len(plain) > 1 and plain in name) for name in names if name)


def _outline(services: Services, feed: PublicFeed, lang: str) -> Outline:
    title, _ = public_query(services, feed, lang)
    base = services.settings.base_url
    kind = "all" if feed.kind == "alerts" else feed.kind
    folder = _NAMES[kind][lang.startswith("en")]
    name = marked(services, f"{services.city.name.of(lang)} · {title}")
    return Outline(name, public_address(services, feed, "atom", lang), base + page_of(feed), (folder,))


def _written(services: Services, outlines: Iterable[Outline], lang: str) -> bytes:
    order = {names[lang.startswith("en")]: place for place, names in enumerate(_NAMES.values())}
    listed = sorted(outlines, key=lambda one: order.get(one.categories[0], 0) if one.categories else 0)
    title = marked(services, services.city.name.of(lang))
    return write_opml(title, listed, services.clock.now())
