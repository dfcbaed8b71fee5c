"""Reads warnings in the Common Alerting Protocol (CAP 1.0, 1.1, 1.2), bare or wrapped.

Takes a bare ``alert``, an EDXL distribution around several, an Atom or RSS feed whose entries hold one, and
an index that only links to them. Pure: nothing is fetched, no file is opened, no place is interpreted, no
signature is verified. Called by ``feeds.intake.prepare``; docs/warnings.md says what becomes of a message.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urljoin
from zoneinfo import ZoneInfo

from feeds.intake.charset import decode
from feeds.intake.fields import one_line, web_address
from feeds.intake.parsers.cap_alert import VERSIONS, read_alert
from feeds.intake.parsers.cap_info import Found
from feeds.intake.parsers.xml_tree import MAX_BYTES, Element, read_xml
from feeds.intake.types import Parsed, RawEntry
from feeds.kernel.errors import BadInputError

ATOM = "http://www.w3.org/2005/Atom"
CAP_TYPE = "application/cap+xml"
MAX_ENTRIES = 5000
_UTC = ZoneInfo("UTC")


def parse_cap(body: bytes, headers: Mapping[str, str], url: str, *, zone: ZoneInfo = _UTC) -> Parsed:
    """Read the warnings of one answer.

    Args:
        body: As received, within the client's caps.
        headers: Lower-cased; only the content type is looked at.
        url: Where it came from; links are resolved against it.
        zone: Where times without an offset belong (CAP demands one).

    Returns:
        One entry for each message and language, named by its message id (further languages ``id#lang``),
        with a mapping ``cap`` beside the fields of a notice; a deletion for each message that is cancelled;
        oddities whose ``line`` is the number of the message or entry. An entry of an index that only links
        has the field ``cap_url`` and no ``cap``: fetch that address and read it here.

    Raises:
        BadInputError: If it is neither of these, or XML that must not be read (DOCTYPE, XInclude).
    """
    if len(body) > MAX_BYTES:
        raise BadInputError(f"{url} has {len(body)} bytes, more than {MAX_BYTES}; ask for a smaller answer.")
    text, oddities = decode(body, headers.get("content-type", ""))
    root, more = read_xml(text, url)
    found = Found(oddities=[*oddities, *more])
    if root.name == "alert":
        return _bare(root, found, url, zone)
    if root.name == "EDXLDistribution":
        return _edxl(root, found, url, zone)
    if root.space == ATOM and root.name in ("feed", "entry"):
        return _atom(root, found, url, zone)
    if root.name in ("rss", "RDF"):
        return _rss(root, found, url, zone)
    raise BadInputError(f"{url} is XML ({root.name[:40]}) but no CAP warning; check the address.")


def is_linked(entry: RawEntry) -> bool:
    """Whether an entry only tells where its warning lies (``cap_url``); fetch that before it lands."""
    return "cap_url" in entry.fields


def _bare(root: Element, found: Found, url: str, zone: ZoneInfo) -> Parsed:
    version = _version(root, url)
    _read(root, 1, found, zone, "")
    return _parsed(found, f"CAP {version}")


def _edxl(root: Element, found: Found, url: str, zone: ZoneInfo) -> Parsed:
    status = root.say("distributionStatus")
    alerts = _alerts(root)
    for number, alert in enumerate(alerts, 1):
        if status.lower() not in ("actual", ""):
            message = f"The distribution is marked {status[:20]}, not Actual; it is never published."
            found.odd(number, "distributionStatus", "not-actual", message, dropped=True)
        else:
            _read(alert, number, found, zone, "")
    version = VERSIONS.get(alerts[0].space, "") if alerts else ""
    return _parsed(found, f"EDXL-DE with CAP {version}" if version else "EDXL-DE", lang=root.say("language"))


def _atom(root: Element, found: Found, url: str, zone: ZoneInfo) -> Parsed:
    entries = [root] if root.name == "entry" else root.all("entry")
    links = root.all("link") if root.name == "feed" else []
    for number, item in enumerate(entries[:MAX_ENTRIES], 1):
        alternate = _atom_link(item, url)
        if not _inside(item, item.all("content"), number, found, zone, alternate):
            when = item.say("updated") or item.say("published")
            _index(item.say("id"), item.say("title"), alternate, when, number, found)
    self_url = next((one.attributes.get("href", "") for one in links if _rel(one) == "self"), "")
    hub = next((one.attributes.get("href", "") for one in links if _rel(one) == "hub"), "")
    link = next((one.attributes.get("href", "") for one in links if _rel(one) == "alternate"), "")
    return _parsed(
        found, "Atom with CAP", one_line(root.say("title")), _join(url, link), hub=_join(url, hub),
        topic=_join(url, self_url) if hub else "", lang=root.attributes.get("lang", ""),
    )  # fmt: skip


def _rss(root: Element, found: Found, url: str, zone: ZoneInfo) -> Parsed:
    channel = next((one for one in root.children if one.name == "channel"), root)
    items = [one for one in (*channel.children, *root.children) if one.name == "item"]
    for number, item in enumerate(items[:MAX_ENTRIES], 1):
        link = _rss_link(item, url)
        texts = [one for one in item.children if one.name in ("description", "encoded")]
        if not _inside(item, texts, number, found, zone, link):
            when = _first(item, "pubDate", "date")
            _index(_first(item, "guid"), _first(item, "title"), link, when, number, found)
    ttl = channel.say("ttl")
    return _parsed(
        found, "RSS with CAP", one_line(channel.say("title")), _join(url, channel.say("link")),
        ttl_s=min(int(ttl), 10_080) * 60 if ttl.isascii() and ttl.isdecimal() and len(ttl) < 7 else 0,
        lang=channel.say("language"),
    )  # fmt: skip


def _inside(
    item: Element, texts: list[Element], number: int, found: Found, zone: ZoneInfo, link: str
) -> bool:
    """Read the messages inside an entry, as elements or as escaped text; tell whether there were any."""
    alerts = _alerts(item)
    for holder in texts if not alerts else ():
        escaped = holder.text.strip()
        if re.match(r"<(?:\?xml|(?:\w+:)?alert[\s>])", escaped):
            try:
                alerts += _alerts(read_xml(escaped, f"entry {number}")[0])
            except BadInputError as error:
                found.odd(number, "content", "broken-xml", str(error), dropped=True)
                return True
    for alert in alerts:
        _read(alert, number, found, zone, link)
    return bool(alerts)


def _index(guid: str, title: str, link: str, when: str, number: int, found: Found) -> None:
    """An entry that only links: its address is where the message lies."""
    address = link or web_address(one_line(guid))
    if not address:
        message = "The entry neither holds a warning nor links to one; it was left out."
        found.odd(number, "url", "no-link", message, dropped=True)
        return
    fields = {"title": one_line(title), "url": address, "cap_url": address, "published": when.strip()}
    name = one_line(guid) or address
    found.entries.append(RawEntry(name, number, {key: text for key, text in fields.items() if text}))


def _read(alert: Element, number: int, found: Found, zone: ZoneInfo, link: str) -> None:
    """Read one message unless its namespace is unknown; the others of the document go on."""
    if alert.space not in VERSIONS:
        message = f"The message is of the unknown version {alert.space[:60]!r}; it was left out."
        found.odd(number, "alert", "unknown-version", message, dropped=True)
        return
    if not alert.space:
        found.odd(number, "alert", "no-namespace", "The message names no version of CAP; it was read as 1.2.")
    read_alert(alert, number, found, zone=zone, link=link)


def _alerts(root: Element) -> list[Element]:
    found: list[Element] = []
    waiting = [root]
    while waiting:
        one = waiting.pop()
        if one.name == "alert":
            found.append(one)
        else:
            waiting.extend(reversed(one.children))
    return found[:MAX_ENTRIES]


def _version(alert: Element, url: str) -> str:
    try:
        return VERSIONS[alert.space]
    except KeyError:
        raise BadInputError(f"{url} is an alert of an unknown kind ({alert.space[:60]}), not CAP.") from None


def _rel(link: Element) -> str:
    return link.attributes.get("rel", "alternate").lower()


def _atom_link(item: Element, url: str) -> str:
    """Where the message lies: the link that says it is CAP, else the entry's own."""
    links = item.all("link")
    wanted = [one for one in links if one.attributes.get("type", "").lower().startswith(CAP_TYPE)]
    wanted += [one for one in links if _rel(one) == "alternate"]
    return next((_join(url, one.attributes["href"]) for one in wanted if one.attributes.get("href")), "")


def _rss_link(item: Element, url: str) -> str:
    for one in item.children:
        if one.name == "enclosure" and one.attributes.get("type", "").lower().startswith(CAP_TYPE):
            return _join(url, one.attributes.get("url", ""))
    return _join(url, _first(item, "link"))


def _first(item: Element, *names: str) -> str:
    """Text of the first element of one of these names, whatever its namespace."""
    return next((text for one in item.children if one.name in names and (text := one.text.strip())), "")


def _join(base: str, link: str) -> str:
    try:
        return web_address(urljoin(base, link.strip())) if link.strip() else ""
    except ValueError:
        return ""


def _parsed(
    found: Found, form: str, title: str = "", link: str = "", *, lang: str = "", ttl_s: int = 0,
    hub: str = "", topic: str = "",
) -> Parsed:  # fmt: skip
    return Parsed(
        title, link, lang, tuple(found.entries), tuple(found.oddities), tuple(found.deleted), ttl_s, hub,
        topic, form,
    )  # fmt: skip
