"""Makes upstream HTML harmless, and turns HTML into plain text. Pure.

Only what a notice needs survives: text, headings, lists, tables and links to http, https, mailto and
tel. No picture (it would tell a stranger who reads), style, form, frame, class, id or data attribute.
Called by :mod:`feeds.intake.normalise`; pages and mail run :func:`sanitise` once more on the way out.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from functools import lru_cache

import nh3
from selectolax.lexbor import LexborHTMLParser

_TEXT_TAGS = "a|abbr|b|br|cite|code|del|dfn|em|i|ins|kbd|mark|q|rp|rt|ruby|s|samp|small|span|strong|sub|sup"
_BLOCKS = "p|div|li|dd|dt|tr|table|ul|ol|dl|blockquote|figure|figcaption|caption|pre|h[1-6]"
_TAGS = {
    *_TEXT_TAGS.split("|"),
    *("time", "u", "var", "wbr"),
    *(
        "blockquote",
        "caption",
        "col",
        "colgroup",
        "dd",
        "div",
        "dl",
        "dt",
        "figcaption",
        "figure",
        "hr",
        "li",
        "ol",
    ),
    *(
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "p",
        "pre",
        "table",
        "tbody",
        "td",
        "tfoot",
        "th",
        "thead",
        "tr",
        "ul",
    ),
}
_ATTRIBUTES = {
    "*": {"lang", "dir"},
    "a": {"href"},
    "td": {"colspan", "rowspan"},
    "th": {"colspan", "rowspan", "scope"},
    "col": {"span"},
    "ol": {"start"},
    "time": {"datetime"},
}
_DROP_WITH_CONTENT = {
    "script",
    "style",
    "template",
    "iframe",
    "noscript",
    "svg",
    "math",
    "object",
    "textarea",
    "title",
}
_SCHEMES = {"http", "https", "mailto", "tel"}
_BREAK = re.compile(rf"<[bh]r\b[^<>]*>|</?(?:{_BLOCKS})\b[^<>]*>", re.IGNORECASE)
_CELL = re.compile(r"</t[dh]\s*>", re.IGNORECASE)
_SPACES = re.compile(r"[^\S\n]+")
_HTML = re.compile(
    r"</?(?:p|div|br|table|tbody|tr|td|span|a|b|i|u|strong|em|ul|ol|li|h[1-6]|img|font|center|section|article"
    r"|script|style|iframe|svg|form|input|object|pre|blockquote|sub|sup|small|hr|mark)\b[^<>]*>",
    re.IGNORECASE,
)
# It also grows with the square of the entities (a million: 21 s).
_MAX_ENTITIES = 20_000
_ENTITY = re.compile(r"&(?!lt|gt|amp|quot|#0*(?:34|38|60|62);|#[xX]0*(?:22|26|3[cCeE]);)[#a-zA-Z0-9]{2,32};")
_ANY_TAG = re.compile(r"</?[a-zA-Z][^<>]*>?")
# As the cleaner writes tags: lower case, values in double quotes.
_CLEAN_TAG = re.compile(r'</?[a-z][^>"]*(?:"[^"]*"[^>"]*)*>')
_CLEAN_BREAK = re.compile(rf'<(?:[bh]r|/?(?:{_BLOCKS}))(?:[^a-z0-9>"][^>"]*(?:"[^"]*"[^>"]*)*)?>')
# What most of a notice is made of, replaced before the expressions look for the rest.
_OFTEN = (("<p>", "\n"), ("</p>", "\n"), ("<br>", "\n"), ("</a>", ""), ("<strong>", ""), ("</strong>", ""))
_INLINE = frozenset({"a", "b", "i", "em", "strong", "u", "s", "span", "sub", "sup", "mark", "small", "code"})
_HEADING = re.compile(r"(#{1,6})\s+(\S.*)")
_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]*)")
_VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
# HTML closes these by itself, so leaving them open makes no depth.
_SELF_CLOSING = {"p", "li", "dt", "dd", "tr", "td", "th", "thead", "tbody", "tfoot", "colgroup", "rp", "rt"}
# The time of the cleaner, and of the parser for <select>, grows with the square of the depth
# (100,000 open tags: 80 s).
_MAX_DEPTH = 256
_ROUNDS = 4


def sanitise(markup: str, *, base: str = "") -> str:
    """Keep the allowed part of some HTML; doing it twice changes nothing.

    Args:
        markup: Any text; unclosed or hostile markup is fine.
        base: Address that relative links are resolved against; ``""`` drops them.

    Returns:
        HTML without surrounding space. Markup that is nested deeper than 256 is reduced to its text.
    """
    if too_deep(markup):
        return _only_text(markup)
    once = _clean(markup, base)
    if _is_plain(once):
        return once
    for _ in range(_ROUNDS):
        # Misnested markup may be read differently the second time; go on until it is stable.
        again = _clean(once, base)
        if again == once:
            return once
        once = again
    return _only_text(once)


def sanitise_plain(text: str) -> str:
    """Turn plain text into what ``sanitise(plain_to_html(text))`` gives.

    Paragraphs, line breaks and headings of escaped text, each closed before the next, are what the
    cleaner would write itself; it only names the no-break space, and it is asked about masses of ``&``.
    """
    markup = plain_to_html(text)
    if "\xa0" in markup or "\x00" in markup or markup.count("&") > _MAX_ENTITIES:
        return sanitise(markup)
    return markup


def _clean(markup: str, base: str) -> str:
    if markup.count("&") > _MAX_ENTITIES:
        markup = _few_entities(markup)
    cleaned = _cleaner(base if base.startswith(("http://", "https://")) else "").clean(markup)
    if cleaned.count("&") > _MAX_ENTITIES:  # text such as "<<<<" has become entities
        cleaned = _few_entities(cleaned)
    # The page has its own <h1>; a notice's begins one lower.
    return cleaned.replace("<h1", "<h2").replace("</h1>", "</h2>").strip()


@lru_cache(maxsize=64)
def _cleaner(base: str) -> nh3.Cleaner:
    """The cleaner for one base: to set it up costs as much as to clean a page."""
    return nh3.Cleaner(
        tags=_TAGS,
        clean_content_tags=_DROP_WITH_CONTENT,
        attributes=_ATTRIBUTES,
        url_schemes=_SCHEMES,
        link_rel="noopener nofollow",
        url_relative=("rewrite_with_base", base) if base else "deny",
    )


def _is_plain(cleaned: str) -> bool:
    """Whether cleaned HTML is so simple that no parser can read it in two ways.

    Paragraphs that hold only text, line breaks, links and emphasis, each closed before its parent and
    none inside its own kind: then cleaning it again gives the same.
    """
    still_open: list[str] = []
    for closing, name in _TAG.findall(cleaned):
        if name == "br":
            continue
        if closing:
            if not still_open or still_open.pop() != name:
                return False
        elif name == "p":
            if still_open:
                return False
            still_open.append(name)
        elif name in _INLINE and name not in still_open:
            still_open.append(name)
        else:
            return False
    return not still_open and "\r" not in cleaned


def _only_text(markup: str) -> str:
    return _clean(plain_to_html(html.escape(to_text(markup), quote=False)), "")


def too_deep(markup: str) -> bool:
    """Whether more elements are open at once than any honest document needs."""
    if markup.count("<") <= _MAX_DEPTH:
        return False
    foreign = re.search(r"<(?:svg|math)\b", markup, re.IGNORECASE) is not None
    depth = 0
    still_open: Counter[str] = Counter()
    for closing, name in _TAG.findall(markup):
        name = name.lower()
        if name in _VOID or (name in _SELF_CLOSING and not foreign) or (closing and not still_open[name]):
            continue
        step = -1 if closing else 1
        still_open[name] += step
        depth += step
        if depth > _MAX_DEPTH:
            return True
    return False


def _few_entities(markup: str) -> str:
    """Write entities as characters; where masses of ``&`` remain, as full-width ones."""
    plain = _ENTITY.sub(lambda found: html.unescape(found[0]), markup)
    return plain.replace("&", "＆") if plain.count("&") > _MAX_ENTITIES else plain


def to_text(markup: str) -> str:
    """Reduce HTML to readable plain text: a line for each block, no markup, no scripts."""
    if "<" not in markup:
        return _tidy(html.unescape(markup))
    spaced = _CELL.sub(" ", _BREAK.sub("\n", markup))
    if too_deep(markup):
        return _tidy(html.unescape(_ANY_TAG.sub("", spaced)))
    tree = LexborHTMLParser(spaced)
    tree.strip_tags(["script", "style", "template", "noscript"], recursive=True)
    return _tidy(tree.body.text(separator="") if tree.body else "")


def text_of(cleaned: str) -> str:
    """Do what :func:`to_text` does, faster, for HTML that :func:`sanitise` has given."""
    if "<" not in cleaned:
        return _tidy(html.unescape(cleaned))
    if too_deep(cleaned):
        return to_text(cleaned)
    for often, becomes in _OFTEN:
        cleaned = cleaned.replace(often, becomes)
    return _tidy(html.unescape(_CLEAN_TAG.sub("", _CELL.sub(" ", _CLEAN_BREAK.sub("\n", cleaned)))))


def looks_like_html(text: str) -> bool:
    """Whether a text contains real HTML tags (``a < b`` and ``<某某>`` do not count)."""
    return _HTML.search(text) is not None


def strip_markup(text: str) -> str:
    """Take known tags and entities out of a one-line text such as a title; other ``<`` stay."""
    if "<" not in text and "&" not in text:
        return text  # a tag begins with the one, an entity with the other
    for _ in range(2):  # some sources escape their titles twice
        text = html.unescape(_HTML.sub("", text))
    return _HTML.sub("", text)


def plain_to_html(text: str) -> str:
    """Turn plain text into safe HTML: paragraphs, line breaks, Markdown headings as ``<h2>``…``<h6>``."""
    blocks: list[str] = []
    lines: list[str] = []

    def close() -> None:
        if lines:
            blocks.append(f"<p>{'<br>'.join(lines)}</p>")
            lines.clear()

    for raw in html.unescape(text).splitlines():
        line = raw.strip()
        heading = _HEADING.fullmatch(line)
        if heading or not line:
            close()
        if heading:
            level, words = min(len(heading[1]) + 1, 6), heading[2].rstrip("# ")
            blocks.append(f"<h{level}>{html.escape(words, quote=False)}</h{level}>")
        elif line:
            lines.append(html.escape(line, quote=False))
    close()
    return "\n".join(blocks)


def _tidy(text: str) -> str:
    lines = (_SPACES.sub(" ", line).strip() for line in text.splitlines())
    return "\n".join(line for line in lines if line)
