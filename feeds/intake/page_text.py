"""Finds the text of a notice in its own page: without navigation, share buttons, 打印 关闭 and neighbours.

Selectors of the source's recipe come first; else readability-lxml says which part of the page is the
text, and that part is taken whole, so that its tables, links and attachments stay. The only import of
readability. It fetches nothing, never fails on a page, and leaves cleaning to
:mod:`feeds.intake.sanitise`. Called by :mod:`feeds.intake.details`.
"""

from __future__ import annotations

import codecs
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote, urljoin, urlsplit

from readability import Document  # type: ignore[import-untyped]
from selectolax.lexbor import LexborHTMLParser, LexborNode

from feeds.intake.charset import decode
from feeds.intake.dates import date_text
from feeds.intake.fields import web_address
from feeds.intake.page_furniture import common, drop_furniture, drop_nodes, outermost
from feeds.intake.parsers.list_rows import ANYWHERE
from feeds.intake.parsers.refusals import what_page
from feeds.intake.recipes import PageRecipe, Recipe
from feeds.intake.sanitise import too_deep
from feeds.intake.types import Oddity

MAX_SIZE = 5_000_000  # bytes of a page
MAX_ELEMENTS = 20_000
MAX_GUESSED = 10_000  # elements of a page in which the library looks for the text; its time grows faster
MAX_NESTED = 80  # elements, likewise; real pages have about 30
MAX_MARKUP = 600_000  # characters, likewise; a notice keeps at most 500,000
MAX_ATTACHMENTS = 50
SHORTEST = 8  # characters; less is no text of a notice
_MARK = "data-place"
_DEEP = " > ".join("*" * MAX_NESTED)
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_FILES = re.compile(r"\.(pdf|docx?|xlsx?|pptx?|wps|et|ofd|rtf|odt|ods|zip|rar|7z|csv|txt)$", re.IGNORECASE)
_ATTACHED = re.compile(r"附件|附表|attachment", re.IGNORECASE)
_SITE = re.compile(r"\s*[_|｜].*|\s+[-–—]+\s.*", re.DOTALL)  # what follows the title in <title>
_TITLES = ("articletitle", "og:title", "dc.title")
_DATES = (
    "pubdate", "publishdate", "pubtime", "firstpublishedtime", "article:published_time", "dc.date",
    "createdate",
)  # fmt: skip
_TITLE_PLACES = "#ivs_title, .Article-title, .article-title, .article_title, h1.title, article h1"
_DATE_PLACES = "#ivs_date, .Article-time, .pubtime, .pub-time, #pubtime, .publish-time, time[datetime]"
_KEPT_AROUND = 1.6  # a part may have so many times the text that the library kept; else it is too wide
logging.getLogger("readability").setLevel(logging.CRITICAL)  # it reports its guesses; ours are oddities


@dataclass(frozen=True, slots=True)
class PageText:
    """What a page says of its notice; every part may be empty.

    Attributes:
        title: One line, without the site's name.
        html: The text as HTML, links complete, not yet sanitised.
        published: Date as the page gives it.
        attachments: ``{"url", "title"}``, each address once.
        oddities: Why there is nothing, or what was wrong; their line is 0.
    """

    title: str = ""
    html: str = ""
    published: str = ""
    attachments: tuple[Mapping[str, str], ...] = ()
    oddities: tuple[Oddity, ...] = ()


