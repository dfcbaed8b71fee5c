"""The office's own warnings: written from ready words, tried out, released by two people, updated, ended.

Decides who may do which step; every step is in the audit. A second person releases; who holds the role
``duty`` may override that alone, and the warning stays flagged until somebody else has looked at it. A
test goes to staff's own addresses, never to residents, and is stored nowhere. Telling people is
``api.jobs.alerts``. Called by the desk's alert pages.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from api.jobs.alert_building import alert_text
from api.jobs.alert_stage import Family, families
from api.jobs.alerts import CHANNELS
from api.jobs.building import sender
from api.jobs.concerned import circle_of
from api.wiring import Services
from delivery.compose_alert import Step, compose_alert_mail, compose_alert_sms
from delivery.errors import DeliveryError
from feeds.catalogue.alert_templates import AlertTemplate, fill
from feeds.catalogue.issuers import authorised
from feeds.catalogue.notices import Notice, NoticeContent
from feeds.catalogue.tagging import Tag
from feeds.desk.staff import Actor
from feeds.intake.cap_areas import CAUSE, drawn_places
from feeds.intake.cap_chain import message_id, stamp
from feeds.intake.cap_words import priority_of
from feeds.intake.sanitise import plain_to_html
from feeds.kernel.errors import UsageError
from feeds.kernel.geometry import Disc, Polygon, Shape, is_usable
from feeds.kernel.time import from_micros, to_micros
from profiles.contacts import clean_address
from profiles.match import kinship

DUTY = "duty"
#: Estimates below this say nothing but that.
FEW = 20
LANGS = ("zh", "en")
#: What an update says in English where nobody wrote it.
UPDATED_EN = "Area, end or advice changed; see below"
_CHINESE = re.compile(r"[\u3400-\u9fff]")


@dataclass(frozen=True, slots=True)
class Words:
    """What a warning says in one language; an empty title leaves the language out."""

    title: str = ""
    body: str = ""
    instruction: str = ""


@dataclass(frozen=True, slots=True)
class Wish:
    """A warning as somebody at the desk wants it.

    Attributes:
        template: Code of the ready words it was made of.
        places: Codes that were ticked.
        shape: A polygon or circle that was drawn instead, or beside them.
        received: When the office heard of the event; the clock counts from here.
        hours: How long it lasts from now.
        words: Language (``zh``, ``en``) → what it says.
    """

    template: str
    places: tuple[str, ...]
    severity: str
    urgency: str
    certainty: str
    hours: float
    received: datetime
    words: Mapping[str, Words]
    phone: str = ""
    shape: Shape | None = None


@dataclass(frozen=True, slots=True)
class Estimate:
    """Whom a warning would reach; ``None`` stands for fewer than :data:`FEW`.

    Attributes:
        residents: Rounded.
        channels: Channel → messages, rounded.
        segments: Billing segments of one text.
    """

    residents: int | None
    channels: Mapping[str, int | None]
    segments: int


@dataclass(frozen=True, slots=True)
class Shown:
    """What goes out in one language, as people will read it.

    Attributes:
        lang: ``zh`` or ``en``.
        sms: The whole text; ``""`` where the city has no signature.
        subject, mail: Of the mail.
    """

    lang: str
    sms: str
    subject: str
    mail: str


def filled(
    services: Services, template: AlertTemplate, values: Mapping[str, str], places: Sequence[str]
) -> dict[str, Words]:
    """Fill ready words in both languages; the places are named in each language."""
    found = {}
    detail, english = values.get("detail", ""), values.get("detail_en", "")
    for lang in LANGS:
        slots = {**values, "place": named(services, places, lang)}
        if lang == "en":  # Chinese details are no English ones
            slots["detail"] = english or ("" if _CHINESE.search(detail) else detail)
        found[lang] = Words(
            *(fill(label.of(lang), slots) for label in (template.title, template.body, template.instruction))
        )
    return found


def named(services: Services, places: Sequence[str], lang: str) -> str:
    """Places in one line."""
    return ("、" if lang == "zh" else ", ").join(
        services.city.label(f"place:{code}", lang) for code in places
    )


def places_of(services: Services, places: Sequence[str], shape: Shape | None) -> tuple[str, ...]:
    """Codes of what was ticked and of what a drawn area touches."""
    drawn = drawn_places([shape], services.city) if shape else ()
    return tuple(dict.fromkeys((*places, *drawn)))


def is_everybody(services: Services, wish: Wish) -> bool:
    """Whether a warning of the highest level goes to the whole city: that must be meant."""
    return wish.severity == "Extreme" and services.city.place in _codes(services, wish)


def shown(services: Services, wish: Wish, *, changed: Mapping[str, str] | None = None) -> list[Shown]:
    """The final texts of a wish in each of its languages.

    Args:
        services: The joined parts.
        wish: The warning.
        changed: For an update: language → what changed.
    """
    return [_shown(services, one, changed) for one in _drafts(services, wish, None)]


def shown_of(services: Services, notice_id: int) -> list[Shown]:
    """The final texts of a stored warning in each of its languages."""
    return [_shown(services, one, None) for one in _family(services, notice_id).members]


def _shown(services: Services, notice: Notice, changed: Mapping[str, str] | None) -> Shown:
    lang = _short(notice.content.lang)
    step: Step = "new" if changed is None else "update"
    said = None if changed is None else changed.get(lang, "").strip()
    alert = alert_text(services, notice, lang=notice.content.lang, step=step, changed=said)
    text = compose_alert_sms(alert, to="+8613800000000", out_id="").text if alert.signature else ""
    mail = compose_alert_mail(
        alert, reason="", unsubscribe_url="", to="x@example.org", sender=sender(services),
        message_id="<preview@example.org>", date=services.clock.now(),
    )  # fmt: skip
    return Shown(lang, text, mail.subject, mail.text)


def may_release(services: Services, notice_id: int, actor: Actor) -> bool:
    """Whether somebody may release a waiting warning as its second person."""
    hands = {row["actor"] for row in services.audit.of(notice_id) if row["action"] in _HANDS}
    return "editor" in actor.roles and actor.label not in hands


def read_shape(text: str) -> Shape | None:
    """Read ``30.2,121.2 5`` (a circle with its radius in km) or the corners of a polygon; empty means none.

    Raises:
        UsageError: If it is neither.
    """
    parts = text.replace("，", ",").split()
    if not parts:
        return None
    try:
        points = [tuple(float(one) for one in part.split(",")) for part in parts if "," in part]
        numbers = [float(part) for part in parts if "," not in part]
    except ValueError:
        points, numbers = [], []
    shape: Shape | None = None
    if len(points) == 1 and len(numbers) == 1 and len(points[0]) == 2:
        shape = Disc((points[0][0], points[0][1]), numbers[0])
    elif not numbers and all(len(point) == 2 for point in points):
        shape = Polygon(tuple((point[0], point[1]) for point in points))
    if shape is None or not is_usable(shape):
        raise UsageError(
            "The area is neither a circle (30.2,121.2 5) nor a polygon (at least three points 30.1,121.1)."
        )
    return shape


def check(services: Services, wish: Wish) -> None:
    """Say what is missing or not allowed.

    Raises:
        UsageError: One sentence.
    """
    if not _codes(services, wish):
        raise UsageError("Tick at least one place, or draw an area that lies in the city.")
    if not wish.words.get("zh", Words()).title.strip():
        raise UsageError("A warning needs a Chinese title; residents who read no other language get it.")
    if not _says(wish.words["zh"]):
        raise UsageError("Say what happened; a warning without a text is not sent.")
    if any(one.title.strip() and not _says(one) for one in wish.words.values()):
        raise UsageError("The English warning says nothing below its title; fill it in, or empty its title.")
    if any(len(one.title) > 120 for one in wish.words.values()):
        raise UsageError("The title is too long; shorten it to 120 characters.")
    if not 0 < wish.hours <= 168:
        raise UsageError("A warning lasts more than 0 and at most 168 hours.")
    for code in wish.places:
        if code not in services.city.places:
            raise UsageError(f"There is no place {code!r} in this city.")
    verdict = authorised(services.city.issuers, ("office",), _event(services, wish), wish.severity)
    if not verdict.allowed:
        raise UsageError(
            "The issuer table does not let this office issue such a warning; "
            "choose another severity or event."
        )


def write(services: Services, wish: Wish, actor: Actor) -> Notice:
    """Write a warning in its languages and hand it to review; return the one of the first language.

    Raises:
        UsageError: If something is missing or not allowed.
    """
    check(services, wish)
    drafts = _drafts(services, wish, None)
    written = [
        services.desk.write(notice.content, tags=notice.tags, actor=actor, priority=notice.priority)
        for notice in drafts
    ]
    for other in written[1:]:
        services.notices.link(other.id, written[0].id, "language_of")
    for one in written:
        services.desk.submit(one.id, actor)
    return services.notices.get(written[0].id)


def release(services: Services, notice_id: int, actor: Actor) -> Notice:
    """Release a warning that somebody else wrote; the caller tells people.

    Raises:
        UsageError: If the actor wrote it, or is no editor.
    """
    for one in _waiting(services, notice_id):
        _check_issuer(services, one)
        services.desk.approve(one.id, actor, seen=one.revision)
    return services.notices.get(notice_id)


def override(services: Services, notice_id: int, actor: Actor, note: str) -> Notice:
    """Release a warning alone, because nobody else is there; it stays flagged until a second person looks.

    Raises:
        UsageError: If the actor may not, or gives no reason.
    """
    if DUTY not in actor.roles:
        raise UsageError(
            f"Your account may not release alone; ask for the role `{DUTY}` or for a second person."
        )
    if not note.strip():
        raise UsageError("Say why a second person could not be waited for; it stands in the audit.")
    now = services.clock.now()
    for one in _waiting(services, notice_id):
        _check_issuer(services, one)
        services.notices.set_state(
            one.id, "released", at=now, frm=("in_review",), expected_revision=one.revision
        )
        services.audit.append(
            "override", actor=actor.label, at=now, notice_id=one.id, details={"note": note.strip()}
        )
    return services.notices.get(notice_id)


def countersign(services: Services, notice_id: int, actor: Actor) -> None:
    """Say as a second person that an overridden release was right; takes the flag away.

    Raises:
        UsageError: If there is nothing to sign, or the actor had a hand in it.
    """
    if "editor" not in actor.roles:
        raise UsageError("Your account may not countersign; ask for the role `editor`.")
    hands = {row["actor"] for row in services.audit.of(notice_id) if row["action"] in _HANDS}
    if actor.label in hands:
        raise UsageError("You wrote or released this warning; a second person must countersign it.")
    if not unsigned(services, notice_id):
        raise UsageError("This warning was not released by one person alone, or was countersigned already.")
    now = services.clock.now()
    for one in _family(services, notice_id).members:
        services.audit.append("countersign", actor=actor.label, at=now, notice_id=one.id, details={})


def unsigned(services: Services, notice_id: int) -> bool:
    """Whether a warning was released by one person alone and nobody else has looked at it since."""
    flagged = False
    for row in services.audit.of(notice_id):
        flagged = row["action"] == "override" or (flagged and row["action"] != "countersign")
    return flagged


def amend(
    services: Services, notice_id: int, wish: Wish, note: str, actor: Actor, *, note_en: str = ""
) -> Notice:
    """Update a warning: those who were told and those it concerns now hear of it (the caller tells them).

    Both languages say what changed, each in its own note; without ``note_en`` the English one says only
    that it was updated.

    Raises:
        UsageError: If it is not public, something is missing, or there is no note.
    """
    check(services, wish)
    family = _family(services, notice_id)
    drafts = {one.content.lang: one for one in _drafts(services, wish, family.base)}
    if family.base.state != "released":
        raise UsageError("Only a warning that stands can be updated.")
    for one in family.members:
        new = drafts.pop(one.content.lang, None)
        if new is None:
            if one.state == "released":
                services.notices.set_state(one.id, "superseded", at=services.clock.now(), frm=("released",))
            continue
        said = note if _short(one.content.lang) == "zh" or not note.strip() else note_en.strip() or UPDATED_EN
        services.desk.correct(one.id, new.content, major=True, note=said, actor=actor, tags=new.tags)
    return services.notices.get(notice_id)


def cancel(services: Services, notice_id: int, note: str, actor: Actor) -> Notice:
    """End a warning in all its languages; those who were told hear of it (the caller tells them).

    Raises:
        UsageError: If no reason is given.
    """
    for one in _family(services, notice_id).members:
        if one.state in ("released", "expired"):
            services.desk.withdraw(one.id, note, actor)
    return services.notices.get(notice_id)


def try_out(services: Services, wish: Wish, actor: Actor) -> dict[str, int]:
    """Send a warning to the test list only, marked as a test everywhere; nothing is stored of it.

    Returns:
        Channel → how many were accepted.

    Raises:
        UsageError: If there is no test list, or something is missing.
    """
    check(services, wish)
    people = test_list(services)
    if not people:
        raise UsageError("There is nobody to test with; name addresses in MYCITY_ALERT_TEST_LIST.")
    sent: dict[str, int] = {}
    failed = 0
    now = services.clock.now()
    for notice in _drafts(services, wish, None):
        alert = alert_text(services, notice, lang=notice.content.lang, step="new", test=True)
        for channel, address in people:
            port = services.channels.get(channel)
            reference = f"t{secrets.token_hex(8)}"
            try:
                if port is None:
                    raise DeliveryError(f"The channel {channel} is not set up.")
                port.send(
                    compose_alert_sms(alert, to=address, out_id=reference)
                    if channel == "sms"
                    else compose_alert_mail(
                        alert, reason="", unsubscribe_url="", to=address, sender=sender(services),
                        message_id=f"<{reference}@{services.authority}>", date=now,
                    )
                )  # fmt: skip
                sent[channel] = sent.get(channel, 0) + 1
            except DeliveryError:
                failed += 1
    details = {"template": wish.template, "sent": dict(sorted(sent.items())), "failed": failed}
    services.audit.append("alert-test", actor=actor.label, at=now, details=details)
    if not sent:
        raise UsageError("No test message was accepted; look at the channels first.")
    return sent


def test_list(services: Services) -> list[tuple[str, str]]:
    """The addresses of staff that tests go to: (channel, address)."""
    parts = (part.strip() for part in services.settings.alert_test_list.replace("，", ",").split(","))
    return [
        (channel, clean_address(channel, part))
        for part in parts if part
        for channel in ["email" if "@" in part else "sms"]
    ]  # fmt: skip


def estimate(services: Services, wish: Wish) -> Estimate:
    """Count whom a warning would reach, too roughly to tell of anybody."""
    notice = _drafts(services, wish, None)[0]
    circle = circle_of(notice, kinship(services.city))
    found = services.alert_outbox.reach(
        everybody=circle.everybody, places=sorted(circle.places), channels=CHANNELS
    )
    alert = alert_text(services, notice, lang="zh-Hans", step="new")
    text = compose_alert_sms(alert, to="+8613800000000", out_id="") if alert.signature else None
    channels = {name: rounded(found[name]) for name in CHANNELS if found.get(name)}
    return Estimate(rounded(found[""]), channels, text.segments if text else 0)


def rounded(count: int) -> int | None:
    """Two digits are enough to decide by; fewer than 20 are not told at all."""
    if count < FEW:
        return None
    step = 10 ** max(1, len(str(count)) - 2)
    return int(round(count / step) * step)


def wish_of(services: Services, notice_id: int) -> Wish:
    """The wish that would write a stored warning again: what an update begins with."""
    family = _family(services, notice_id)
    base = family.base
    cap = _cap(base)
    now = services.clock.now()
    ends = base.content.expires or now + timedelta(hours=6)
    words = {
        _short(one.content.lang): Words(
            one.content.title.removeprefix(services.city.sample_mark),
            one.content.summary, str(_cap(one).get("instruction") or ""),
        )
        for one in family.members if one.state in ("released", "in_review")
    }  # fmt: skip
    return Wish(
        template=str(cap.get("template") or ""),
        places=tuple(tag.code for tag in base.tags if tag.kind == "place" and tag.weight >= 1),
        severity=str(cap.get("severity") or "Unknown"),
        urgency=str(cap.get("urgency") or "Unknown"),
        certainty=str(cap.get("certainty") or "Unknown"),
        hours=max(1.0, round((ends - now).total_seconds() / 3600, 1)),
        received=received_at(base),
        words=words,
        phone=base.content.phone,
    )


def received_at(notice: Notice) -> datetime:
    """When the event became known: as the office said, else as the message was sent, else as it came here."""
    cap = _cap(notice)
    if cap.get("received"):
        return from_micros(int(cap["received"]))
    sent = str(cap.get("sent") or "")
    try:
        return datetime.fromisoformat(sent) if sent else notice.created_at
    except ValueError:
        return notice.created_at


# -- inside ----------------------------------------------------------------------------------------

_HANDS = ("write", "edit", "submit", "override")


def _drafts(services: Services, wish: Wish, before: Notice | None) -> list[Notice]:
    """A notice for each language, as it would be stored; the first speaks for the others."""
    now = services.clock.now()
    number = (
        f"{services.city.slug.upper()}-{now.astimezone(services.zone):%Y%m%d%H%M%S}-{secrets.token_hex(3)}"
    )
    sent_by = f"alerts@{services.authority}"
    chain = message_id(sent_by, number, now)
    old = _cap(before) if before else {}
    event = services.city.alert_templates.get(wish.template)
    codes = _codes(services, wish)
    tags = [Tag("place", code, CAUSE, 1.0) for code in codes]
    wider = dict.fromkeys(above for code in codes for above in services.city.ancestors(code))
    tags += [Tag("place", code, CAUSE, 0.3) for code in wider if code not in codes]
    tags.append(Tag("type", "warning", "desk", 1.0))
    level, place = services.tagger.jurisdiction(tags=(), region="", source_place=codes[0] if codes else None)
    found = []
    for lang in LANGS:
        words = wish.words.get(lang, Words())
        if not words.title.strip():
            continue
        full = "zh-Hans" if lang == "zh" else "en"
        cap: dict[str, Any] = {
            "id": chain,
            "messages": [*(old.get("messages") or ()), chain],
            "identifier": number,
            "sender": sent_by,
            "sent": stamp(now),
            "msg_type": "Update" if before else "Alert",
            "status": "Actual",
            "scope": "Public",
            "references": [*(old.get("messages") or ())],
            "incidents": [],
            "note": "",
            "language": full,
            "event": event.event.of(lang) if event else words.title,
            "category": [event.category if event else "Other"],
            "severity": wish.severity,
            "urgency": wish.urgency,
            "certainty": wish.certainty,
            "colour": "",
            "response": [],
            "onset": "",
            "contact": wish.phone,
            "areas": _areas(services, wish, codes, lang),
            "resources": [],
            "instruction": words.instruction.strip(),
            "own": True,
            "template": wish.template,
            "received": to_micros(wish.received),
        }
        mark = services.city.sample_mark
        title = words.title.strip()
        content = NoticeContent(
            title=title if title.startswith(mark) else f"{mark}{title}",
            body=_body(words, lang),
            lang=full,
            summary=words.body.strip()[:500],
            kind="warning",
            phone=wish.phone,
            published=now,
            expires=now + timedelta(hours=wish.hours),
            extra={"cap": cap},
        )
        priority = priority_of(wish.severity, wish.urgency, wish.certainty)
        found.append(
            Notice(
                0,
                None,
                "",
                "draft",
                1,
                content,
                tuple(tags),
                level,
                place,
                priority,
                False,
                now,
                None,
                None,
                0,
            )
        )
    return found


def _body(words: Words, lang: str) -> str:
    heading = "怎么办" if lang == "zh" else "What to do"
    advice = f"<h3>{heading}</h3>{plain_to_html(words.instruction)}" if words.instruction.strip() else ""
    return plain_to_html(words.body) + advice


def _areas(services: Services, wish: Wish, codes: Sequence[str], lang: str) -> list[dict[str, Any]]:
    joiner = "、" if lang == "zh" else ", "
    area: dict[str, Any] = {
        "desc": joiner.join(services.city.label(f"place:{code}", lang) for code in codes),
        "polygons": [], "circles": [], "geocodes": {"行政区划代码": list(codes)},
    }  # fmt: skip
    if isinstance(wish.shape, Polygon):
        ring = [list(point) for point in wish.shape.corners]
        area["polygons"] = [ring if ring[0] == ring[-1] else [*ring, ring[0]]]
    elif isinstance(wish.shape, Disc):
        area["circles"] = [[*wish.shape.centre, wish.shape.km]]
    return [area]


def _codes(services: Services, wish: Wish) -> tuple[str, ...]:
    return places_of(services, wish.places, wish.shape)


def _says(words: Words) -> bool:
    """Whether anything stands below the title; a line that ends in a colon says nothing."""
    return any(line.strip() and line.strip()[-1] not in "：:" for line in words.body.splitlines())


def _event(services: Services, wish: Wish) -> str:
    template = services.city.alert_templates.get(wish.template)
    return f"{template.event.zh} {template.event.en}" if template else wish.words["zh"].title


def _check_issuer(services: Services, notice: Notice) -> None:
    cap = _cap(notice)
    if not cap.get("own"):
        return  # somebody else's warning: releasing it by hand is what the table asks for
    template = services.city.alert_templates.get(str(cap.get("template")))
    event = f"{template.event.zh} {template.event.en}" if template else str(cap.get("event"))
    if not authorised(services.city.issuers, ("office",), event, str(cap.get("severity"))).allowed:
        raise UsageError("The issuer table does not let this office issue such a warning.")


def _waiting(services: Services, notice_id: int) -> list[Notice]:
    waiting = [one for one in _family(services, notice_id).members if one.state == "in_review"]
    if not waiting:
        raise UsageError("This warning does not wait for release any more.")
    return waiting


def _family(services: Services, notice_id: int) -> Family:
    found = next(families(services, [notice_id]), None)
    if found is None:
        raise UsageError(f"Notice {notice_id} is no warning.")
    return found


def _cap(notice: Notice | None) -> Mapping[str, Any]:
    return (notice.content.extra.get("cap") or {}) if notice else {}


def _short(lang: str) -> str:
    return "zh" if lang.lower().startswith("zh") else "en"
