"""What a feed is before its entries: whose, about what, which notices, and where its other parts are.

Reads no text of a notice. Called by ``api.views`` for whole feeds, by ``api.feed_build`` for the fast path.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from api.feed_links import PublicFeed, hub_links, page_of, public_address
from api.wiring import Services
from delivery.feed_writer import Format
from delivery.types import FeedView
from feeds.catalogue.feed_reading import Fact
from feeds.catalogue.store import NoticeFilter
from feeds.kernel.errors import NotFoundError
from feeds.kernel.ids import entry_id
from profiles.types import SHELF_SIZE

STYLE = "/static/feed.css"
ARCHIVE_PAGE = 50  # notices in one document of an archive; never change it, or every archive changes
GONE_MOST = 20


@dataclass(frozen=True, slots=True)
class Part:
    """One document of a public feed: the newest notices, or a page of its archive.

    Attributes:
        page: Of the archive, from 1, the oldest; 0 for the newest notices.
        pages: How many the archive has; 0 if the newest notices are all there is.
        gone: What was purged and had stood in this feed.
    """

    ids: tuple[int, ...]
    page: int = 0
    pages: int = 0
    gone: tuple[Fact, ...] = ()


def public_part(services: Services, which: PublicFeed, page: int = 0) -> Part:
    """Find out which notices stand in one document of a public feed.

    Raises:
        NotFoundError: If there is no such feed, or no such page of its archive.
    """
    _, wanted = public_query(services, which, "zh")
    if wanted is None:
        found = services.search.find(which.code, limit=SHELF_SIZE)
        return Part(tuple(item.id for item, _ in found)) if not page else _no_page(which)
    pages = -(-services.notices.archive_size(wanted) // ARCHIVE_PAGE)
    if page > pages or (page and pages < 2):
        return _no_page(which)
    if page:
        start = (page - 1) * ARCHIVE_PAGE
        ids = services.notices.archive_ids(wanted, start=start, count=ARCHIVE_PAGE)
        return Part(tuple(reversed(ids)), page, pages)
    newest = services.notices.latest_ids(wanted, limit=SHELF_SIZE)
    gone = services.notices.purged(wanted, limit=GONE_MOST)
    return Part(tuple(newest), 0, pages if pages > 1 else 0, tuple(gone))


def public_query(services: Services, which: PublicFeed, lang: str) -> tuple[str, NoticeFilter | None]:
    """Return the title of a public feed and which notices it holds; no filter where the search decides.

    Raises:
        NotFoundError: If the role, theme, place or agency does not exist in this city.
    """
    city, english = services.city, lang.startswith("en")
    if which.kind == "search":
        return which.code, None
    if which.kind == "all":
        return ("all notices" if english else "全部公告"), NoticeFilter(leads_only=True)
    if which.kind == "alerts":
        return ("alerts" if english else "预警"), NoticeFilter(tags=("type:warning",), leads_only=True)
    tag = f"{which.kind}:{which.code}"
    if not city.known(tag):
        raise NotFoundError(
            f"There is no {which.kind} {which.code!r} here; the page /about/feeds lists the feeds."
        )
    if which.kind == "place":
        inside = tuple(
            code for code in city.places if code == which.code or which.code in city.ancestors(code)
        )
        return city.label(tag, lang), NoticeFilter(places=inside)
    # An office's own feed holds all it said; elsewhere one document stands once, with all its sources.
    return city.label(tag, lang), NoticeFilter(tags=(tag,), leads_only=not tag.startswith("agency:"))


def public_head(
    services: Services, which: PublicFeed, part: Part, *, lang: str, fmt: Format, updated: Iterable[datetime]
) -> FeedView:
    """Describe a public feed, without its entries.

    Args:
        services: The joined parts.
        which: The feed.
        part: The document of it.
        lang: ``zh…`` or ``en``.
        fmt: Its links lead to documents of the same format.
        updated: Of each entry.
    """
    english, name = lang.startswith("en"), services.city.name.of(lang)
    title, _ = public_query(services, which, lang)
    path = f"{which.kind}/{which.code}" if which.code else which.kind
    # Nothing in a feed depends on when it is asked for, not even in an empty one.
    started = datetime(int(services.year), 1, 1, tzinfo=UTC)
    return FeedView(
        feed_id=f"tag:{services.authority},{services.year}:public/{path}",
        self_url=public_address(services, which, fmt, lang, part.page),
        page_url=services.settings.base_url + page_of(which),
        title=marked(services, f"{name}: {title}" if english else f"{name} · {title}"),
        subtitle="Public notices, newest first." if english else "公开公告，最新在前。",
        lang=lang,
        updated=max([*updated, *(one.updated for one in part.gone)], default=started),
        entries=(),
        author=name,
        timezone=services.zone.key,
        about_url=f"{services.settings.base_url}/about/feeds",
        style_url=STYLE,
        # What anybody types into the search is not announced, and archives hardly change.
        hubs=hub_links(services) if which.kind != "search" and not part.page else (),
        links=_links(services, which, part, fmt, lang),
        archive=bool(part.page),
        gone=stones(services, part.gone) if fmt == "atom" else (),
    )


def personal_head(
    services: Services, profile_id: int, *, lang: str, updated: Iterable[datetime], gone: Iterable[Fact] = ()
) -> FeedView:
    """Describe a resident's feed, without its entries; no role word and no secret stands in it.

    Args:
        services: The joined parts.
        profile_id: Whose.
        lang: ``zh…`` or ``en``.
        updated: When the profile was made, each entry changed, and each was picked.
        gone: What was purged of what stood in it.
    """
    english, name = lang.startswith("en"), services.city.name.of(lang)
    return FeedView(
        feed_id=f"tag:{services.authority},{services.year}:feed/{profile_id}",
        self_url="",
        page_url=f"{services.settings.base_url}/me",
        title=marked(services, f"{name}: notices for me" if english else f"{name} · 我的公告"),
        subtitle="Chosen for you; each entry says why."
        if english
        else "为您挑选的公告，每条都写明为什么给您。",
        lang=lang,
        updated=max(updated),
        entries=(),
        author=name,
        timezone=services.zone.key,
        about_url=f"{services.settings.base_url}/about/feeds",
        style_url=STYLE,
        gone=stones(services, gone),
    )


def stones(services: Services, gone: Iterable[Fact]) -> tuple[tuple[str, datetime], ...]:
    """Say which entries are gone for good, the latest first, and nothing of what they were."""
    latest = sorted(gone, key=lambda one: one.material_number, reverse=True)[:GONE_MOST]
    return tuple((entry_id(services.authority, services.year, one.notice_id), one.updated) for one in latest)


def marked(services: Services, title: str) -> str:
    """Put the sample city's mark in front of a title."""
    return services.city.sample_mark + title


def _links(
    services: Services, which: PublicFeed, part: Part, fmt: Format, lang: str
) -> tuple[tuple[str, str], ...]:
    def at(page: int) -> str:
        return public_address(services, which, fmt, lang, page)

    if not part.page:
        return (("prev-archive", at(part.pages)),) if part.pages else ()
    links = [("current", at(0))]
    if part.page > 1:
        links.append(("prev-archive", at(part.page - 1)))
    if part.page < part.pages:
        links.append(("next-archive", at(part.page + 1)))
    return tuple(links)


def _no_page(which: PublicFeed) -> Part:
    raise NotFoundError(f"This archive has no such page; {which.path}.atom links to its newest one.")
