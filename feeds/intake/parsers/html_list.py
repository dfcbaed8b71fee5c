"""Reads lists that are web pages, by CSS selectors: the usual way of Chinese government sites.

The page's scripts never run; what a script would fill in is not there, and that is said. Pure.
Called by ``feeds.intake.parsers.choice``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache, partial
from urllib.parse import urljoin

from selectolax.lexbor import LexborHTMLParser, LexborNode

from feeds.intake.charset import decode
from feeds.intake.parsers.list_rows import MAX_SIZE, entries_of
from feeds.intake.parsers.refusals import repeated, what_page
from feeds.intake.recipe_fields import Find
from feeds.intake.recipes import Recipe, html_place
from feeds.intake.sanitise import too_deep
from feeds.intake.types import Oddity, Parsed
from feeds.kernel.errors import BadInputError

MAX_TAGS = 500_000  # each takes far more memory than its few characters
MAX_FOUND = 100  # elements that one selector may find in an item
MAX_ITEMS_SEEN = 20_000
_place = lru_cache(maxsize=2048)(html_place)


def parse_html_list(body: bytes, headers: Mapping[str, str], url: str, recipe: Recipe) -> Parsed:
    """Read the items of a web page.

    Args:
        body: As received, at most 20 MB.
        headers: Names in lower case.
        url: Where it came from; relative links are resolved against ``<base>``, or it.
        recipe: ``items`` is the selector of the items; fields are looked for inside each.

    Returns:
        Entries in the order of the page. A selector that matches nothing gives none and says what
        came instead (``no-items``): an error page, a login, a check for browsers, a shell for scripts; of
        a page with another list, where that stands.

    Raises:
        BadInputError: If it is too long, nested too deep, no page at all, or most items have no title.
    """
    if len(body) > MAX_SIZE:
        raise BadInputError(f"{url} has {len(body)} bytes; a list of at most {MAX_SIZE} is read.")
    text, oddities = decode(body, headers.get("content-type", ""), hint=recipe.charset)
    if text.lstrip()[:1] in ("{", "["):
        raise BadInputError(f"{url} is JSON, not a web page; make it a source of kind json.")
    if text.count("<") > MAX_TAGS:
        raise BadInputError(f"{url} has more than {MAX_TAGS} tags; it was not read.")
    if too_deep(text):
        raise BadInputError(f"{url} nests elements deeper than an honest page does; it was not read.")
    tree = LexborHTMLParser(text)
    items = tree.css(recipe.items)[:MAX_ITEMS_SEEN] if tree.root is not None else []
    if not items:
        message = f"Nothing matches {recipe.items[:80]!r}: the answer is {_what_came(text, tree)}."
        oddities.append(Oddity(0, "items", "no-items", message))
    entries, more = entries_of(recipe, _finders(items), _base(tree, url), url=url)
    return Parsed(_title(tree), url, _lang(tree), entries, (*oddities, *more), format="HTML list")


def _what_came(text: str, tree: LexborHTMLParser) -> str:
    page = what_page(text)
    if not page.startswith("a web page"):
        return page
    other = repeated(tree)
    return f"{page} that {other}; compare `items` with it" if other else f"{page}; compare `items` with it"


def _finders(items: list[LexborNode]) -> Iterator[tuple[int, Find | str]]:
    for number, item in enumerate(items, start=1):
        yield number, partial(_texts, item)


def _texts(item: LexborNode, expression: str) -> list[str]:
    selector, name = _place(expression)
    nodes = item.css(selector)[:MAX_FOUND] if selector else [item]
    texts = (_text(node, name) for node in nodes)
    return [text for text in texts if text]


def _text(node: LexborNode, name: str) -> str:
    if name == ":html":
        return (node.inner_html or "").strip()
    if name == ":next":
        return _after(node)
    if name == ":own":
        return _one_line(node.text(deep=False))
    if name:
        return _one_line(node.attributes.get(name.lower()) or "")
    return _one_line(node.text())


def _after(node: LexborNode) -> str:
    """The first text that follows an element inside its parent, in an element or bare."""
    following = node.next
    while following is not None:
        text = _one_line(following.text()) if following.tag not in ("-comment", "script", "style") else ""
        if text:
            return text
        following = following.next
    return ""


def _base(tree: LexborHTMLParser, url: str) -> str:
    declared = tree.css_first("base[href]")
    try:
        joined = urljoin(url, (declared.attributes.get("href") or "").strip()) if declared else url
    except ValueError:
        return url
    return joined if joined.startswith(("http://", "https://")) else url


def _title(tree: LexborHTMLParser) -> str:
    title = tree.css_first("title")
    return _one_line(title.text())[:300] if title else ""


def _lang(tree: LexborHTMLParser) -> str:
    root = tree.css_first("html")
    return (root.attributes.get("lang") or "").strip()[:16] if root else ""


def _one_line(text: str) -> str:
    return " ".join(text.split())
