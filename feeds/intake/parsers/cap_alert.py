"""Reads one CAP message (an ``alert`` element) into entries, deletions and oddities.

Pure. It refuses what must never be published (tests, exercises, private messages, contradictions) and keeps
everything else, geometry included, without interpreting places. A signature inside a message is ignored: it
is not verified. Called by :mod:`feeds.intake.parsers.cap`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo

from feeds.intake.cap_chain import message_id, stamp
from feeds.intake.dates import parse_when
from feeds.intake.fields import one_line, web_address
from feeds.intake.parsers.cap_info import Block, Found, Head, read_block, values_of
from feeds.intake.parsers.cap_text import body_of, is_chinese, summary_of, title_of
from feeds.intake.parsers.xml_tree import Element
from feeds.intake.types import Deletion, RawEntry

VERSIONS: Mapping[str, str] = {
    "http://www.incident.com/cap/1.0": "1.0",
    "urn:oasis:names:tc:emergency:cap:1.1": "1.1",
    "urn:oasis:names:tc:emergency:cap:1.2": "1.2",
    "": "1.2",  # some systems leave the namespace out
}
MAX_REFERENCES = 1000
_ORDER = ("normal", "mandatory", "emergency")
_PHONE = re.compile(r"\+?\d[\d\-() ]{4,}\d")


def read_alert(alert: Element, line: int, found: Found, *, zone: ZoneInfo, link: str = "") -> None:
    """Read one message into ``found``.

    Args:
        alert: The element; its namespace is one of :data:`VERSIONS`.
        line: Its number in the document, from 1, for oddities.
        found: Where the result goes: an entry for each language, or deletions, or only oddities.
        zone: Where times without an offset belong (CAP demands one).
        link: Address of the message's page where it names none itself.
    """
    head = _head(alert, line, found, zone)
    if head is None:
        return
    if head.msg_type == "Cancel":
        found.deleted += [Deletion(one, _reason(alert), head.sent) for one in head.references]
        if not head.references:
            message = f"The cancellation {head.identifier[:80]!r} names no message; nothing was taken back."
            found.odd(line, "references", "no-references", message, dropped=True)
        return
    blocks: dict[str, list[Block]] = {}
    for info in alert.all("info"):
        block = read_block(info, head, found, zone)
        if block is not None:
            blocks.setdefault(block.lang.lower(), []).append(block)
    if not alert.all("info"):
        message = f"The message {head.identifier[:80]!r} says nothing (it has no info); it was left out."
        found.odd(line, "info", "no-info", message, dropped=True)
    first = ""
    for same_language in blocks.values():
        entry = _entry(head, same_language, link, first)
        first = first or entry.guid
        found.entries.append(entry)


def _head(alert: Element, line: int, found: Found, zone: ZoneInfo) -> Head | None:
    texts = {name: one_line(alert.say(name)) for name in ("identifier", "sender", "sent", "status")}
    texts |= {name: one_line(alert.say(name)) for name in ("msgType", "scope")}
    name = texts["identifier"][:80]
    missing = [key for key, text in texts.items() if not text]
    if missing:
        message = f"The message {name!r} lacks {', '.join(missing)}; it was left out."
        found.odd(line, missing[0], "missing-element", message, dropped=True)
        return None
    refused = _refusal(texts)
    if refused:
        where, problem, message = refused
        found.odd(line, where, problem, f"The message {name!r} {message}", dropped=True)
        return None
    sent = parse_when(texts["sent"], zone)
    if sent is None or sent.precision != "instant":
        message = f"The message {name!r} has no readable time of sending; it was left out."
        found.odd(line, "sent", "bad-date", message, dropped=True)
        return None
    if not re.search(r"(?:Z|[+-]\d\d:?\d\d)$", texts["sent"]):
        message = f"The time {texts['sent'][:40]!r} has no offset; it was read in {zone.key}."
        found.odd(line, "sent", "no-offset", message)
    if re.search(r"[\s,<&]", texts["identifier"] + texts["sender"]):
        message = f"The identifier {name!r} holds a space or a comma, so that no other message can name it."
        found.odd(line, "identifier", "bad-identifier", message)
    return Head(
        line,
        message_id(texts["sender"], texts["identifier"], sent.start),
        texts["identifier"],
        texts["sender"],
        sent.start,
        texts["sent"],
        texts["msgType"].capitalize(),
        tuple(_references(alert, line, found, zone)),
        alert,
    )


def _refusal(texts: Mapping[str, str]) -> tuple[str, str, str] | None:
    """Why a message must not be published, if so: element, code, the rest of the sentence."""
    if texts["status"].lower() != "actual":
        return "status", "not-actual", f"is marked {texts['status'][:20]}, not Actual; it is never published."
    if texts["scope"].lower() != "public":
        return "scope", "not-public", f"is {texts['scope'][:20]}, not Public; it is never published."
    if texts["msgType"].lower() not in ("alert", "update", "cancel"):
        return "msgType", "not-a-warning", f"is of type {texts['msgType'][:20]}, not a warning; left out."
    return None


def _references(alert: Element, line: int, found: Found, zone: ZoneInfo) -> Iterator[str]:
    text = re.sub(r"\s*,\s*", ",", alert.say("references"))
    for given in dict.fromkeys(text.split()[:MAX_REFERENCES]):
        sender, _, rest = given.partition(",")
        identifier, _, sent = rest.rpartition(",")
        when = parse_when(sent, zone)
        if sender and identifier and when:
            yield message_id(sender, identifier, when.start)
        else:
            message = f"The reference {given[:80]!r} is not of sender, identifier and time; it was left out."
            found.odd(line, "references", "bad-reference", message)
    if not text and alert.say("msgType").lower() == "update":
        message = "The update names no message that it updates; it counts as a new warning."
        found.odd(line, "references", "no-references", message)


def _reason(alert: Element) -> str:
    """Why it was taken back, in the publisher's words."""
    info = next(iter(alert.all("info")), None)
    words = alert.say("note") or (info.say("headline") or info.say("description") if info else "")
    return one_line(words)[:500]


