"""Says what a web page is that came where a list was expected: a login, a challenge, an error.

A guess for people, made from the words that such pages use; nothing is decided by it. Pure. Called by
the list parsers.
"""

from __future__ import annotations

import re

from selectolax.lexbor import LexborHTMLParser

MAX_LOOKED_AT = 200_000  # characters
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