def main_text(body: bytes, headers: Mapping[str, str], url: str, recipe: Recipe | None = None) -> PageText:
    """Find the text of a notice in its page.

    Args:
        body: As received; more than 5 MB is not looked at.
        headers: Names in lower case.
        url: Where it came from; links are completed with it, or with ``<base>``.
        recipe: Its ``page`` says where the parts are.

    Returns:
        What was found. A page that cannot be read, or has no text, gives an empty ``html`` and says why
        (``no-text``); an address that is a file itself becomes an attachment.
    """
    if _FILES.search(urlsplit(url).path) and body.lstrip()[:1] != b"<":
        return PageText(attachments=({"url": url, "title": _name_of(url)},))
    if len(body) > MAX_SIZE:
        return _nothing(f"The page has {len(body)} bytes; of at most {MAX_SIZE} the text is read.")
    if body.startswith((b"%PDF-", b"PK\x03\x04")) or (b"\0" in body[:200] and not body.startswith(_UTF16)):
        return _nothing("The address leads to a file, not to a page; only the list's own text is kept.")
    charset = recipe.charset if recipe is not None and recipe.kind == "html" else ""
    text, oddities = decode(body, headers.get("content-type", ""), hint=charset)
    if text.count("<") > 4 * MAX_ELEMENTS:
        return _nothing("The page has too many elements; its text was not read.")
    if too_deep(text):
        return _nothing("The page nests elements deeper than an honest page does; its text was not read.")
    tree = LexborHTMLParser(text)
    if tree.body is None or len(tree.css("*")) > MAX_ELEMENTS:
        return _nothing("The page is empty or has too many elements; its text was not read.")
    return _read(tree, text, url, recipe, oddities)


def _read(
    tree: LexborHTMLParser, text: str, url: str, recipe: Recipe | None, oddities: list[Oddity]
) -> PageText:
    page = recipe.page if recipe is not None else PageRecipe()
    base, title, published = _base(tree, url), _title(tree, page.title), _published(tree, page.published)
    for selector in page.remove:
        drop_nodes(tree.css(selector))
    parts = outermost(tree.css(page.main)) if page.main else []
    if page.main and not parts:
        oddities.append(
            _odd("no-main", f"Nothing matches page.main {page.main[:80]!r}; the text was guessed.")
        )
    kept = {part.mem_id for part in parts}
    drop_furniture(tree, keep=kept)
    beside = _attachments(tree, base, named=True)
    parts = parts or _guess(tree)
    inside = {link: name for part in parts for link, name in _attachments(part, base, named=False).items()}
    for part in parts:  # its heading says the title once more
        drop_nodes(
            node
            for node in part.css("h1, h2, h3, h4")
            if node.mem_id != part.mem_id and _line(node.text()) == title
        )
    html = "\n".join(_complete(part, base) for part in parts)
    if sum(len(part.text(strip=True)) for part in parts) < SHORTEST:
        html, beside = "", beside or _attachments(tree, base, named=False)
        oddities.append(_odd("no-text", f"No text was found in the page: it is {what_page(text)}."))
    attachments = [{"url": link, "title": name} for link, name in {**inside, **beside}.items()]
    return PageText(title, html, published, tuple(attachments[:MAX_ATTACHMENTS]), tuple(oddities))


def _guess(tree: LexborHTMLParser) -> list[LexborNode]:
    """The part of the page that the library takes for its text, whole."""
    if tree.css_first(_DEEP) is not None:
        return []
    marked = {str(number): node for number, node in enumerate(tree.css("body *"))}
    for name, node in marked.items():
        node.attrs[_MARK] = name
    markup = tree.html or ""
    if len(marked) > MAX_GUESSED or len(markup) > MAX_MARKUP:
        return []
    for node in marked.values():
        del node.attrs[_MARK]
    # The library passes over notices of two sentences unless it is told to look at short paragraphs too.
    for shortest, enough in ((25, 250), (10, 50)):
        kept = LexborHTMLParser(_summary(markup, shortest, enough))
        names = [node.attributes.get(_MARK) or "" for node in kept.css(f"[{_MARK}]")]
        nodes = [marked[name] for name in names if name in marked]
        length = len(kept.body.text(strip=True)) if kept.body else 0
        if nodes and length >= SHORTEST:
            return _whole(nodes, length)
    return []


def _summary(markup: str, shortest: int, enough: int) -> str:
    try:
        document = Document(markup, min_text_length=shortest, retry_length=enough)
        return str(document.summary(html_partial=True))
    except Exception:  # of any kind, on some broken pages; a page must never stop a poll
        return ""


def _whole(nodes: list[LexborNode], length: int) -> list[LexborNode]:
    """The element around what the library kept, unless far more stands in it."""
    around = common(nodes)
    if around is not None and len(around.text(strip=True)) <= max(length * _KEPT_AROUND, length + 60):
        return [around]
    return outermost(nodes)


