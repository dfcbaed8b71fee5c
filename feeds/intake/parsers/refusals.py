"""Says what a web page is that came where a list was expected: a login, a challenge, an error.

A guess for people, made from the words that such pages use; nothing is decided by it. Pure. Called by
the list parsers.
"""

from __future__ import annotations

import re
from collections import defaultdict

from selectolax.lexbor import LexborHTMLParser, LexborNode

MAX_LOOKED_AT = 200_000  # characters
MAX_LINKS = 3_000
FEWEST_ROWS = 3
_ABOVE = 4  # elements around a link that may be its row
_SIGNS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (what, re.compile(words, re.IGNORECASE))
    for what, words in (
        (
            "a check that it is asked by a browser",
            r"captcha|验证码|驗證碼|安全验证|人机验证|访问验证|滑动验证|precondition failed|\b412\b"
            r"|(?:enable|turn on|requires?) javascript|(?:启用|开启|打开|支持)\s*javascript|cf-chl"
            r"|_waf_|acw_sc__v2|checking your browser|正在检查您的浏览器",
        ),
        (
            "a refusal",
            r"access denied|forbidden|访问被拒绝|拒绝访问|禁止访问|请求被拦截|访问受限"
            r"|您的访问.{0,10}拦截|\b403\b|too many requests|访问过于频繁",
        ),
        (
            "a login page",
            r"type=[\"']?password|用户登录|请先登录|请登录|统一身份认证|<title>[^<]*(?:登录|sign in|log in)",
        ),
        (
            "an error page",
            r"\b40[04]\b|\b50[0-4]\b|not found|页面不存在|页面未找到|找不到(?:页面|网页)"
            r"|bad gateway|internal server error|服务器错误|系统错误"
            r"|service unavailable|网站维护|系统维护|系统升级|正在维护",
        ),
    )
)


def what_page(markup: str) -> str:
    """Name a page in a few words, such as ``a login page (用户登录)``; else ``a web page``."""
    head = markup[:MAX_LOOKED_AT]
    if not head.strip():
        return "an empty page"
    tree = LexborHTMLParser(head)
    named = tree.css_first("title")
    title = " ".join(named.text().split())[:60] if named else ""
    scripts = len(tree.css("script"))
    shown = f" ({title})" if title else ""
    # The signs of a challenge are often in its script, those of an error only in what is shown.
    challenge = _SIGNS[0][1].search(head if scripts and len(head) < 20_000 else title)
    tree.strip_tags(["script", "style"], recursive=True)
    text = " ".join((tree.body.text(separator=" ") if tree.body else "").split())
    if len(text) < 2_000:
        if challenge:
            return f"{_SIGNS[0][0]}{shown}"
        for what, words in _SIGNS:
            if words.search(f"{title} {text}") or (what == "a login page" and words.search(head)):
                return f"{what}{shown}"
    if not text:
        return f"an empty page that a script would fill{shown}" if scripts else f"an empty page{shown}"
    return f"a web page{shown}"


def repeated(tree: LexborHTMLParser) -> str:
    """Say where most rows with links stand: ``has 40 `li` in `ul.news```; ``""`` where there are no three.

    Rows are children of one parent with the same tag; of equally many the first on the page count.
    """
    rows: dict[tuple[int, str], set[int]] = defaultdict(set)
    parents: dict[int, LexborNode] = {}
    for link in tree.css("a[href]")[:MAX_LINKS]:
        row = link
        for _ in range(_ABOVE):
            parent = row.parent
            if parent is None or row.tag in ("body", "html"):
                break
            parents[parent.mem_id] = parent
            rows[parent.mem_id, row.tag or ""].add(row.mem_id)
            row = parent
    (where, tag), found = max(rows.items(), key=lambda one: len(one[1]), default=((0, ""), set[int]()))
    return f"has {len(found)} `{tag}` in `{_selector(parents[where])}`" if len(found) >= FEWEST_ROWS else ""


def _selector(node: LexborNode) -> str:
    """A selector for an element, in a few words; of one without a name, its parent's is told too."""
    said = _named(node)
    above = node.parent
    if said == node.tag and above is not None and above.tag not in ("body", "html", "-undef"):
        return f"{_named(above)} > {said}"
    return said


def _named(node: LexborNode) -> str:
    attributes = node.attributes
    tag = node.tag or ""
    if name := (attributes.get("id") or "").strip():
        return f"{tag}#{name[:40]}" if re.fullmatch(r"[\w-]+", name) else tag
    words = [word for word in (attributes.get("class") or "").split() if re.fullmatch(r"[\w-]+", word)]
    return "".join([tag, *(f".{word[:40]}" for word in words[:2])])
