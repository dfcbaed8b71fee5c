"""Reads and writes OPML, the list of feeds that every feed reader can export.

Expands no entity, opens no address, and keeps to fixed sizes: such lists come from strangers. Pure.
Called by the command line and the editors' pages.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from email.utils import format_datetime
from itertools import groupby
from typing import Any

from lxml import etree

from feeds.intake.charset import decode
from feeds.intake.fields import clean, one_line, web_address
from feeds.intake.types import Oddity
from feeds.kernel.errors import BadInputError

MAX_SIZE = 5_000_000  # bytes
MAX_OUTLINES = 5_000
MAX_DEPTH = 20  # folders in folders
MAX_TEXT = 200  # characters of a title or folder
_XML_HEAD = re.compile(r"\A\s*<\?xml[^>]*\?>")
_ENTITIES = re.compile(r"<!(?:ENTITY|DOCTYPE)", re.IGNORECASE)
_ILLEGAL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_APART = str.maketrans({"/": "／", ",": "，"})  # both have a meaning in a category


@dataclass(frozen=True, slots=True)
class Outline:
    """One feed of a list.

    Attributes:
        title: One line, never empty: the address where the list gives no title.
        url: Of the feed, http or https.
        html_url: Of its page, or ``""``.
        categories: Folders and categories it is in, such as ``教育/招生``; first the folder.
    """

    title: str
    url: str
    html_url: str = ""
    categories: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OpmlList:
    """A list as read; every address occurs once."""

    title: str
    outlines: tuple[Outline, ...]
    oddities: tuple[Oddity, ...]


def read_opml(body: bytes) -> OpmlList:
    """Read a list of feeds.

    Args:
        body: OPML 1.0 or 2.0, at most 5 MB, 5,000 outlines and 20 levels of folders.

    Returns:
        The feeds in their order. An address that comes again is named as ``duplicate`` and its
        categories are added to the first; an outline without a web address is named and left out.

    Raises:
        BadInputError: If it is no OPML, or larger than that.
    """
    if len(body) > MAX_SIZE:
        raise BadInputError(f"The list has {len(body)} bytes; at most {MAX_SIZE} are read, so split it.")
    text, oddities = decode(body, "")
    try:
        return _read(_root(text, oddities), oddities)
    except UnicodeDecodeError as error:  # recovering libxml2 may hand out text that is no UTF-8
        raise BadInputError("The list is too damaged to be read; export it again.") from error


def _read(root: Any, oddities: list[Oddity]) -> OpmlList:
    found: dict[str, Outline] = {}
    for line, (element, folder) in enumerate(_feeds(root.find("body")), start=1):
        outline = _outline(element, folder)
        if outline is None:
            name = _line(_attribute(element, "title") or _attribute(element, "text")) or "The outline"
            given = _attribute(element, "xmlurl")[:80]
            said = f"{name[:80]} has no web address of a feed ({given!r}); it was left out."
            oddities.append(Oddity(line, "xmlUrl", "bad-url", said, dropped=True))
        elif outline.url in found:
            first = found[outline.url]
            joined = tuple(dict.fromkeys((*first.categories, *outline.categories)))
            found[outline.url] = replace(first, categories=joined)
            said = f"{outline.url} is already in the list; its categories were joined."
            oddities.append(Oddity(line, "xmlUrl", "duplicate", said, dropped=True))
        else:
            found[outline.url] = outline
    return OpmlList(_line(root.findtext("head/title") or ""), tuple(found.values()), tuple(oddities))


def _root(text: str, oddities: list[Oddity]) -> Any:
    if _ENTITIES.search(text):
        raise BadInputError("The list declares a document type, which OPML does not need; take it out.")
    document = _XML_HEAD.sub("", _ILLEGAL.sub("", text), count=1).encode("utf-8", "replace")
    try:
        root = etree.fromstring(document, _parser(recover=False))
    except (etree.XMLSyntaxError, ValueError):
        root = _recovered(document)
        said = "The list is not well-formed; what could be read was."
        oddities.append(Oddity(0, "", "broken-xml", said))
    if root is None or root.tag != "opml" or root.find("body") is None:
        raise BadInputError("The file is no OPML list; export the feeds as OPML and give that file.")
    return root


def _recovered(document: bytes) -> Any:
    try:
        return etree.fromstring(document, _parser(recover=True))
    except (etree.XMLSyntaxError, ValueError):
        return None


def _parser(*, recover: bool) -> Any:
    return etree.XMLParser(
        encoding="utf-8",
        recover=recover,
        resolve_entities=False,
        load_dtd=False,
        no_network=True,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )


def _feeds(body: Any) -> Iterator[tuple[Any, str]]:
    """The outlines that are feeds, in order, each with the path of its folders."""
    waiting: list[tuple[Any, tuple[str, ...]]] = [(body, ())]
    count = 0
    while waiting:
        parent, folders = waiting.pop()
        if parent is not body:
            count += 1
            if count > MAX_OUTLINES or len(folders) > MAX_DEPTH:
                raise BadInputError(
                    f"The list has more than {MAX_OUTLINES} outlines or {MAX_DEPTH} levels; split it."
                )
            if _attribute(parent, "xmlurl") or not len(parent):
                yield parent, "/".join(folders)
            else:
                name = _line(_attribute(parent, "text") or _attribute(parent, "title")).translate(_APART)
                folders = (*folders, name) if name else folders
        waiting += [(child, folders) for child in reversed(parent.findall("outline"))]


def _outline(element: Any, folder: str) -> Outline | None:
    url = web_address(_attribute(element, "xmlurl"))
    if not url:
        return None
    named = (one.strip().strip("/") for one in _attribute(element, "category").split(","))
    categories = dict.fromkeys(name for one in (folder, *named) if (name := _line(one)))
    title = _line(_attribute(element, "title") or _attribute(element, "text"))
    html = web_address(_attribute(element, "htmlurl"))
    return Outline(title or url[:MAX_TEXT], url, html, tuple(categories))


def _attribute(element: Any, name: str) -> str:
    """An attribute whatever its case: programs differ in it."""
    return next((value.strip() for key, value in element.items() if key.lower() == name), "")


def _line(text: str) -> str:
    return one_line(clean(text)[0])[:MAX_TEXT].strip()


def write_opml(title: str, outlines: Sequence[Outline], now: datetime) -> bytes:
    """Write a list of feeds as OPML 2.0.

    Args:
        title: Of the list.
        outlines: In their order; neighbours with the same first category share its folder.
        now: Aware time of writing.

    Returns:
        UTF-8; :func:`read_opml` gives the same outlines back.
    """
    root = etree.Element("opml", version="2.0")
    head, body = etree.SubElement(root, "head"), etree.SubElement(root, "body")
    etree.SubElement(head, "title").text = _ILLEGAL.sub("", title)
    etree.SubElement(head, "dateCreated").text = format_datetime(now)
    for folder, some in groupby(outlines, key=lambda one: one.categories[:1]):
        parent = body
        for name in folder[0].split("/") if folder else ():
            parent = etree.SubElement(parent, "outline", text=_ILLEGAL.sub("", name))
        for outline in some:
            etree.SubElement(parent, "outline", _attributes(outline))
    written: bytes = etree.tostring(root, xml_declaration=True, encoding="utf-8", pretty_print=True)
    return written


def _attributes(outline: Outline) -> dict[str, str]:
    given = {
        "type": "rss",
        "text": outline.title,
        "title": outline.title,
        "xmlUrl": outline.url,
        "htmlUrl": outline.html_url,
        "category": ",".join(f"/{name}" for name in outline.categories[1:]),
    }
    return {key: _ILLEGAL.sub("", value) for key, value in given.items() if value}