# -- entries ---------------------------------------------------------------------------------------


def _entry(head: Head, blocks: Sequence[Block], link: str, first: str) -> RawEntry:
    """All blocks of one language; the most severe one (the first of equals) gives title and levels."""
    main = max(blocks, key=lambda one: one.strength)
    info = main.info
    chinese = is_chinese(main)
    contact = next((one_line(one.info.say("contact")) for one in blocks if one.info.say("contact")), "")
    fields: dict[str, Any] = {
        "title": title_of(main, chinese),
        "body": "\n".join(body_of(one, chinese, several=len(blocks) > 1) for one in blocks),
        "summary": summary_of(main),
        "lang": main.lang,
        "published": head.sent_given,
        "effective": info.say("effective") or info.say("onset"),
        "expires": _last(blocks),
        "agency": one_line(info.say("senderName")) or head.sender,
        "url": web_address(one_line(info.say("web"))) or link,
        "type": "warning",
        "priority": max((one.priority for one in blocks), key=_ORDER.index),
        "tags": values_of(blocks, "event") + values_of(blocks, "category"),
        "phone": _phone(contact),
        "attachments": _resources(blocks),
        "cap": _facts(head, blocks, main, contact),
    }
    if first:
        fields["lang_of"] = first
    guid = head.id if not first else f"{head.id}#{main.lang.lower()}"
    return RawEntry(guid, head.line, {key: value for key, value in fields.items() if value not in ("", [])})


def _facts(head: Head, blocks: Sequence[Block], main: Block, contact: str) -> dict[str, Any]:
    """What is kept of a message beside the notice it makes; docs/warnings.md lists the keys."""
    return {
        "id": head.id,
        "identifier": head.identifier,
        "sender": head.sender,
        "sent": stamp(head.sent),
        "msg_type": head.msg_type,
        "status": "Actual",
        "scope": "Public",
        "references": list(head.references),
        "incidents": head.alert.say("incidents").split(),
        "note": one_line(head.alert.say("note")),
        "language": main.lang,
        "event": one_line(main.info.say("event")),
        "category": values_of(blocks, "category"),
        "severity": main.severity,
        "urgency": main.urgency,
        "certainty": main.certainty,
        "colour": main.colour,
        "response": list(dict.fromkeys(one for block in blocks for one in block.response)),
        "onset": main.info.say("onset"),
        "contact": contact,
        "areas": [area for block in blocks for area in block.areas],
        "resources": _resources(blocks),
    }


def _last(blocks: Sequence[Block]) -> str:
    """The end of the block that lasts longest; none where one of them has no end."""
    ends = [block.info.say("expires") for block in blocks]
    whens = [parse_when(text, ZoneInfo("UTC")) for text in ends]
    if not all(whens):
        return ""
    return max(zip(whens, ends, strict=True), key=lambda pair: pair[0].end if pair[0] else 0)[1]


def _phone(contact: str) -> str:
    """The contact if it is short, else the first number in it: it must fit into a short message."""
    if len(contact) <= 30:
        return contact
    number = _PHONE.search(contact)
    return number[0].strip() if number else ""


def _resources(blocks: Sequence[Block]) -> list[dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for one in (one for block in blocks for one in block.info.all("resource")):
        url = web_address(one_line(one.say("uri")))
        if url:
            texts = {"title": one_line(one.say("resourceDesc")), "type": one_line(one.say("mimeType"))}
            found.setdefault(url, {"url": url, **{key: text for key, text in texts.items() if text}})
    return list(found.values())
