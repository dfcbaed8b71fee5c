"""From stored notices and picks to what a reader sees: entries, feeds, digests.

Joins catalogue, profiles and delivery's view types; renders nothing and sends nothing. It also holds
the one place where sensitive matters are worded discreetly (docs/decisions/0006-discretion.md).
Called by the pages, the feed path and the digest job.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Literal, Protocol
from urllib.parse import urlsplit

from api.feed_heads import personal_head, public_head, public_part
from api.feed_links import PublicFeed as PublicFeed
from api.wiring import Services
from delivery.feed_files import enclosures_of
from delivery.feed_writer import Format
from delivery.sms_text import clip
from delivery.types import Also, Enclosure, EntryView, FeedView
from feeds.catalogue.notices import Notice, Revision
from feeds.intake.sanitise import to_text
from feeds.intake.sources import Source
from feeds.kernel.ids import entry_id
from profiles.reasons import OF_MANY_CODES, PLACE_LABELS, UNTRUE_BY_DATE, is_sensitive, sentence
from profiles.types import SHELF_SIZE, Pick, Profile, Reason, Shelf

Surface = Literal["page", "feed", "mail", "sms"]
_SUMMARY = 120
_MOSTLY = 0.5  # from this share on it is said that something rests on simulated residents
_ROLE_UNNAMED = ("与您选择的身份有关，详见“我的页面”", "About a role you chose; your own page says which")


def entry_view(
    services: Services,
    notice: Notice,
    *,
    lang: str,
    pick: Pick | None = None,
    surface: Surface = "page",
    discreet: bool = False,
    correction: Revision | None = None,
    source: Source | None = None,
    also: tuple[Also, ...] = (),
) -> EntryView:
    """Say one notice in a reader's language for one surface.

    Args:
        services: The joined parts.
        notice: At its current revision.
        lang: ``zh…`` or ``en``.
        pick: Why it was chosen; ``None`` in public lists.
        surface: Where it will be read; decides how discreet it must be.
        discreet: The resident asked for neutral wording outside the page.
        correction: Its newest major revision after the first, if any.
        source: Where it came from, if known.
        also: Who else published the same; see :func:`also_published`.
    """
    content = notice.content
    sensitive = any(services.city.is_sensitive(f"{tag.kind}:{tag.code}") for tag in notice.tags)
    veiled = sensitive and (surface == "sms" or (discreet and surface != "page"))
    body = to_text(content.body)
    mark, note = _mark(notice, correction)
    return EntryView(
        notice_id=notice.id,
        revision=notice.revision,
        entry_id=entry_id(services.authority, services.year, notice.id),
        url=f"{services.settings.base_url}/notices/{notice.id}" + ("?ask=1" if veiled else ""),
        title=content.title_en if lang.startswith("en") and content.title_en else content.title,
        summary=content.summary or _cut(body),
        body_html=content.body,
        lang=content.lang,
        updated=notice.changed_at or notice.created_at,
        published=notice.fresh_at,
        agency=_agency(services, notice, lang),
        source_name=source.name if source else "",
        source_url=content.url or (_address(source.url or "") if source else ""),
        licence=source.licence if source else "",
        tags=_shown_tags(services, notice, lang, surface),
        reasons=_sentences(services, pick, lang, surface) if pick else (),
        deadline=content.deadline,
        deadline_has_time=content.deadline_precision == "instant",
        phone=content.phone,
        mark=mark,
        mark_note=note,
        sensitive=veiled,
        quiet_subject=sensitive,
        material_number=notice.material_number,
        also=also,
        enclosures=(*enclosures_of(content.attachments), *_cap_of(services, notice)),
        title_lang="en" if lang.startswith("en") and content.title_en and content.lang != "en" else "",
    )


def _cap_of(services: Services, notice: Notice) -> tuple[Enclosure, ...]:
    """A warning's own file for programs (CAP), while it stands or has just been ended."""
    if "cap" not in notice.content.extra or notice.state not in ("released", "withdrawn"):
        return ()
    address = f"{services.settings.base_url}/alerts/{notice.id}.cap"
    return (Enclosure(address, "application/cap+xml", 0, "CAP"),)


def picks_view(
    services: Services,
    profile: Profile,
    picks: Sequence[Pick],
    *,
    lang: str,
    surface: Surface = "page",
    limit: int = SHELF_SIZE,
    revisions: Mapping[int, int] | None = None,
    until: datetime | None = None,
) -> list[EntryView]:
    """Say picks in order, each notice at its current revision, or at those given; purged ones fall out.

    ``until`` leaves out who published the same only later, so that what was sent can be made again.
    """
    chosen = list(picks[:limit])
    if revisions is None:
        found = services.notices.many(pick.notice_id for pick in chosen)
    else:
        found = services.notices.at_revisions(revisions)
    if not profile.personalised:
        chosen = plainly(chosen, found)
    corrections = services.notices.last_major(found, upto=revisions)
    sources = sources_of(services, found.values())
    also = also_published(services, found.values(), lang=lang, until=until)
    return [
        entry_view(
            services,
            notice,
            lang=lang,
            pick=pick,
            surface=surface,
            discreet=profile.discreet,
            correction=corrections.get(notice.id),
            source=sources.get(notice.source_id or 0),
            also=also.get(notice.id, ()),
        )
        for pick in chosen
        if (notice := found.get(pick.notice_id)) is not None and notice.is_public
    ]


