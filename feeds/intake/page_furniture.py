"""Takes out of a page what belongs to the site and not to the notice: navigation, sharing, 打印 关闭.

Works on a parsed page, in place. It knows shapes and words only, and keeps what it does not know. Pure.
Called by :mod:`feeds.intake.page_text`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator

from selectolax.lexbor import LexborHTMLParser, LexborNode

# What the sanitiser takes out anyway; pictures may also carry megabytes inside their address.
_ALWAYS = (
    "script, style, noscript, template, iframe, object, embed, svg, img, input, button, select, textarea"
)
_SITE = (
    "nav, footer, aside, .footer, #footer, .header, #header, .nav, #nav, .crumb, .crumbs, .breadcrumb, "
    ".dqwz, .share, #share, .bdsharebuttonbox, .bshare-custom, .jiathis_style, .social-share, .related, "
    ".related1, .xgwz, .xglj, .pagination, .copyright, .qrcode, .print, .toolbar"
)
_PIECES = "p, div, span, li, ul, td, tr, table, a, h3, h4, h5, h6, dl, center, em, i, b, font"
_BLOCKS = "div, section, ul, dl, table"
_SHORT = 120  # characters; longer pieces are never furniture
# Pieces that consist of such words only.
_WORDS = re.compile(
    r"(?:打印(?:本页|本文|页面|此页)?|关闭(?:窗口|本页|页面)?|收藏(?:本页)?|返回(?:顶部|首页|列表|上一页)?|复制链接"
    r"|分享(?:到|至)?|微信|新浪微博|腾讯微博|微博|QQ空间|QQ好友|QQ|朋友圈|扫一扫(?:在手机打开当前页)?|字号|字体|大|中|小|纠错"
    r"|share|print|close|back to top|[\s:：|/\\【】\[\]()（）<>《》·,，、.…-])+",
    re.IGNORECASE,
)
_TELLING = re.compile(
    r"打印|关闭|收藏|返回|分享|扫一扫|字号|字体|纠错|share|print|close|back to", re.IGNORECASE
)
_NEIGHBOUR = re.compile(r"[\s【\[]*(?:上一[篇条页则]|下一[篇条页则])")
_COUNTED = re.compile(r"(?:浏览|阅读|点击|访问)(?:次数|量|数)")
_MORE = re.compile(
    r"[\s【\[]*(?:相关(?:链接|阅读|稿件|新闻|文章|推荐|信息)|推荐阅读|热[点门](?:推荐|新闻|信息|文章)?|猜你喜欢|友情链接|最新(?:公告|文章|动态))"
)
_MORE_LENGTH = 3_000  # characters of a list of other notices
_SAID_FIRST = re.compile(r"[\s\[(（【]*(?:发布|来源|信息来源|时间|日期|作者|编辑|浏览|阅读|点击|20\d\d)")


def drop_furniture(tree: LexborHTMLParser, *, keep: Collection[int] = ()) -> None:
    """Take the site's own parts out of a page.

    Args:
        tree: Changed in place.
        keep: ``mem_id`` of elements that stay, with what they stand in.
    """
    drop_nodes(tree.css(_ALWAYS))
    drop_nodes(node for node in tree.css(_SITE) if not _holds(node, keep))
    drop_nodes(
        node
        for node in tree.css("header")
        if not _inside(node, ("article", "main")) and not _holds(node, keep)
    )
    for places, longest, is_site in (
        (_BLOCKS, _MORE_LENGTH, _leads_away),
        (_PIECES, _SHORT, _is_furniture),
    ):
        small = _small(tree.css(places), longest)
        drop_nodes(node for node, text in small if is_site(node, text) and not _holds(node, keep))


def drop_nodes(nodes: Iterable[LexborNode]) -> None:
    """Take elements out; those inside others go with them."""
    for node in outermost(nodes):
        node.decompose()


def outermost(nodes: Iterable[LexborNode]) -> list[LexborNode]:
    """Return the elements that stand in none of the others, each once."""
    unique = {node.mem_id: node for node in nodes}
    return [node for node in unique.values() if not any(one.mem_id in unique for one in above(node))]


def common(nodes: Collection[LexborNode]) -> LexborNode | None:
    """Return the innermost element in which all of these stand (one of them, if it holds the others)."""
    chain: list[LexborNode] = []
    for number, node in enumerate(outermost(nodes)):
        own = [node, *above(node)]
        ids = {one.mem_id for one in own}
        chain = own if number == 0 else [one for one in chain if one.mem_id in ids]
    return chain[0] if chain else None


def above(node: LexborNode) -> Iterator[LexborNode]:
    """Yield the elements in which one stands, from inside out."""
    parent = node.parent
    while parent is not None:
        yield parent
        parent = parent.parent


def _small(nodes: list[LexborNode], longest: int) -> Iterator[tuple[LexborNode, str]]:
    """Yield the elements with little text, and it; what holds a long one is never asked for its text."""
    long: set[int] = set()
    for node in reversed(nodes):  # what is inside comes before what is around it
        if node.mem_id in long:
            continue
        text = " ".join(node.text().split())
        if len(text) <= longest:
            yield node, text
            continue
        for one in above(node):
            if one.mem_id in long:
                break
            long.add(one.mem_id)


def _is_furniture(_node: LexborNode, text: str) -> bool:
    if _NEIGHBOUR.match(text) or (_COUNTED.search(text) and _SAID_FIRST.match(text)):
        return True
    return _TELLING.search(text) is not None and _WORDS.fullmatch(text) is not None


def _leads_away(node: LexborNode, text: str) -> bool:
    """Whether a block is a list of links to other notices, under a heading that says so."""
    if not _MORE.match(text):
        return False
    links = [link for link in node.css("a") if link.text(strip=True)]
    linked = sum(len("".join(link.text().split())) for link in links)
    return len(links) > 1 and linked * 2 > len("".join(text.split()))


def _inside(node: LexborNode, names: Collection[str]) -> bool:
    return any(one.tag in names for one in above(node))


def _holds(node: LexborNode, keep: Collection[int]) -> bool:
    return bool(keep) and any(one.mem_id in keep for one in node.css("*"))