def _complete(part: LexborNode, base: str) -> str:
    """The part as HTML, its links made whole; those that lead to no page are taken off."""
    for link in part.css("a[href]"):
        if address := _join(base, link.attributes.get("href") or ""):
            link.attrs["href"] = address
        else:
            del link.attrs["href"]
    return part.html or ""


def _attachments(node: LexborNode | LexborHTMLParser, base: str, *, named: bool) -> dict[str, str]:
    """Address → title of the files that are linked; with ``named``, only those that 附件 stands beside."""
    found: dict[str, str] = {}
    said: dict[int, bool | None] = {}
    for link in node.css("a[href]"):
        if len(found) >= MAX_ATTACHMENTS:
            break
        address = web_address(_join(base, link.attributes.get("href") or ""))
        shown = " ".join((link.attributes.get("title") or link.text()).split())
        is_file = address and (_FILES.search(urlsplit(address).path) or _FILES.search(shown))
        if is_file and (not named or _called_attachment(link, said)):
            found.setdefault(address, shown[:300] or _name_of(address))
    return found


def _called_attachment(link: LexborNode, said: dict[int, bool | None]) -> bool:
    """Whether the link, or a small element around it, speaks of an attachment; ``said`` is remembered."""
    around: LexborNode | None = link
    for _ in range(4):
        if around is None:
            return False
        if around.mem_id not in said:
            text = around.text(strip=True)
            said[around.mem_id] = None if len(text) > 500 else _ATTACHED.search(text) is not None
        answer = said[around.mem_id]
        if answer is not False:
            return answer is True
        around = around.parent
    return False


def _title(tree: LexborHTMLParser, selector: str) -> str:
    chosen = tree.css_first(selector) if selector else None
    if chosen is not None and (text := _line(chosen.text())):
        return text
    if given := _meta(tree, _TITLES):
        return given[0]
    node = tree.css_first("title")
    whole = _line(node.text()) if node else ""
    for heading in (*tree.css(_TITLE_PLACES), *tree.css("h1, h2, h3")[:20]):
        text = _line(heading.text())
        if len(text) >= 4 and (text in whole or heading.css_matches(_TITLE_PLACES)):
            return text
    return _SITE.sub("", whole) or whole


def _published(tree: LexborHTMLParser, selector: str) -> str:
    chosen = map(_date_of, tree.css(selector)[:5] if selector else [])
    declared = (date_text(text, ANYWHERE) for text in _meta(tree, _DATES))
    shown = map(_date_of, tree.css(_DATE_PLACES)[:5])
    return next(filter(None, (*chosen, *declared, *shown)), "")


def _date_of(node: LexborNode) -> str:
    return date_text(_line(node.attributes.get("datetime") or node.text()), ANYWHERE)


def _meta(tree: LexborHTMLParser, names: tuple[str, ...]) -> list[str]:
    """What the page's meta elements of these names say, in the order of the names."""
    said: dict[str, str] = {}
    for node in tree.css("meta[content]")[:200]:
        name = (node.attributes.get("name") or node.attributes.get("property") or "").strip().lower()
        said.setdefault(name, _line(node.attributes.get("content") or ""))
    return [said[name] for name in names if said.get(name)]


def _base(tree: LexborHTMLParser, url: str) -> str:
    declared = tree.css_first("base[href]")
    return (_join(url, declared.attributes.get("href") or "") if declared else "") or url


def _join(base: str, link: str) -> str:
    """The whole web address of a link, or ``""``."""
    link = link.strip()
    if not link or link.startswith("#"):
        return ""
    try:
        whole = urljoin(base, link)
        return whole if urlsplit(whole).scheme in ("http", "https", "mailto", "tel") else ""
    except ValueError:
        return ""


def _name_of(address: str) -> str:
    return unquote(urlsplit(address).path.rsplit("/", 1)[-1])[:200]


def _line(text: str) -> str:
    return " ".join(text.split())[:500]


def _nothing(message: str) -> PageText:
    return PageText(oddities=(_odd("no-text", message),))


def _odd(problem: str, message: str) -> Oddity:
    return Oddity(0, "body", problem, message)
