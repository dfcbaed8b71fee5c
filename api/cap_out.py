"""A stored warning as CAP 1.2: our own as their issuer wrote them, others' as what they said when they came.

A warning that stands is an Alert or an Update, one that was ended is a Cancel that names it, one past its
end is gone. Somebody else's warning keeps its identifier, sender and time and says that it came through
us: it is written anew from what is stored, so it is no copy of the original file, and no signature
survives. Reads the stores only. Called by ``api.web.routes.alerts_out`` and by the feed of alerts, which
links to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from api.jobs.alert_stage import Family, families, is_over
from api.wiring import Services
from delivery.cap import (
    CATEGORIES,
    CERTAINTIES,
    RESPONSES,
    SEVERITIES,
    URGENCIES,
    CapAlert,
    CapArea,
    CapInfo,
    cap_xml,
    reference,
)
from feeds.catalogue.notices import Notice
from feeds.intake.sanitise import to_text


def alert_xml(services: Services, notice_id: int) -> bytes | None:
    """Write a warning as CAP; ``None`` for what is no public warning, or is over."""
    family = next(families(services, [notice_id]), None)
    if family is None:
        return None
    now = services.clock.now()
    base = family.base
    if base.state == "withdrawn":
        return cap_xml(_cancel(services, family))
    standing = [one for one in family.members if one.state == "released" and not is_over(one, now)]
    if base.state != "released" or not standing:
        return None
    return cap_xml(_alert(services, family, standing))


def _alert(services: Services, family: Family, standing: Sequence[Notice]) -> CapAlert:
    base = family.base
    cap = _cap(base)
    identifier, sender, sent = _named(services, base)
    return CapAlert(
        identifier=identifier,
        sender=sender,
        sent=sent,
        status="Actual",
        msg_type="Update" if cap.get("msg_type") == "Update" and cap.get("references") else "Alert",
        infos=tuple(_info(services, one) for one in standing),
        source=_source(services, base),
        note=str(cap.get("note") or ""),
        references=tuple(_references(cap.get("references") or (), services)),
        incidents=tuple(str(one) for one in cap.get("incidents") or ()),
    )


def _cancel(services: Services, family: Family) -> CapAlert:
    """The end of a warning: a message of ours that names those that it takes back."""
    base = family.base
    identifier, sender, sent = _named(services, base)
    cap = _cap(base)
    named = [
        *_references(cap.get("messages") or (), services),
        reference(sender, identifier, sent.astimezone(services.zone)),
    ]
    return CapAlert(
        identifier=f"{services.city.slug.upper()}-{base.id}-cancel",
        sender=f"alerts@{services.authority}",
        sent=(base.changed_at or base.created_at).astimezone(services.zone),
        status="Actual",
        msg_type="Cancel",
        source=_source(services, base),
        note=base.reason,
        references=tuple(dict.fromkeys(named)),
    )


def _info(services: Services, notice: Notice) -> CapInfo:
    cap, content = _cap(notice), notice.content
    own = bool(cap.get("own"))
    categories = tuple(one for one in cap.get("category") or () if one in CATEGORIES)
    agency = services.city.agencies.get(content.agency_slug)
    name = agency.label.of(content.lang) if agency else content.agency
    return CapInfo(
        language="zh-CN" if content.lang == "zh-Hans" else content.lang,
        event=str(cap.get("event") or content.title),
        categories=categories or ("Other",),
        urgency=_one_of(cap.get("urgency"), URGENCIES),
        severity=_one_of(cap.get("severity"), SEVERITIES),
        certainty=_one_of(cap.get("certainty"), CERTAINTIES),
        sender_name=name or services.city.name.of(content.lang),
        headline=content.title,
        description=content.summary if own else to_text(content.body),
        instruction=str(cap.get("instruction") or ""),
        responses=tuple(one for one in cap.get("response") or () if one in RESPONSES),
        effective=_local(services, content.effective),
        expires=_local(services, content.expires),
        web=f"{services.settings.base_url}/notices/{notice.id}",
        contact=content.phone,
        areas=tuple(_areas(services, notice, cap)),
    )


def _areas(services: Services, notice: Notice, cap: Mapping[str, Any]) -> Iterator[CapArea]:
    given = [area for area in cap.get("areas") or () if isinstance(area, Mapping)]
    for area in given:
        yield CapArea(
            desc=str(area.get("desc") or services.city.name.of(notice.content.lang)),
            polygons=tuple(
                tuple((p[0], p[1]) for p in ring) for ring in area.get("polygons") or () if len(ring) > 2
            ),
            circles=tuple((c[0], c[1], c[2]) for c in area.get("circles") or ()),
            geocodes=tuple(
                (str(name), str(value))
                for name, values in (area.get("geocodes") or {}).items()
                for value in values
            ),
        )
    if not given:
        codes = [tag.code for tag in notice.tags if tag.kind == "place" and tag.weight >= 1]
        joiner = "、" if notice.content.lang.startswith("zh") else ", "
        names = joiner.join(services.city.label(f"place:{code}", notice.content.lang) for code in codes)
        yield CapArea(desc=names or services.city.name.of(notice.content.lang))


def _named(services: Services, notice: Notice) -> tuple[str, str, datetime]:
    """Identifier, sender and time of a message; ours where it has none that CAP would take."""
    cap = _cap(notice)
    identifier, sender = str(cap.get("identifier") or ""), str(cap.get("sender") or "")
    sent = _instant(str(cap.get("sent") or "")) or notice.changed_at or notice.created_at
    clean = not any(sign in identifier + sender for sign in " ,<&\t\n")
    if not (identifier and sender and clean):
        identifier = f"{services.city.slug.upper()}-{notice.id}-{notice.revision}"
        sender = f"alerts@{services.authority}"
    return identifier, sender, sent.astimezone(services.zone)


def _references(messages: Sequence[Any], services: Services) -> Iterator[str]:
    """Message ids (``sender,identifier,time``) as references, in the city's own offset."""
    for message in messages:
        sender, _, rest = str(message).partition(",")
        identifier, _, sent = rest.rpartition(",")
        moment = _instant(sent)
        if sender and identifier and moment and " " not in sender + identifier:
            yield reference(sender, identifier, moment.astimezone(services.zone))


def _source(services: Services, notice: Notice) -> str:
    """Who said it, where it was not us."""
    if _cap(notice).get("own") or notice.source_id is None:
        return ""
    name = next((one.name for one in services.sources.list() if one.id == notice.source_id), "")
    return f"{name}, relayed by {services.authority}".lstrip(", ")


def _instant(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _local(services: Services, moment: datetime | None) -> datetime | None:
    return moment.astimezone(services.zone) if moment else None


def _one_of(value: object, values: Sequence[str]) -> str:
    return str(value) if value in values else "Unknown"


def _cap(notice: Notice) -> Mapping[str, Any]:
    return notice.content.extra.get("cap") or {}