class Dated(Protocol):
    """What has an instant that its freshness is counted from."""

    @property
    def fresh_at(self) -> datetime:
        """That instant."""


def plainly(picks: Sequence[Pick], found: Mapping[int, Dated]) -> list[Pick]:
    """Picks of somebody who switched personalisation off: newest first, with the reasons that still hold."""
    known = [pick for pick in picks if pick.notice_id in found]
    known.sort(key=lambda pick: (found[pick.notice_id].fresh_at, pick.notice_id), reverse=True)
    declared = (tuple(r for r in pick.reasons if r.code not in UNTRUE_BY_DATE) for pick in known)
    return [replace(pick, reasons=reasons) for pick, reasons in zip(known, declared, strict=True)]


def shelf_view(
    services: Services,
    profile: Profile,
    shelf: Shelf,
    *,
    lang: str,
    surface: Surface = "page",
    limit: int = SHELF_SIZE,
) -> list[EntryView]:
    """Say what is on a profile's shelf, newest edition first."""
    return picks_view(
        services, profile, [item.pick for item in shelf.picks], lang=lang, surface=surface, limit=limit
    )


def entry_views(
    services: Services, notices: Sequence[Notice], *, lang: str, discreet: bool = False
) -> dict[int, EntryView]:
    """Say notices as feeds show them to everybody: without anybody's reasons, by id."""
    corrections = services.notices.last_major(item.id for item in notices)
    sources = sources_of(services, notices)
    also = also_published(services, notices, lang=lang)
    return {
        item.id: entry_view(
            services,
            item,
            lang=lang,
            surface="feed",
            discreet=discreet,
            correction=corrections.get(item.id),
            source=sources.get(item.source_id or 0),
            also=also.get(item.id, ()),
        )
        for item in notices
    }


def personal_feed(services: Services, profile: Profile, shelf: Shelf, *, lang: str) -> FeedView:
    """Describe a resident's feed whole; no role word and no secret stands in it."""
    hidden = services.feedback.hidden(profile.id)
    picks = [item.pick for item in shelf.picks if item.pick.notice_id not in hidden]
    entries = tuple(picks_view(services, profile, picks, lang=lang, surface="feed"))
    facts = services.notices.facts(pick.notice_id for pick in picks[:SHELF_SIZE])
    # A pick of an older notice is news too, for readers that ask by date only.
    updated = [profile.created_at, *(entry.updated for entry in entries)]
    updated += [item.picked_at for item in shelf.picks]
    gone = [fact for fact in facts.values() if fact.state == "purged"]
    head = personal_head(services, profile.id, lang=lang, updated=updated, gone=gone)
    return replace(head, entries=entries)


def public_feed(services: Services, which: PublicFeed, *, lang: str, self_url: str) -> FeedView:
    """Describe a feed anybody may read, whole, as the format says that its address ends in.

    Raises:
        NotFoundError: If the role, theme, place or agency does not exist in this city.
    """
    part = public_part(services, which)
    found = services.notices.many(part.ids)
    views = entry_views(services, [found[n] for n in part.ids if n in found], lang=lang)
    suffix = self_url.partition("?")[0].rpartition(".")[2]
    fmt: Format = "rss" if suffix == "rss" else "json" if suffix == "json" else "atom"
    updated = [entry.updated for entry in views.values()]
    head = public_head(services, which, part, lang=lang, fmt=fmt, updated=updated)
    return replace(head, self_url=self_url, entries=tuple(views.values()))


def pick_sentences(services: Services, pick: Pick, *, lang: str, surface: Surface) -> tuple[str, ...]:
    """Say why something was picked, as discreetly as a surface asks for."""
    return _sentences(services, pick, lang, surface)


def reason_sentence(services: Services, reason: Reason, *, lang: str) -> str:
    """Say one reason in full, as the resident's own page does."""
    return sentence(reason, lang, services.city.label, simulated=_made_up(services, (reason,)))


def _made_up(services: Services, reasons: Iterable[Reason]) -> bool:
    """Whether what the model in use says of many rests for the most part on simulated residents."""
    if all(reason.code not in OF_MANY_CODES for reason in reasons):
        return False  # nothing says so; the model need not be read
    model = services.models.load_current()
    return services.demo if model is None else model.info.simulated_share >= _MOSTLY


def _address(url: str) -> str:
    """A source's address as readers may follow it: none for names that are reserved for being nowhere."""
    return "" if (urlsplit(url).hostname or "").endswith(".invalid") else url


