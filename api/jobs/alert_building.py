"""Makes the messages of alerts: many rows at once, each warning written once for a language and a stage.

What one reader gets is fixed at the first preparation (the language around it, and why), so that every
later attempt says the same. Never sends and never writes the outbox. Called by ``api.jobs.building`` for
rows of the kind ``alert``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from api.jobs.alert_stage import keys_now
from api.jobs.building import message_for, message_id, sender, with_return_path
from api.jobs.concerned import Circle, circle_of, reasons_for
from api.jobs.recipients import Recipient, recipients
from api.views import entry_view, issuer_name
from api.wiring import Services
from delivery.compose_alert import AlertText, Step, compose_alert_mail, compose_alert_sms
from delivery.errors import DeliveryError, SuppressedError
from delivery.types import Delivery, Digest, Message, Prepared
from delivery.wording import is_chinese, words
from feeds.catalogue.notices import Notice
from feeds.intake.cap_words import levels_sentence
from feeds.intake.sanitise import to_text
from feeds.kernel.time import from_micros
from profiles.match import kinship
from profiles.reasons import PLACE_LABELS, sentence
from profiles.tokens import LinkTarget, derived_secret
from profiles.types import Profile, Reason

_COLOUR = re.compile(r"（.色）")


def make(services: Services, rows: Sequence[Delivery]) -> list[Prepared]:
    """Make the messages of claimed alerts; what speaks against one is an error of its row alone."""
    readers, now = recipients(services, rows), services.clock.now()
    known, keys = _notices(services, rows), keys_now(services, {_carried(row)[0] for row in rows}, now)
    tokens = _stop_tokens(services, rows)
    circles: dict[int, Circle] = {}
    kin = kinship(services.city)
    done = []
    for row in rows:
        reader, notice = readers[row.id], known.get(_carried(row))
        if isinstance(reader, DeliveryError):
            done.append(Prepared(row, error=reader))
        elif notice is None or notice.state == "purged":
            done.append(Prepared(row, error=SuppressedError("The warning was removed.")))
        elif not row.dedupe_key.startswith(keys.get(notice.id, "")):
            # Put back after a failure, and in the meantime the warning changed or is over.
            done.append(Prepared(row, why="outdated"))
        else:
            circle = circles.setdefault(notice.id, circle_of(notice, kin))
            done.append(_prepared(services, row, reader, notice, circle, tokens[row.id]))
    return done


def alert_text(
    services: Services,
    notice: Notice,
    *,
    lang: str,
    step: Step,
    again: bool = False,
    test: bool = False,
    changed: str | None = None,
) -> AlertText:
    """Say a warning the way its readers see it, in the words of one language.

    Args:
        services: The joined parts.
        notice: The warning in its own language.
        lang: Of the words around it.
        step: First alert, update or end.
        again: It is sent once more.
        test: It is a test.
        changed: What an update changes, before it is stored; default: what its revision says.
    """
    chinese = is_chinese(lang)
    cap: Mapping[str, Any] = notice.content.extra.get("cap") or {}
    content = notice.content
    codes = [
        tag.code for tag in notice.tags if tag.kind == "place" and tag.cause == "cap:area" and tag.weight >= 1
    ]
    joiner = "、" if chinese else ", "
    areas = joiner.join(services.city.label(f"place:{code}", lang) for code in codes)
    levels = [str(cap.get(name) or "Unknown") for name in ("severity", "urgency", "certainty")]
    agency = services.city.agencies.get(content.agency_slug)
    advice = str(cap.get("instruction") or "")
    level = "" if set(levels) == {"Unknown"} else levels_sentence(*levels, chinese=chinese)
    if cap.get("own"):
        level = _COLOUR.sub("", level)  # colours belong to the weather service's warnings
    return AlertText(
        step=step,
        lang=lang,
        title=content.title,
        text=(content.summary or to_text(content.body))[:1500],
        url=f"{services.settings.base_url}/notices/{notice.id}" if not test else "",
        city_name=services.city.name.of(lang),
        signature=services.city.sms_signature,
        timezone=services.zone.key,
        advice=advice,
        areas=areas,
        level=level,
        until=content.expires,
        agency=agency.label.of(lang) if agency else _issuer(services, notice, lang),
        phone=content.phone,
        note=_note(services, notice, step, cap) if changed is None else changed,
        link=services.settings.sms_link,
        text_lang=content.lang if is_chinese(content.lang) != chinese else "",
        sample=bool(services.city.sample_mark),
        again=again,
        test=test,
    )


def _note(services: Services, notice: Notice, step: Step, cap: Mapping[str, Any]) -> str:
    """Why it is over, or what somebody at the desk said that an update changes."""
    if step != "update" or not cap.get("own"):
        return notice.reason if step == "end" else ""
    major = services.notices.last_major([notice.id], upto={notice.id: notice.revision}).get(notice.id)
    return major.note if major else ""


def _issuer(services: Services, notice: Notice, lang: str) -> str:
    """Who issued it: what the message says, else the name that the issuer table gives its sender."""
    sender_of = str((notice.content.extra.get("cap") or {}).get("sender") or "")
    content = notice.content if notice.content.agency else replace(notice.content, agency=sender_of)
    return issuer_name(services, replace(notice, content=content), lang)


def _prepared(
    services: Services, row: Delivery, reader: Recipient, notice: Notice, circle: Circle, token: str
) -> Prepared:
    recipe = dict(row.recipe)
    recipe.setdefault("lang", reader.profile.lang)
    if ":end:" in row.dedupe_key:
        recipe["stage"] = "end"  # rows of old say so in their key alone
    recipe.setdefault("why", _why(reader.profile, recipe.get("stage", "new"), circle))
    try:
        message = _message(services, row, reader, notice, recipe, token)
    except DeliveryError as error:
        return Prepared(row, error=error)
    if row.frozen:
        return Prepared(row, message)
    return Prepared(row, message, recipe=recipe, notices=((notice.id, notice.revision),))


def _message(
    services: Services,
    row: Delivery,
    reader: Recipient,
    notice: Notice,
    recipe: Mapping[str, Any],
    token: str,
) -> Message:
    lang, url = recipe["lang"], f"{services.settings.base_url}/u/{token}"
    sensitive = any(services.city.is_sensitive(f"{tag.kind}:{tag.code}") for tag in notice.tags)
    if row.channel not in ("email", "sms"):
        return message_for(
            services, row, reader.profile, _digest(services, notice, reader.profile, recipe), reader.address
        )
    step = cast(Step, recipe.get("stage", "new"))
    alert = alert_text(services, notice, lang=lang, step=step, again=bool(recipe.get("again")))
    if sensitive:
        label = words(lang)
        # Nothing that somebody wrote goes out: also the reason of an end, the office and its phone tell.
        alert = replace(
            alert,
            title=label["neutral"],
            text=label["neutral_body"],
            url=f"{alert.url}?ask=1",
            advice="",
            areas="",
            level="",
            note="",
            agency="",
            phone="",
            text_lang="",
        )
    if row.channel == "sms":
        return compose_alert_sms(alert, to=reader.address, out_id=f"d{row.id}")
    quiet = (
        sensitive or reader.profile.discreet
    )  # the warning is for everybody; why it concerns them is theirs
    mail = compose_alert_mail(
        alert,
        reason="" if quiet else _said(services, recipe["why"], lang),
        unsubscribe_url=url,
        to=reader.address,
        sender=sender(services),
        message_id=message_id(services, row),
        date=from_micros(recipe["window"][1]),
    )
    return with_return_path(services, row, mail)


def _digest(services: Services, notice: Notice, profile: Profile, recipe: Mapping[str, Any]) -> Digest:
    """The warning alone, for channels that know digests only."""
    surface = "feed" if profile.discreet else "mail"
    entry = entry_view(services, notice, lang=recipe["lang"], surface=surface)  # type: ignore[arg-type]
    start, end = (from_micros(instant) for instant in recipe["window"])
    return Digest(
        lang=recipe["lang"],
        city_name=services.city.name.of(recipe["lang"]),
        signature=services.city.sms_signature,
        entries=(entry,),
        window_start=start,
        window_end=end,
        timezone=services.zone.key,
        page_url=f"{services.settings.base_url}/me",
        sample=bool(services.city.sample_mark),
    )


def _why(profile: Profile, stage: str, circle: Circle) -> list[list[str]]:
    """Codes and parameters of the reasons, strongest first."""
    anew = reasons_for(profile, circle)
    found = anew if stage == "new" and anew else (Reason("update"), *anew[1:])
    return [[one.code, *one.params] for one in found]


def _said(services: Services, why: Sequence[Sequence[str]], lang: str) -> str:
    said = []
    for code, *params in why:
        if code == "place" and params[1:] and params[1] not in PLACE_LABELS:
            params = [params[0], ""]  # what somebody called a place may tell more than they would in a mail
        said.append(sentence(Reason(code, tuple(params)), lang, services.city.label))
    return ("；" if is_chinese(lang) else "; ").join(dict.fromkeys(said))


def _carried(row: Delivery) -> tuple[int, int]:
    """Which notice at which revision a row carries; rows of old name it in their notices alone."""
    if "notice" in row.recipe:
        return int(row.recipe["notice"]), int(row.recipe["revision"])
    return row.notices[0] if row.notices else (0, 0)


def _notices(services: Services, rows: Sequence[Delivery]) -> dict[tuple[int, int], Notice]:
    """Every (notice, revision) that the rows carry; usually one a language."""
    found: dict[tuple[int, int], Notice] = {}
    left = {_carried(row) for row in rows} - {(0, 0)}
    while left:
        wanted = dict(sorted(left))  # one revision of each notice at a time
        at = services.notices.at_revisions(wanted)
        found |= {(number, wanted[number]): notice for number, notice in at.items()}
        left -= set(wanted.items())
    return found


def _stop_tokens(services: Services, rows: Sequence[Delivery]) -> dict[int, str]:
    targets: dict[str, LinkTarget] = {}
    tokens: dict[int, str] = {}
    for row in rows:
        tokens[row.id] = derived_secret(services.key, "stop", row.profile_id, row.channel)
        targets[tokens[row.id]] = LinkTarget(row.profile_id, row.channel)
    services.tokens.remember_many(targets, "stop", at=services.clock.now())
    return tokens