def _sentences(services: Services, pick: Pick, lang: str, surface: Surface) -> tuple[str, ...]:
    """Reasons as sentences; outside the page no role word and nothing sensitive is named.

    What may not be told is left out beside another reason, and stands as a neutral sentence alone.
    """
    shown = [reason for reason in pick.reasons if surface == "page" or not _tells(services, reason, surface)]
    if not shown and all(_is_role(services, reason) for reason in pick.reasons):
        return (_ROLE_UNNAMED[lang.startswith("en")],)
    simulated = _made_up(services, shown or pick.reasons)
    said = [
        sentence(
            _reticent(reason, surface), lang, services.city.label, discreet=not shown, simulated=simulated
        )
        for reason in shown or pick.reasons
    ]
    return tuple(dict.fromkeys(said))


def _is_role(services: Services, reason: Reason) -> bool:
    named = [param for param in reason.params if ":" in param]
    roles = all(param.startswith("role:") for param in named)
    return bool(named) and roles and not any(services.city.is_sensitive(param) for param in named)


def _tells(services: Services, reason: Reason, surface: Surface) -> bool:
    """Whether a reason tells more about its reader than this surface may show.

    A word that somebody typed can be anything, so it counts as sensitive everywhere but on their page.
    """
    if is_sensitive(reason, services.city.is_sensitive) or any(p.startswith("word:") for p in reason.params):
        return True
    return surface in ("feed", "sms") and any(param.startswith("role:") for param in reason.params)


def _reticent(reason: Reason, surface: Surface) -> Reason:
    """Leave out what a place was called by its resident, unless it is one of our own words for it."""
    label = reason.params[1] if reason.code == "place" and len(reason.params) > 1 else ""
    if surface == "page" or not label or label in PLACE_LABELS:
        return reason
    return replace(reason, params=(reason.params[0], "", *reason.params[2:]))


def _shown_tags(services: Services, notice: Notice, lang: str, surface: Surface) -> tuple[str, ...]:
    kinds = (
        ("theme", "place", "type", "life")
        if surface != "page"
        else ("theme", "place", "type", "life", "role")
    )
    tags = [f"{tag.kind}:{tag.code}" for tag in notice.tags if tag.kind in kinds]
    if surface != "page":
        tags = [tag for tag in tags if not services.city.is_sensitive(tag)]
    return tuple(services.city.label(tag, lang) for tag in tags)


def _mark(notice: Notice, correction: Revision | None) -> tuple[str, str]:
    """A warning is updated and lifted, where other notices are corrected and withdrawn."""
    warning = "cap" in notice.content.extra
    if notice.state == "withdrawn":
        return "lifted" if warning else "withdrawn", notice.reason
    if notice.state == "expired":
        return "expired", ""
    if correction is not None and not warning:
        return "corrected", correction.note
    if notice.priority == "emergency":
        return "emergency", ""
    return "", ""


def also_published(
    services: Services, notices: Iterable[Notice], *, lang: str, until: datetime | None = None
) -> dict[int, tuple[Also, ...]]:
    """Name, for each notice that stands for several, the others who published it, each once.

    Args:
        services: The joined parts.
        notices: As they will be shown.
        lang: For names of agencies, where a source has none.
        until: Leave out what was released later than this.
    """
    leads = {item.id: item for item in notices}
    groups = services.notices.groups(leads)
    others = services.notices.many(number for group in groups.values() for number, _ in group)
    shown = {number: item for number, item in others.items() if _stands(item, until)}
    names = sources_of(services, [*shown.values(), *(leads[number] for number in groups)])
    found: dict[int, tuple[Also, ...]] = {}
    for lead, group in groups.items():
        own = names.get(leads[lead].source_id or 0)
        told = {own.name if own else "": Also("")}
        for number in sorted(number for number, _ in group if number in shown):
            other = shown[number]
            source = names.get(other.source_id or 0)
            name = source.name if source else _agency(services, other, lang)
            told.setdefault(name, Also(name, other.content.url))
        found[lead] = tuple(who for who in told.values() if who.name)
    return found


def _stands(notice: Notice, until: datetime | None) -> bool:
    """Whether a notice can be read, and could then."""
    released = notice.released_at
    return notice.state == "released" and (until is None or (released is not None and released <= until))


def sources_of(services: Services, notices: Iterable[Notice]) -> Mapping[int, Source]:
    """Return the sources that notices came from, by id."""
    wanted = {item.source_id for item in notices if item.source_id is not None}
    return {source.id: source for source in services.sources.list() if source.id in wanted} if wanted else {}


def _agency(services: Services, notice: Notice, lang: str) -> str:
    known = services.city.agencies.get(notice.content.agency_slug)
    if known and lang.startswith("en"):
        return known.label.of(lang)
    return issuer_name(services, notice, lang) or (known.label.of(lang) if known else "")


def issuer_name(services: Services, notice: Notice, lang: str) -> str:
    """Who says it: a warning that only names its sender's address gets the name of the issuer table."""
    said = notice.content.agency
    if "@" not in said:
        return said
    named = (said, str((notice.content.extra.get("cap") or {}).get("sender") or ""))
    known = {f"sender:{one.lower()}" for one in named if one}
    rows = services.city.issuers
    return next((row.names(lang) for row in rows if known & {who.lower() for who in row.who}), said)


def _cut(text: str) -> str:
    text = " ".join(text.split())
    return clip(text, _SUMMARY)
